"""What is ordered, and what was sent."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """Something that somebody wants."""

    what = models.CharField(max_length=100)


class Receipt(models.Model):
    """What was sent for an order."""

    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    text = models.CharField(max_length=200)
