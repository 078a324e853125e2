"""The place where somebody who knows of database transactions says what `Task.on_commit` is to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Transactions:
    """What is known of transactions in this process.

    Attributes:
        behind_commit: makes, of an instance and the name of a database ("": the usual one), what enqueues behind the
            commit of the transaction that is open there. None: nobody knows of any.
    """

    behind_commit: Callable[[Any, str], Any] | None = None


#: Filled by `dibs.contrib.django`.
TRANSACTIONS = Transactions()
