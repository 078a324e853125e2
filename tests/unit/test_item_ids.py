"""Ids that the broker makes: a repeated request gets the same, also at a broker of another version."""

from __future__ import annotations

import uuid

from dibs.broker.border.item_ids import completed

URL = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")


def test_an_id_is_the_uuid_of_request_and_place() -> None:
    made = completed([""] * 1000, "request")
    assert made == [str(uuid.uuid5(URL, f"request/{at}")) for at in range(1000)]
    assert {uuid.UUID(id).version for id in made} == {5}
    assert {uuid.UUID(id).variant for id in made} == {uuid.RFC_4122}


def test_ids_that_are_there_stay() -> None:
    assert completed(["a", "", "c"], "request") == ["a", completed([""] * 3, "request")[1], "c"]


def test_without_a_request_id_no_two_are_the_same() -> None:
    made = completed([""] * 100, "") + completed([""] * 100, "")
    assert len(set(made)) == 200
