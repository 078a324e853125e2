"""``manage.py dibs_outbox``."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ...relaying import relay, relay_once


class Command(BaseCommand):
    """Enqueues what transactions have put into the outbox. As many of them may run as you like."""

    help = "Enqueue what transactions have put into the outbox, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        parser.add_argument("--once", action="store_true", help="End when the outbox is empty.")

    def handle(self, *args: Any, once: bool = False, **options: Any) -> None:
        """Relay."""
        if once:
            while relay_once():
                pass
            return
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relay(stop)
