"""Orders, and Django's admin with its page of queues."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from .shop.views import order

urlpatterns = [path("orders", order), path("admin/", admin.site.urls)]
