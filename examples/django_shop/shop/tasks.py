"""The work of the shop; ``manage.py dibs_worker`` does it."""

from __future__ import annotations

from django_tasks import task as django_task

import dibs
from dibs.contrib.django import instance

from .models import Order, Receipt


@dibs.task(lease=30, attempts=2, retry_delay=0, use_dead=True)
def send_receipt(order: int) -> None:
    """Writes a receipt, once: an attempt that comes late finds it."""
    Receipt.objects.get_or_create(order_id=order, defaults={"text": f"1 {Order.objects.get(pk=order).what}"})


@instance("reports").task(lease=30, save_results=3600)
def count_orders() -> int:
    """Of another instance, with a worker of its own."""
    return Order.objects.count()


@django_task()
def shout(text: str) -> str:
    """One of Django's own tasks."""
    return text.upper()
