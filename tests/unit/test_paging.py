"""Pages and their tokens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dibs.broker.border.errors import InvalidField
from dibs.broker.messages.paging import Page, read_page
from dibs.v1 import admin_pb2 as pb
from dibs.v1 import types_pb2 as tpb


def request(token: str = "", size: int = 0, queue: str = "q") -> pb.ListItemsRequest:
    return pb.ListItemsRequest(queue=queue, kind=tpb.QUEUE_KIND_TASK, page_token=token, page_size=size)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_a_token_leads_back_to_its_cursor(cursor: str) -> None:
    token = read_page(request()).token(cursor)
    assert token.isascii()
    assert read_page(request(token)).cursor == cursor


def test_a_token_may_be_used_with_another_page_size_and_not_with_another_list() -> None:
    token = read_page(request(size=5)).token("7")
    assert read_page(request(token, 6)).position() == 7
    for other in (request(token, queue="other"), pb.ListDeadLettersRequest(queue="q", page_token=token)):
        with pytest.raises(InvalidField, match="page_token"):
            read_page(other)


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_made_up_tokens_are_refused(token: str) -> None:
    if token:
        with pytest.raises(InvalidField, match="page_token"):
            read_page(request(token))


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "９", "1" * 16])
def test_a_cursor_that_is_no_position_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidField, match="page_token"):
        Page(1, cursor, 0).position()


def test_sizes() -> None:
    assert read_page(request()).size == 100
    assert read_page(request(size=1000)).size == 1000
    for size in (-1, 1001):
        with pytest.raises(InvalidField, match="page_size"):
            read_page(request(size=size))


def test_the_end_has_no_token() -> None:
    assert read_page(request()).token("") == ""
