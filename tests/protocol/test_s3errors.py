"""Error bodies are XML whatever is put into them."""

from __future__ import annotations

import defusedxml.ElementTree
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.s3errors import CODE_OF_STATUS, code_for_status, render_error


def fields_of(body: bytes) -> dict[str, str]:
    root = defusedxml.ElementTree.fromstring(body)
    assert root.tag == "Error"
    return {child.tag: child.text or "" for child in root}


def test_an_error_has_the_elements_of_s3() -> None:
    body = render_error(
        "NoSuchKey", "The key & <more>", resource=b"/b/\xc3\xa9", request_id="4442587FB7D0A2F9", host_id=b"h"
    )
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>')
    assert fields_of(body) == {
        "Code": "NoSuchKey",
        "Message": "The key & <more>",
        "Resource": "/b/é",
        "RequestId": "4442587FB7D0A2F9",
        "HostId": "h",
    }


@given(st.binary(max_size=40))
def test_arbitrary_bytes_make_well_formed_xml(junk: bytes) -> None:
    fields = fields_of(render_error("X", "m", resource=junk, request_id=junk, host_id=junk))
    assert set(fields) == {"Code", "Message", "Resource", "RequestId", "HostId"}
    assert fields["Resource"] == fields["HostId"]


any_character = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)


@given(any_character)
def test_arbitrary_text_survives_or_is_replaced_character_by_character(text: str) -> None:
    found = fields_of(render_error("X", text, resource="", request_id="", host_id=""))["Message"]
    assert len(found) == len(text)
    assert all(got in (wanted, "\ufffd") for got, wanted in zip(found, text, strict=True))


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF), max_size=30))
def test_text_that_xml_can_hold_comes_back_whole(text: str) -> None:
    assert fields_of(render_error("X", text, resource="", request_id="", host_id=""))["Message"] == text


def test_markup_cannot_be_injected() -> None:
    fields = fields_of(render_error("X", "</Message><Code>Y</Code>", resource=b"]]><!--\0", request_id="", host_id=""))
    assert fields["Code"] == "X"
    assert fields["Message"] == "</Message><Code>Y</Code>"
    assert fields["Resource"] == "]]><!--\ufffd"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "InvalidRequest"), (404, "NoSuchKey"), (416, "InvalidRange"), (503, "SlowDown"), (418, "InvalidRequest")]
    + [(507, "InternalError")],
)
def test_every_status_has_a_code(status: int, code: str) -> None:
    assert code_for_status(status) == code


def test_the_table_holds_errors_only() -> None:
    assert all(status == 304 or 400 <= status < 600 for status in CODE_OF_STATUS)
