"""What a person is told of the settings is what the settings are."""

from __future__ import annotations

from pathlib import Path

import pytest

from dibs.broker.config.options import configuration_table, options
from dibs.broker.config.settings import Settings

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
