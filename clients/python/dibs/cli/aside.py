"""`dibs redrive`: items that were set aside, back into their queue."""

from __future__ import annotations

from ..v1.admin_pb2 import RedriveSetAsideResponse
from .arguments import All, Data, Queue, SomeIds, chosen_ids, kind_of
from .command import Yes, single
from .progress import follow
from .session import Session


def redrive(
    session: Session,
    queue: Queue,
    ids: SomeIds = None,
    everything: All = False,
    data: Data = False,
    yes: Yes = False,
) -> None:
    """Send items that were set aside back to the end of their queue, as new: after an upgrade of the brokers, say.

    What still cannot be read or delivered is set aside again as soon as somebody comes to it. `dibs tasks QUEUE
    --section set-aside` lists them; `dibs dead redrive` is for dead letters.
    """
    wanted = chosen_ids(ids, everything)
    if everything:
        session.confirm(f"Send everything that is set aside in {queue} back?", yes=yes)
    reports = session.calls.redrive_aside(queue, kind_of(data).on_wire, wanted)
    last = follow(session, reports, "redriving", lambda report: (report.redriven, report.left))
    if not session.as_json:
        session.say(f"{(last or RedriveSetAsideResponse()).redriven:,} item(s) sent back")


command = single(redrive)
