"""What people ask for."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from dibs.contrib.django import outbox

from .models import Order
from .tasks import send_receipt


@csrf_exempt
@transaction.atomic
def order(request: HttpRequest) -> JsonResponse:
    """Order something; its receipt is sent if the order is there, and only then."""
    made = Order.objects.create(what=request.POST["what"])
    if request.POST.get("surely"):
        handle = send_receipt.on(outbox()).execute(made.pk)
    else:
        handle = send_receipt.on_commit(made.pk)
    if request.POST.get("fails"):
        transaction.set_rollback(True)
    return JsonResponse({"order": made.pk, "task": handle.taskid})
