"""Settings as the broker lists them."""

from __future__ import annotations

from pathlib import Path

from dibs.broker.calls.server_info import listed
from dibs.broker.config.limits import Limits
from dibs.broker.config.settings import Settings


def settings(**values: object) -> dict[str, str]:
    return dict(listed(Settings(**values)))  # type: ignore[arg-type]


def test_values_are_as_one_would_write_them(tmp_path: Path) -> None:
    found = settings(data_dir=tmp_path, listen=("127.0.0.1:1", "127.0.0.1:2"), max_payload_bytes=3 * 1024)
    assert found["listen"] == "127.0.0.1:1,127.0.0.1:2"
    assert found["data_dir"] == str(tmp_path)
    assert found["max_payload_bytes"] == "3KiB"
    assert found["max_batch_items"] == "1000"
    assert found["poll_interval"] == "800ms"
    assert found["insecure"] == "false"
    assert found["redis"] == ""


def test_every_setting_is_listed_and_can_be_given_again(tmp_path: Path) -> None:
    before = Settings(data_dir=tmp_path)
    found = dict(listed(before))
    assert set(found) == set(Settings.model_fields) > set(Limits.model_fields)
    again = Settings(**{name: value for name, value in found.items() if value})  # type: ignore[arg-type]
    assert again.model_dump() == before.model_dump()


def test_urls_are_listed_without_what_is_secret() -> None:
    assert settings(redis="rediss://user:secret@host:6379/3?password=x")["redis"] == "rediss://host:6379/3"
