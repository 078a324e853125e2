"""Pages of Django's admin: what waits, runs and is dead, and the outbox."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from ...admin.admin import Admin
from ...admin.infos import ItemInfo, QueueInfo
from ...errors import DibsError
from .connecting import instance, instances
from .models import OutboxCall, Queue

#: Queues of an instance, and dead letters of a queue, that the page shows.
MOST_QUEUES = 200
MOST_DEAD = 20


class _Letter(NamedTuple):
    """A dead letter; of its error the last line, which says what was raised."""

    death_time: datetime | None
    task_name: str
    id: str
    error: str


class _Dead(NamedTuple):
    """A dead-letter queue, and the first of what is in it."""

    name: str
    is_data: bool
    size: int
    letters: list[_Letter]


class _Seen(NamedTuple):
    """What an instance's broker tells; `error` is why it tells nothing."""

    name: str
    queues: list[QueueInfo]
    dead: list[_Dead]
    workers: int
    error: str


def look(name: str) -> _Seen:
    """What there is to see of an instance."""
    looking = Admin(of=instance(name))
    try:
        queues = list(islice(looking.queues(), MOST_QUEUES))
        dead = [
            _Dead(
                one.name,
                one.is_data,
                one.size,
                [_letter(item) for item in islice(looking.dead_letters(one.name, is_data=one.is_data), MOST_DEAD)],
            )
            for one in looking.dead_letter_queues()
        ]
        return _Seen(name, queues, dead, sum(1 for _ in looking.workers()), "")
    except DibsError as error:
        return _Seen(name, [], [], 0, str(error))


def _letter(item: ItemInfo) -> _Letter:
    return _Letter(item.death_time, item.task_name, item.id, item.last_error.rstrip().rpartition("\n")[2])


@admin.register(Queue)
class QueueAdmin(admin.ModelAdmin[Queue]):
    """One page: the queues of every instance, and dead letters that can be sent back."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Queues come about by themselves."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Queue | None = None) -> bool:
        """Nor are they deleted here."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show them; a POST sends the dead letters of a queue back."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._redrive(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Queues",
            "seen": [look(name) for name in instances()],
            "may_redrive": self.has_change_permission(request),
            "most_queues": MOST_QUEUES,
            "most_dead": MOST_DEAD,
        }
        return TemplateResponse(request, "dibs_django/queues.html", context)

    def _redrive(self, request: HttpRequest) -> HttpResponse:
        if not self.has_change_permission(request):
            raise PermissionDenied
        name, queue = request.POST.get("instance", ""), request.POST.get("queue", "")
        try:
            if name not in instances() or not queue:
                raise DibsError("no such queue")
            moved = Admin(of=instance(name)).redrive_dead_letters(
                queue=queue, is_data=request.POST.get("is_data") == "1"
            )
            messages.success(request, f"{moved} dead letters of {queue} were sent back.")
        except DibsError as error:
            messages.error(request, f"Nothing more was sent back: {error}")
        return HttpResponseRedirect(request.path)


@admin.register(OutboxCall)
class OutboxCallAdmin(admin.ModelAdmin[OutboxCall]):
    """Calls that have not been enqueued yet, and those that never will be."""

    list_display = ("number", "id", "instance", "queue", "kept_at", "refused")
    list_filter = ("instance", "queue")
    fields = ("number", "id", "instance", "queue", "kept_at", "refused")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They are made by code."""
        return False
