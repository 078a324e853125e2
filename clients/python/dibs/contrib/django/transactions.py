"""Calls that belong to a transaction: enqueued right behind its commit, or kept in a table of its database."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, router, transaction

from ...client.dibs import Dibs
from ..outbox import Kept, StandIn, send
from .connecting import DEFAULT, instance


class OnCommit(StandIn):
    """What tasks are `on` that are to be enqueued behind the commit of the transaction that is open, or else at once.

    A process that dies between the two has not enqueued them, and a broker that is away then is an error of the
    request, whose transaction is committed. Where that matters use an `outbox`.

    Args:
        dibs: where they go.
        using: the database.
    """

    def __init__(self, dibs: Dibs, using: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(dibs)
        self._using = using

    def keep(self, call: Kept, queue: str) -> None:
        """Have it enqueued behind the commit."""
        transaction.on_commit(lambda: self._send(call), using=self._using)

    def _send(self, call: Kept) -> None:
        for reason in send(self._dibs, [call]).values():
            raise ValueError(reason)


class Outbox(StandIn):
    """What tasks are `on` whose calls are rows of the transaction that is open; see `outbox`.

    Args:
        name: of the instance.
    """

    def __init__(self, name: str) -> None:
        super().__init__(instance(name))
        self._name = name

    def keep(self, call: Kept, queue: str) -> None:
        """Write a row."""
        from .models import OutboxCall

        using = router.db_for_write(OutboxCall)
        OutboxCall.objects.using(using).create(id=call.id, instance=self._name, queue=queue, item=call.item)


def outbox(name: str = DEFAULT) -> Outbox:
    """Keep calls in the table of this app, in the transaction that is open: ``task.on(outbox()).execute(...)``.

    ``manage.py dibs_outbox`` enqueues them, at least once.

    Args:
        name: of the instance that they go to.
    """
    return Outbox(name)
