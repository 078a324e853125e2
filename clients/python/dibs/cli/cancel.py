"""`dibs cancel` and `dibs delete`: ending items by id."""

from __future__ import annotations

from ..admin import flows as admin_flows
from ..rpc import operations
from ..v1 import broker_pb2 as pb
from .arguments import Ids
from .command import Yes, single
from .exits import Exit
from .session import Session
from .words import plain

#: What to say of each outcome.
_SENTENCES = {
    pb.CANCEL_OUTCOME_REMOVED: "removed; it had not started",
    pb.CANCEL_OUTCOME_REQUESTED: "running; its worker is told",
    pb.CANCEL_OUTCOME_RESULT_DROPPED: "was done; its result is dropped",
    pb.CANCEL_OUTCOME_NOT_FOUND: "not known",
}


def cancel(session: Session, ids: Ids) -> Exit:
    """Cancel items: what waits is removed, what runs is told. Exit code 3 if one of them is not known."""
    found = session.calls.do(operations.cancel(session.calls.namespace, ids))
    if session.as_json:
        session.document(items=found)
    else:
        for item in found:
            session.say(f"{plain(item.id)}: {_SENTENCES.get(item.outcome, 'cancelled')}")
    return Exit.NOT_FOUND if any(item.outcome == pb.CANCEL_OUTCOME_NOT_FOUND for item in found) else Exit.OK


def delete(session: Session, ids: Ids, yes: Yes = False) -> Exit:
    """Delete items wherever they are: waiting, leased, dead, or finished with their result.

    A worker that holds one finds that its lease is gone. Exit code 3 if one of them is not known.
    """
    session.confirm(f"Delete {len(ids)} item(s) for good?", yes=yes)
    deleted = set(session.calls.run(admin_flows.delete_items(session.calls.namespace, ids)))
    missing = [id for id in ids if id not in deleted]
    if session.as_json:
        session.document(deleted_ids=[id for id in ids if id in deleted], unknown_ids=missing)
    else:
        for id in ids:
            session.say(f"{plain(id)}: {'deleted' if id in deleted else 'not known'}")
    return Exit.NOT_FOUND if missing else Exit.OK


cancel_command = single(cancel)
delete_command = single(delete)
