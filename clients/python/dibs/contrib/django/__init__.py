"""Django: put ``"dibs.contrib.django"`` into INSTALLED_APPS. Needs ``pip install 'dibs[django]'``.

Settings::

    DIBS = {"target": "127.0.0.1:7411", "namespace": "shop"}  # arguments of dibs.connect
    DIBS = {"default": {...}, "reports": {...}}  # or of several instances, by name

Each app may have a module ``tasks.py``, which is imported when Django is ready.

Example::

    # shop/tasks.py
    import dibs

    @dibs.task(lease=30)
    def send_receipt(order: int) -> None: ...

    # shop/views.py
    send_receipt.on_commit(order.pk)  # enqueued when the transaction is committed; lost if the process dies right then
    send_receipt.on(outbox()).execute(order.pk)  # in the transaction; `manage.py dibs_outbox` enqueues it
"""

from __future__ import annotations

from .connecting import instance as instance
from .connecting import instances as instances
from .transactions import OnCommit as OnCommit
from .transactions import outbox as outbox

__all__ = ["OnCommit", "instance", "instances", "outbox"]
