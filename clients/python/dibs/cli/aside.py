"""`dibs redrive`: items that were set aside, back into their queue."""

from __future__ import annotations

from ..admin import flows as admin_flows
from .arguments import All, Data, Queue, SomeIds, chosen_ids, kind_of
from .command import Yes, single
from .progress import work
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
    namespace, kind = session.calls.namespace, kind_of(data).on_wire
    sent = work(
        session,
        "redriving",
        "redriven",
        lambda heard: admin_flows.redrive_set_aside(namespace, queue, kind, wanted, heard),
    )
    if not session.as_json:
        session.say(f"{sent:,} item(s) sent back")


command = single(redrive)
