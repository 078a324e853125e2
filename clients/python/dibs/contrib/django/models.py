"""The table of the outbox."""

from __future__ import annotations

from django.db import models


class OutboxCall(models.Model):
    """A call that is to be enqueued.

    Attributes:
        number: calls are enqueued in this order.
        id: of the call.
        instance: where it goes, by its name in DIBS.
        queue: that it will be in.
        item: the call, encoded.
        kept_at: when it was put here.
        refused: why no broker will ever take it; empty as a rule.
    """

    number = models.BigAutoField(primary_key=True)
    id = models.CharField(max_length=128)
    instance = models.CharField(max_length=128)
    queue = models.CharField(max_length=128)
    item = models.BinaryField()
    kept_at = models.DateTimeField(auto_now_add=True)
    refused = models.TextField(blank=True, default="")

    class Meta:
        """How people call it."""

        verbose_name = "call in the outbox"
        verbose_name_plural = "calls in the outbox"

    def __str__(self) -> str:
        """Its id."""
        return str(self.id)


class Queue(models.Model):
    """Stands for the queues of the brokers in Django's admin, which knows rights by models; it has no table.

    Attributes:
        name: of a queue.
    """

    name = models.CharField(max_length=128, primary_key=True)

    class Meta:
        """Who may see them, and who may send dead letters back."""

        managed = False
        default_permissions = ("view", "change")
        verbose_name = "queue"
        verbose_name_plural = "queues"
