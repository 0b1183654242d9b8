"""The two XML bodies that decide something."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.s3xml import (
    NOT_XML,
    parse_completed,
    parse_completion,
    parse_delete_objects,
    root_element_name,
)

NAMESPACE = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<Delete><Object><Key>a</Key></Object></Delete>", [(b"a", None)]),
        (
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Delete ' + NAMESPACE + b"><Quiet>true</Quiet>"
            b"<Object><Key>a/b &amp; c</Key><VersionId>v1</VersionId></Object>\n"
            b"<Object><VersionId></VersionId><Key> \xc3\xa9 </Key><ETag>x</ETag></Object></Delete>",
            [(b"a/b & c", b"v1"), (" é ".encode(), None)],
        ),
        (b'<s:Delete xmlns:s="urn:x"><s:Object><s:Key>a</s:Key></s:Object></s:Delete>', [(b"a", None)]),
        (b"<Delete><Object><Key><![CDATA[a<b]]></Key></Object></Delete>", [(b"a<b", None)]),
        (b"<Delete><Object><Key>a<!-- x -->b</Key></Object></Delete>", [(b"ab", None)]),
        (b"<Delete><Object><Key>%28+</Key></Object></Delete>", [(b"%28+", None)]),
        (
            b'<?xml version="1.0" encoding="ISO-8859-1"?><Delete><Object><Key>\xe9</Key></Object></Delete>',
            [(b"\xc3\xa9", None)],
        ),
        (b"<Delete/>", []),
    ],
)
def test_delete_objects_names_its_keys(body: bytes, expected: list[tuple[bytes, bytes | None]]) -> None:
    assert parse_delete_objects(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<Delete>",
        b"<Delete><Object><Key>a</Key></Object></Delete>trailing",
        b"<Other><Object><Key>a</Key></Object></Other>",
        b"<Delete><Object></Object></Delete>",
        b"<Delete><Object><Key></Key></Object></Delete>",
        b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        b"<Delete><Object><Key>a<b/>c</Key></Object></Delete>",
        b"<Delete><Object><Key>a</Key><VersionId>1</VersionId><VersionId>2</VersionId></Object></Delete>",
        b"<Delete><Wrap><Object><Key>a</Key></Object></Wrap></Delete>",
        b"<Delete><Object><Object><Key>a</Key></Object><Key>b</Key></Object></Delete>",
        b'<!DOCTYPE d [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete><Object><Key>a</Key></Object></Delete>',
        b"<Delete><Object><Key>&undefined;</Key></Object></Delete>",
        b"<Delete><Object><Key>\xff</Key></Object></Delete>",
        b'<?xml version="1.0" encoding="no-such"?><Delete/>',
        b"<Delete><Object><Key>a&#0;</Key></Object></Delete>",
        b"\x00",
    ],
)
def test_what_could_be_read_in_two_ways_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_delete_objects(body)


xml_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xD7FF), min_size=1, max_size=20)


@given(st.lists(st.tuples(xml_text, st.none() | xml_text), max_size=5))
def test_written_keys_are_read_back(objects: list[tuple[str, str | None]]) -> None:
    inner = "".join(
        f"<Object><Key>{escape(key)}</Key>"
        + ("" if version is None else f"<VersionId>{escape(version)}</VersionId>")
        + "</Object>"
        for key, version in objects
    )
    expected = [(key.encode(), None if version is None else version.encode()) for key, version in objects]
    assert parse_delete_objects(f"<Delete>{inner}</Delete>".encode()) == expected


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_value_error(junk: bytes) -> None:
    for body in (junk, b"<Delete>" + junk + b"</Delete>"):
        try:
            found = parse_delete_objects(body)
        except ValueError:
            continue
        assert found == []


# --- the root of an answer that began before it was known

ROOTS = [
    (b"<Error><Code>x</Code>", "Error"),
    (b"<Error>", "Error"),
    (b"<Error/>", "Error"),
    (b"<Error\n>", "Error"),
    (b"<CompleteMultipartUploadResult " + NAMESPACE + b">", "CompleteMultipartUploadResult"),
    (b'<?xml version="1.0" encoding="UTF-8"?>\n\n  \t\r\n<Error>', "Error"),
    (b'   \n <?xml version="1.0"?><Error>', "Error"),
    (b"\xef\xbb\xbf<Error>", "Error"),
    (b"<!-- <Other> - -- > --><?pi <x> ?><Error>", "Error"),
    (b"<s:Error xmlns:s='x'>", "Error"),
    (b"<ErrorNot>", "ErrorNot"),
]


@pytest.mark.parametrize(("body", "name"), ROOTS)
def test_the_root_is_named_as_soon_as_it_is_complete_and_never_before(body: bytes, name: str) -> None:
    answers = [root_element_name(body[:length]) for length in range(len(body) + 1)]
    first = next(index for index, answer in enumerate(answers) if answer is not None)
    assert set(answers[:first]) == {None}
    assert set(answers[first:]) == {name}
    assert body[first - 1 : first] in b" \t\r\n/>"


@pytest.mark.parametrize(
    "body", [b"x", b"  {", b"\0", b"<1", b"< Error>", b"<!DOCTYPE x><Error>", b"</Error>", b"\xef\xbbx"]
)
def test_what_cannot_become_a_document_is_said_to_be_none(body: bytes) -> None:
    assert root_element_name(body) == NOT_XML


@pytest.mark.parametrize(
    "body", [b"", b" " * 1000, b"<", b"<!", b"<!-", b"<!--", b"<!-- --", b"<?xml", b"<?xml ?", b"<Err"]
)
def test_more_is_needed_while_the_root_may_still_come(body: bytes) -> None:
    assert root_element_name(body) is None


@given(st.binary(max_size=60))
def test_an_answer_never_changes_when_more_arrives(junk: bytes) -> None:
    known = None
    for length in range(len(junk) + 1):
        answer = root_element_name(junk[:length])
        assert known is None or answer == known
        known = answer


def test_a_completion_names_its_parts_in_order() -> None:
    body = (
        b'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<Part><ETag>&quot;a&quot;</ETag><PartNumber>2</PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>"
        b"<Part><PartNumber>1</PartNumber><ETag>b</ETag></Part></CompleteMultipartUpload>"
    )
    assert parse_completion(body) == [(2, b'"a"'), (1, b"b")]


@pytest.mark.parametrize(
    "inside",
    [
        b"<Part><PartNumber>1</PartNumber></Part>",
        b"<Part><ETag>a</ETag></Part>",
        b"<Part><PartNumber>1</PartNumber><PartNumber>2</PartNumber><ETag>a</ETag></Part>",
        b"<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>",
        b"<Part><PartNumber>1</PartNumber><ETag>a<b/></ETag></Part>",
        b"<Other/>",
        b"<Part>",
    ],
)
def test_a_completion_that_could_be_read_in_two_ways_is_a_value_error(inside: bytes) -> None:
    with pytest.raises(ValueError, match=r"Part|XML|unclear"):
        parse_completion(b"<CompleteMultipartUpload>" + inside + b"</CompleteMultipartUpload>")


@pytest.mark.parametrize(
    ("body", "etag"),
    [
        (b"<CompleteMultipartUploadResult><ETag>&quot;a-1&quot;</ETag></CompleteMultipartUploadResult>", b'"a-1"'),
        (b" \n <CompleteMultipartUploadResult><ETag>a</ETag></CompleteMultipartUploadResult>", b"a"),
        (b"<CompleteMultipartUploadResult/>", None),
        (b"<CompleteMultipartUploadResult><ETag>a</ETag>", None),
        (b"<Error><ETag>a</ETag></Error>", None),
        (b"", None),
    ],
)
def test_only_a_whole_result_says_that_an_upload_was_completed(body: bytes, etag: bytes | None) -> None:
    assert parse_completed(body) == etag
