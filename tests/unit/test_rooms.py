"""What is counted for an item is never less than what it takes of a message."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from dibs.broker.config.limits import Limits
from dibs.broker.config.settings import BadSettings, Settings
from dibs.broker.engine.types import ItemStatus, Kind, Leased, Retry, Spec, State, StoredItem, decode_record, weight
from dibs.broker.messages.deliveries import lease_response, peek_response
from dibs.broker.messages.items import item_infos
from dibs.broker.messages.result import result_response
from dibs.broker.messages.rooms import fitting, fitting_names, trim
from dibs.v1 import admin_pb2 as apb
from dibs.v1 import types_pb2 as tpb

LARGE = 2**31 - 1
YEARS_US = 3_660 * 86_400_000_000 - 1
NAME = "q" * 1024


def record(*, body: bytes, large: bool) -> bytes:
    """A record whose numbers are as large, or as small, as they get."""
    retry = Retry(YEARS_US, 99.99999999999, YEARS_US, 0.123456789012345)
    spec = Spec(Kind.TASK, NAME, LARGE, YEARS_US, retry, NAME, YEARS_US, 1000) if large else Spec(Kind.TASK, "q")
    now = 253_402_300_799_999_999 if large else 1
    return f"{now} {now} {spec.encode()}\n".encode() + body


@pytest.mark.parametrize("large", [True, False])
def test_an_item_takes_no_more_of_any_message_than_is_counted(large: bool) -> None:
    content = tpb.Content(task_name="t" * 4096, payload=b"x" * 1000)
    for n in range(8):
        content.headers[f"{n}"] = "v" * 200
    body = content.SerializeToString()
    raw = record(body=body, large=large)
    id, error = "i" * (1024 if large else 1), "e" * (8192 if large else 0)
    most = weight(id, raw, error)

    token, number = (2**63 - 1, LARGE) if large else (1, 1)
    assert len(lease_response([Leased(id, token, number, number, YEARS_US, error, raw)], 10**15)) <= most + 20
    assert peek_response([(id, decode_record(raw))]).ByteSize() <= most
    stored = StoredItem(id, State.DEAD, decode_record(raw), number, True, error, 10**17)
    (info,) = item_infos([stored], include_content=True)
    assert apb.TakeDeadLettersResponse(items=[info]).ByteSize() <= most


def test_of_results_everything_but_the_contents_has_its_place_first() -> None:
    statuses = [
        ItemStatus(f"i{n}", State.SUCCEEDED, 1, False, Kind.TASK, "q", None, "", b"r" * 1000, False) for n in range(100)
    ]
    reply = result_response(statuses, 20_000, 30_000)
    assert 18_000 < reply.ByteSize() <= 20_000
    assert [one.id for one in reply.results] == [status.id for status in statuses]
    assert all(one.truncated == (not one.HasField("result")) for one in reply.results)
    alone = result_response([statuses[0]._replace(result=b"r" * 25_000)], 20_000, 30_000)
    assert len(alone.results[0].result) == 25_000


def test_lists_are_cut_to_their_room() -> None:
    infos = [apb.QueueInfo(name=f"{n:0100}") for n in range(100)]
    shown = fitting(infos, 5_000)
    assert 40 < len(shown) < 50
    assert apb.ListQueuesResponse(queues=shown).ByteSize() <= 5_000
    assert len(fitting(infos, 1)) == 1
    assert fitting(infos[:3], 5_000) == infos[:3]
    assert fitting_names(["ä" * 50, "b"], 100) == []
    worker = apb.WorkerInfo(queues=["q" * 100] * 100, task_names=["t" * 100] * 100)
    trim(worker, 6_000, "task_names", "queues")
    assert worker.ByteSize() <= 6_000
    assert (len(worker.task_names), len(worker.queues)) == (0, 50)


@pytest.mark.parametrize(
    "options",
    [
        {"max_message_bytes": "64KiB"},
        {"max_payload_bytes": "8MiB"},
        {"max_error_bytes": "1MiB", "max_message_bytes": "1MiB"},
        {"max_headers_bytes": "1MiB", "max_message_bytes": "1MiB"},
    ],
)
def test_a_broker_that_could_not_hand_out_its_largest_item_does_not_start(options: dict[str, str]) -> None:
    with pytest.raises(BadSettings) as caught:
        Settings.load(options)
    sentence = str(caught.value)
    assert sentence.startswith("max_message_bytes must be at least ")
    assert "max_payload_bytes" in sentence
    least = int(sentence.split()[5].rstrip(":"))
    assert Settings.load({**options, "max_message_bytes": str(least)}).max_message_bytes == least
    with pytest.raises(BadSettings):
        Settings.load({**options, "max_message_bytes": str(least - 1)})


@pytest.mark.parametrize("name", [name for name, field in Limits.model_fields.items()])
@pytest.mark.parametrize("end", ["ge", "le"])
def test_every_limit_may_be_at_its_ends(name: str, end: str) -> None:
    found = [getattr(one, end) for one in Limits.model_fields[name].metadata if hasattr(one, end)]
    others: dict[tuple[str, str], dict[str, Any]] = {
        ("max_message_bytes", "ge"): {"max_payload_bytes": 64},
        ("heartbeat_interval", "le"): {"heartbeat_timeout": timedelta(hours=1)},
        ("heartbeat_timeout", "ge"): {"heartbeat_interval": timedelta(0)},
    }
    limits = Limits(**{**others.get((name, end), {"max_message_bytes": 2**30}), name: found[0]})
    assert limits.batch_items >= 1
    assert limits.announced.entry_bytes > 0
