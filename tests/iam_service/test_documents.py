"""Properties of how documents are counted and encoded, and of pages that go through several lists."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from freehold.services.iam.documents import characters, encoded
from freehold.services.iam.paging import page_of_all

UNRESERVED = set(string.ascii_letters + string.digits + "-._~")  # RFC 3986 §2.3


@given(st.text())
def test_encoded_text_is_unreserved_characters_that_decode_to_the_same(text: str) -> None:
    assert set(encoded(text)) <= UNRESERVED | {"%"}
    assert unquote(encoded(text)) == text


@given(st.text('{}:, \t\r\n"a\u00e9'))
def test_white_space_is_not_counted(text: str) -> None:
    assert characters(text) == sum(character not in " \t\r\n" for character in text)


@dataclass(frozen=True)
class Item:
    folded: str


class Called:
    operation = "GetAccountAuthorizationDetails"
    account_id = "111122223333"


@given(st.lists(st.sets(st.text("abc", min_size=1)), min_size=1, max_size=4), st.integers(1, 5))
def test_pages_of_several_lists_are_the_lists_one_after_the_other(lists: list[set[str]], size: int) -> None:
    ordered = {f"list{place}": sorted(names) for place, names in enumerate(lists)}
    rows: Any = {
        name: lambda after, limit, names=names: [Item(one) for one in names if one > after][:limit]
        for name, names in ordered.items()
    }
    call: Any = Called()
    request: dict[str, Any] = {"MaxItems": size}
    found: list[str] = []
    while True:
        page = page_of_all(call, request, rows)
        assert len(page.rows) == size or not page.end["IsTruncated"]
        found += [item.folded for item in page.rows]
        if not page.end["IsTruncated"]:
            break
        request["Marker"] = page.end["Marker"]
    assert found == [name for names in ordered.values() for name in names]
