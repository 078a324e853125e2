"""What a person is told of the settings is what the settings are."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dibs.broker.config.limits import Limits
from dibs.broker.config.options import configuration_table, options
from dibs.broker.config.settings import Settings
from dibs.rpc.codec import encode_call

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_every_setting_is_an_option() -> None:
    assert {option.name for option in options()} == set(Settings.model_fields)


@pytest.mark.parametrize("limits", [False, True])
def test_the_document_has_every_option_with_its_default(limits: bool) -> None:
    assert configuration_table(limits) in DOCUMENT.read_text()


def test_defaults_that_are_shown_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DIBS_{name.upper()}", raising=False)
    shown = {option.name: option.default for option in options() if option.default}

    assert Settings.load(shown).model_dump(exclude={"data_dir"}) == Settings.load({}).model_dump(exclude={"data_dir"})


def bound(name: str, which: str) -> Any:
    """The least (ge) or the largest (le) value of a limit."""
    return next(getattr(one, which) for one in Limits.model_fields[name].metadata if hasattr(one, which))


def test_the_document_has_the_least_values() -> None:
    (said,) = re.findall(r"^The least values: (.*?)\n\n", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    numbers = re.findall(r"\d+", re.sub(r"\(.*?\)", "", said, flags=re.DOTALL))
    assert [int(number) for number in numbers] == [
        bound("max_payload_bytes", "ge"),
        bound("max_batch_items", "ge"),
        bound("max_message_bytes", "ge") // 1024,
        bound("max_name_length", "ge"),
        bound("max_id_length", "ge"),
        bound("max_headers", "ge"),
        bound("max_headers_bytes", "ge") // 1024,
        bound("max_wait", "ge").total_seconds(),
        bound("max_credit", "ge"),
    ]
    assert f"an empty call has {len(encode_call((), {}))}" in said


def test_the_document_has_the_smallest_message_for_items_of_the_default_size() -> None:
    (said,) = map(int, re.findall(r"(\d+) KiB hold an item of 256 KiB", DOCUMENT.read_text()))
    assert Limits(max_message_bytes=said * 1024).max_payload_bytes == 256 * 1024
    with pytest.raises(ValueError, match="does not fit into"):
        Limits(max_message_bytes=(said - 1) * 1024)


def test_the_document_has_the_bounds_of_heartbeats() -> None:
    said = " ".join(DOCUMENT.read_text().split())
    assert "An interval is 0 (off), or 50 ms to 5 minutes; the least timeout is 100 ms, the longest an hour." in said
    assert bound("heartbeat_interval", "le") == timedelta(minutes=5)
    assert (bound("heartbeat_timeout", "ge"), bound("heartbeat_timeout", "le")) == (
        timedelta(milliseconds=100),
        timedelta(hours=1),
    )
    for interval_ms in (0, 50):
        assert Limits(heartbeat_interval=timedelta(milliseconds=interval_ms))
    with pytest.raises(ValueError, match="0 or at least 50ms"):
        Limits(heartbeat_interval=timedelta(milliseconds=49))
