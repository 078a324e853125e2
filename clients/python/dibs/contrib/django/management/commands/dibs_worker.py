"""``manage.py dibs_worker``."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ...connecting import DEFAULT, instances

_MODULE = "dibs.contrib.django.worker"


class Command(BaseCommand):
    """Runs the tasks of this project: ``dibs worker`` in this process's place, with its options."""

    help = "Run the tasks of this project. Options are those of `dibs worker`, and --instance NAME of DIBS before them."

    def run_from_argv(self, argv: list[str]) -> None:
        """Take everything behind the command's own name as it is."""
        words = argv[2:]
        name = DEFAULT
        if words and words[0].partition("=")[0] == "--instance":
            name = words[0].partition("=")[2] or (words[1] if len(words) > 1 else "")
            words = words[1:] if "=" in words[0] else words[2:]
        try:
            self._become_worker(name, words)
        except CommandError as error:
            self.stderr.write(f"CommandError: {error}")
            sys.exit(error.returncode)

    def handle(self, *args: Any, instance: str = DEFAULT, **options: Any) -> None:
        """As `call_command` has it."""
        self._become_worker(instance, list(args))

    def _become_worker(self, name: str, words: list[str]) -> NoReturn:
        if name not in instances():
            raise CommandError(f"DIBS describes no instance {name!r}, only {', '.join(instances())}")
        # The processes that run the tasks are begun anew and load Django by themselves.
        os.environ["DJANGO_SETTINGS_MODULE"] = settings.SETTINGS_MODULE
        source = _MODULE if name == DEFAULT else f"{_MODULE}:{name}"
        path = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.getcwd(), path)))
        os.execv(sys.executable, [sys.executable, "-m", "dibs", "worker", source, *words])  # noqa: S606 (no shell)
