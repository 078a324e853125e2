"""From a delivery to a call, and from what the call did to an entry for the broker.

This is the hot path: it runs for every task, in the thread that runs the task.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from dibs.codecs.sealing import Sealing
from dibs.errors import CodecError, PayloadError, TimeLimitExceeded
from dibs.rpc import codec
from dibs.rpc.codec import decode_call, encode_json
from dibs.rpc.culprits import culprit
from dibs.tasks.dispositions import Disposition, Reject, Retry, Snooze
from dibs.v1 import broker_pb2 as pb

from ..shared.entries import Entries
from ..shared.leases import lease_seconds
from ..shared.logs import Said
from .item import Item, Runnable
from .leased import LeasedTask
from .not_read_here import NotReadHere

_log = logging.getLogger("dibs.worker")

#: Packages whose code stands between a slot and the task's own: slots, and the codec that reads results.
_OURS = (__package__, codec.__package__)
#: Ages below this are not compared with the lease: nearly all items are younger, and leases are longer.
_YOUNG_S = 0.05


class Execution:
    """Begins and ends calls. Shared by all slots of a lane; safe to use from several threads.

    Args:
        tasks: what can be run, by name.
        entries: where what came of them is put.
        ends: of leases that are lengthened, by position; see `dibs.worker.shared.memory`.
        sealing: decodes arguments and encodes results; None: they are plain.
        log_after: as `WorkerSettings.log_runs`.

    Attributes:
        log_after: seconds; runs that take so long are to be logged.
        cancelled: leases that somebody has cancelled, lately: by the item's id its token and when that was heard. The
            loop fills it; slots look into it before a call.
    """

    def __init__(
        self,
        tasks: Mapping[str, Runnable],
        entries: Entries,
        ends: memoryview[float],
        sealing: Sealing | None = None,
        log_after: float = float("inf"),
    ) -> None:
        self.log_after = log_after
        self.cancelled: dict[str, tuple[int, float]] = {}
        self._tasks = tasks
        #: Tasks of which the log has said that their attempts are not for exceptions.
        self._advised: set[str] = set()
        self._entries = entries
        self._ends = ends
        self._sealing = sealing
        self._unread = NotReadHere(entries)

    def begin(self, item: Item, now: float) -> LeasedTask | None:
        """Make the call ready; None if there is nothing to call, and then that has been dealt with.

        A payload that is no call cannot heal, so it is rejected: no further attempt, and the dead letter at once if
        the item asked for it. One that cannot be decoded here goes back: others may have the key.
        """
        delivery, arrived, task, _ = item
        if now - arrived > _YOUNG_S and 0 < lease_seconds(delivery) <= now - arrived:
            # Somebody else may have it by now; if not, it is free at once.
            self._entries.nack(delivery, pb.NACK_REASON_RELEASED)
            return None
        try:
            sealing = self._sealing
            content = delivery.content
            if sealing is None:
                args, kwargs = decode_call(content.payload)
            else:
                args, kwargs = decode_call(sealing.open_payload(delivery.id, content.task_name, content.payload))
            types = task.types
            if types is not None:
                args, kwargs = types.read(args, kwargs)
        except CodecError as error:
            self._unread.hand_back(delivery, error)
            return None
        except PayloadError as error:
            self._entries.nack(delivery, pb.NACK_REASON_REJECTED, str(error))
            _log.error(Said("task has a bad payload", task=task.name, id=delivery.id, error=str(error)))
            return None
        return LeasedTask(item, args, kwargs, self._entries, self._ends)

    def broke_off(self, item: Item, error: BaseException) -> None:
        """Report an item whose slot was interrupted outside of its function, or could not even begin it."""
        delivery, _, task, _ = item
        _log.error(Said("task broke off outside of its function", task=task.name, id=delivery.id), exc_info=error)
        self._entries.nack(delivery, pb.NACK_REASON_FAILED, describe(error))

    def is_cancelled(self, running: LeasedTask) -> bool:
        """Whether somebody has cancelled the item. Also takes note of a notice that came before it began.

        The notice of an earlier lease is about an earlier item of that id.
        """
        if self.cancelled:
            token, _ = self.cancelled.get(running.taskid, (0, 0.0))
            if 0 < running.lease_token <= token:
                running.cancelled = True
        return running.cancelled

    def log_run(self, running: LeasedTask, seconds: float) -> None:
        """Log a run that is over: which, how long it took, and what came of it."""
        _log.info(
            Said(
                "task ran",
                task=running.name,
                id=running.taskid,
                attempt=running.attempt,
                seconds=round(seconds, 6),
                outcome=running.outcome,
            )
        )

    def succeeded(self, running: LeasedTask, result: Any) -> bool:
        """Report a call that returned; True: there was nothing to tell but the plain success."""
        delivery = running.delivery
        if running.cancelled:
            self.stopped(running)
            return False
        if running.retried:
            running.outcome = "retried"
            return False
        if running.lost:
            self.dropped(running)
            return False
        if delivery.lease_token:
            if delivery.keep_result:
                self._succeeded_with(running, result)
                return False
            self._entries.ack(delivery)
        return True

    def failed(self, running: LeasedTask, error: BaseException) -> None:
        """Report a call that raised."""
        if running.cancelled:
            self.stopped(running)
            return
        if running.retried:
            running.outcome = "retried"
            # The item of this id is another one by now, so there is nobody to tell.
            _log.error(Said("task failed after its retry", task=running.name, id=running.taskid), exc_info=error)
            return
        if running.lost:
            self.dropped(running, error)
            return
        if isinstance(error, TimeLimitExceeded) and not error.args:
            error.args = (f"the run took longer than its time limit of {running.time_limit:g} s",)
        again = lease_seconds(running.delivery) > 0
        if isinstance(error, Snooze) and again:
            self._snoozed(running, error)
        elif isinstance(error, Retry) and again and running.attempt < running.attempts:
            self._retried(running, error)
        else:
            self._failed(running, error, describe(error), again=again)

    def _snoozed(self, running: LeasedTask, said: Snooze) -> None:
        running.outcome = "snoozed"
        _log.info(Said("task snoozes", task=running.name, id=running.taskid, delay=said.delay, **_reason(said)))
        self._entries.nack(running.delivery, pb.NACK_REASON_RELEASED, delay=timedelta(seconds=said.delay))

    def _retried(self, running: LeasedTask, said: Retry) -> None:
        running.outcome = "retried"
        _log.warning(
            Said(
                "task wants another attempt",
                task=running.name,
                id=running.taskid,
                attempt=running.attempt,
                attempts=running.attempts,
                delay="as the task has it" if said.delay is None else said.delay,
                **_reason(said),
            )
        )
        delay = None if said.delay is None else timedelta(seconds=said.delay)
        self._entries.nack(running.delivery, pb.NACK_REASON_FAILED, describe(said), delay=delay)

    def _failed(self, running: LeasedTask, error: BaseException, text: str, *, again: bool) -> None:
        if isinstance(error, Retry | Snooze) and not again:
            text += f"{type(error).__name__} is for tasks with a lease: this one is delivered at most once\n"
        final = isinstance(error, Reject) or (
            not isinstance(error, Disposition) and self._tasks[running.name].gives_up_on(error)
        )
        running.outcome = "rejected" if final else "failed"
        _log.error(
            Said(
                "task rejected" if final else "task failed",
                task=running.name,
                id=running.taskid,
                attempt=running.attempt,
                attempts=running.attempts,
                error=type(error).__name__,
                traceback=text,
            )
        )
        self._entries.nack(running.delivery, pb.NACK_REASON_REJECTED if final else pb.NACK_REASON_FAILED, text)
        if not (again or final):
            self._advise(running, error)

    def _advise(self, running: LeasedTask, error: BaseException) -> None:
        """Says once what to write to have exceptions tried again, if the task seems to expect it."""
        expects = running.attempts > 1 or isinstance(error, Retry | Snooze)
        if expects and running.name not in self._advised:
            self._advised.add(running.name)
            _log.warning(
                Said(
                    "task is delivered at most once, so that no exception has it tried again: attempts= alone is for "
                    "retry(); write lease=30 beside it if it may run twice",
                    task=running.name,
                )
            )

    def lose(self, running: LeasedTask) -> None:
        """Note that its lease is over, and say so."""
        running.lost = True
        if running.delivery.renew:
            text = "task has lost its lease: it may run elsewhere by now, and nothing counts that comes of this run"
        else:
            text = (
                "task runs beyond its vis_timeout: it is delivered again if attempts are left, and nothing counts that "
                "comes of this run; write lease= instead of vis_timeout= if it may take longer"
            )
        _log.warning(Said(text, task=running.name, id=running.taskid, attempt=running.attempt))

    def dropped(self, running: LeasedTask, error: BaseException | None = None) -> None:
        """Say that a run is over that had lost its lease; to the broker there is nothing to say."""
        running.outcome = "lease lost"
        raised = {} if error is None else {"error": describe(error)}
        text = "task has ended after its lease, and what came of it is dropped"
        _log.warning(Said(text, task=running.name, id=running.taskid, **raised))

    def interrupted(self, running: LeasedTask) -> None:
        """Report a call that was ended because its worker stops."""
        running.outcome = "stopped with its worker"
        _log.warning(Said("task was stopped with its worker", task=running.name, id=running.taskid))
        self._entries.stopped(running.delivery)

    def never_begins(self, running: LeasedTask) -> None:
        """Give back what was cancelled before its function was called: it ends as cancelled, without an attempt."""
        running.outcome = "never began"
        _log.info(Said("task cancelled before it began", task=running.name, id=running.taskid))
        self._entries.nack(running.delivery, pb.NACK_REASON_RELEASED)

    def stopped(self, running: LeasedTask) -> None:
        """Report an item that ended because somebody cancelled it."""
        running.outcome = "cancelled"
        _log.info(Said("task cancelled", task=running.name, id=running.taskid))
        self._entries.nack(running.delivery, pb.NACK_REASON_CANCELLED)

    def _succeeded_with(self, running: LeasedTask, result: Any) -> None:
        delivery = running.delivery
        try:
            encoded = self._write_result(running, result)
        except PayloadError as error:
            self._bad_result(running, str(error))
            return
        except BaseException as error:  # noqa: BLE001 - a result may run code of the user's when it is read
            self._bad_result(running, f"the result of task {running.name} cannot be read:\n{describe(error)}")
            return
        self._entries.ack(delivery, encoded)

    def _write_result(self, running: LeasedTask, result: Any) -> bytes:
        types = self._tasks[running.name].types
        if types is not None:
            result = types.write_result(result)
        try:
            encoded = encode_json(result)
            return encoded if self._sealing is None else self._sealing.seal_result(running.delivery.id, encoded)
        except PayloadError as error:
            found = culprit(result)
            remedy = "; annotate what the function returns" if found is not None and found.can_be_annotated else ""
            raise PayloadError(f"the result of task {running.name} {error}{remedy}") from error

    def _bad_result(self, running: LeasedTask, error: str) -> None:
        """Report a call whose result nobody can be given: it has done what it does, and would do it again."""
        running.outcome = "bad result"
        _log.error(Said("task has a bad result", task=running.name, id=running.taskid, error=error))
        self._entries.nack(running.delivery, pb.NACK_REASON_REJECTED, error)


def _reason(said: Disposition) -> dict[str, str]:
    return {"reason": said.reason} if said.reason else {}


def describe(error: BaseException) -> str:
    """The traceback of an error, from the task's own frames on. Never raises, whatever the error's own code does."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__package__") in _OURS:
            trace = trace.tb_next
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException as another:  # noqa: BLE001 - it must be told in some way
        return f"{type(error).__name__}, whose text cannot be had: {type(another).__name__}"
