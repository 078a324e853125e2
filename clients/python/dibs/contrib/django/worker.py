"""What a worker imports: a Django that is ready, and with it the tasks of every app.

``manage.py dibs_worker`` does; so may ``dibs worker dibs.contrib.django.worker`` with DJANGO_SETTINGS_MODULE set.
"""

from __future__ import annotations

import django

from ...client.dibs import Dibs
from .connecting import instance, instances

django.setup()


def __getattr__(name: str) -> Dibs:
    """The instance of that name in DIBS, for ``dibs worker dibs.contrib.django.worker:NAME``."""
    if name in instances():
        return instance(name)
    raise AttributeError(name)
