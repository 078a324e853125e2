"""The app."""

from __future__ import annotations

from django.apps import AppConfig
from django.db import DEFAULT_DB_ALIAS
from django.utils.module_loading import autodiscover_modules

from ...tasks.transactions import TRANSACTIONS


class DibsConfig(AppConfig):
    """Connects the instances, and imports the ``tasks.py`` of every app."""

    name = "dibs.contrib.django"
    label = "dibs_django"
    verbose_name = "Task queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect, then import."""
        from .connecting import connect
        from .transactions import OnCommit

        TRANSACTIONS.behind_commit = lambda dibs, using: OnCommit(dibs, using or DEFAULT_DB_ALIAS)
        connect()
        autodiscover_modules("tasks")
