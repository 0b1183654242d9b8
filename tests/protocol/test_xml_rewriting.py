"""Texts of a streaming XML document are replaced, and every other octet stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.xml_rewriting import RewriteError, TextRewriter

NAME = {("ListBucketResult", "Name"): lambda text: f"<{text} & co>"}
LIST = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Name>there</Name><Prefix></Prefix><KeyCount>1</KeyCount>"
    b"<Contents><Key>there</Key><Owner><Name>there</Name></Owner></Contents></ListBucketResult>\n"
)


def rewritten(pieces: Iterable[bytes], replacements=NAME) -> bytes:
    rewriter = TextRewriter(replacements)
    return b"".join([rewriter.feed(piece) for piece in pieces] + [rewriter.finish()])


def cut(document: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(document) + 1) for place in places), len(document)]
    return [document[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, 1000), max_size=12))
def test_however_it_is_cut_only_the_text_changes(places: list[int]) -> None:
    expected = LIST.replace(b"<Name>there</Name><Prefix>", b"<Name>&lt;there &amp; co&gt;</Name><Prefix>")
    assert rewritten(cut(LIST, places)) == expected


def test_octet_by_octet_is_the_same() -> None:
    assert rewritten(bytes([octet]) for octet in LIST) == rewritten([LIST])


@pytest.mark.parametrize(
    ("inner", "seen"),
    [
        (b"<Name>a</Name>", ["a"]),
        (b"<Name>a&amp;b&#x20AC;</Name>", ["a&b\u20ac"]),
        (b"<Name><![CDATA[a<b]]></Name>", ["a<b"]),
        (b"<Name>a<![CDATA[b]]>c</Name>", ["abc"]),
        (b"<Name>\xc3\xa9</Name>", ["\u00e9"]),
        (b"<Name></Name>", []),
        (b"<Name/>", []),
        (b"<Name />", []),
        (b"<s3:Name xmlns:s3='x'>a</s3:Name>", ["a"]),
        (b"<Name\n>a\n</Name\n>", ["a\n"]),
        (b"<Contents><Name>a</Name></Contents>", []),
        (b"<name>a</name>", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_every_way_to_write_a_text_is_understood(inner: bytes, seen: list[str], size: int) -> None:
    told: list[str] = []

    def replace(text: str) -> str:
        told.append(text)
        return "here"

    document = b"<ListBucketResult>" + inner + b"<!-- x --><Prefix>p</Prefix></ListBucketResult>"
    pieces = [document[at : at + size] for at in range(0, len(document), size)]
    result = rewritten(pieces, {("ListBucketResult", "Name"): replace})
    assert told == seen
    if seen:
        texts = [element.text for element in ElementTree.fromstring(result) if element.tag.endswith("Name")]
        assert texts == ["here"]
    else:
        assert result == document


def test_several_texts_are_replaced_in_one_document() -> None:
    document = b"<Error><Code>NoSuchKey</Code><Resource>/there/k</Resource><BucketName>there</BucketName></Error>"
    replacements = {("Error", "Resource"): lambda text: "/here/k", ("Error", "BucketName"): lambda text: "here"}
    assert rewritten([document], replacements) == document.replace(b"there", b"here")
    for place in range(len(document)):
        assert rewritten(cut(document, [place]), replacements) == document.replace(b"there", b"here")


def test_white_space_that_keeps_a_connection_alive_flows() -> None:
    rewriter = TextRewriter({("CompleteMultipartUploadResult", "Bucket"): lambda text: "here"})
    assert rewriter.feed(b" \n") == b" \n"
    assert rewriter.feed(b"  ") == b"  "
    declaration = b'<?xml version="1.0" encoding="UTF-8"?>'
    sent = rewriter.feed(declaration)
    for _ in range(5):
        sent += rewriter.feed(b" ")
    assert sent == declaration + b" " * 5
    rest = b"<CompleteMultipartUploadResult><Bucket>there</Bucket></CompleteMultipartUploadResult>"
    assert rewriter.feed(rest) + rewriter.finish() == rest.replace(b"there", b"here")


def test_a_large_list_is_not_held() -> None:
    rewriter = TextRewriter(NAME)
    begun = LIST.partition(b"<Contents>")[0]
    assert rewriter.feed(begun).endswith(b"</KeyCount>")
    entry = b"<Contents><Key>k&#x1;</Key></Contents>" * 1000
    for _ in range(10):
        assert rewriter.feed(entry) == entry


def test_a_text_at_the_end_of_a_large_document_holds_only_what_is_open() -> None:
    rewriter = TextRewriter(NAME)
    held = len(rewriter.feed(b"<ListBucketResult>")) - len(b"<ListBucketResult>")
    for _ in range(100):
        piece = b"<Contents><Key>" + b"k" * 1000 + b"</Key></Contents>"
        held += len(rewriter.feed(piece)) - len(piece)
        assert -2000 <= held <= 0
    end = b"<Name>there</Name></ListBucketResult>"
    assert (rewriter.feed(end) + rewriter.finish()).endswith(b"<Name>&lt;there &amp; co&gt;</Name></ListBucketResult>")


def test_a_document_of_another_kind_passes() -> None:
    for document in (
        b"<Tagging><Name>there</Name></Tagging>",
        b'<?xml version="1.0"?>\n<ListPartsResult><Name>there</Name><Bucket>there</Bucket></ListPartsResult>',
    ):
        assert rewritten([document]) == document


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"  ",
        b"{}",
        b"<ListBucketResult><Name>there</ListBucketResult>",
        b"<ListBucketResult><Name>there",
        b"<ListBucketResult><Prefix>",
        b"<ListBucketResult><Name>a<b>c</b></Name></ListBucketResult>",
        b"<ListBucketResult><Name>a<!-- c -->b</Name></ListBucketResult>",
        b"<ListBucketResult><Name>a<?p i?>b</Name></ListBucketResult>",
        b"<ListBucketResult><Prefix>&#x1;</Prefix><Name>there</Name></ListBucketResult>",
        b'<!DOCTYPE x [<!ENTITY e "there">]><ListBucketResult><Name>&e;</Name></ListBucketResult>',
        b"<!DOCTYPE x><ListBucketResult><Name>a</Name></ListBucketResult>",
        b'<?xml version="1.0" encoding="ISO-8859-1"?><ListBucketResult><Name>a</Name></ListBucketResult>',
        LIST.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        "<ListBucketResult><Name>a</Name></ListBucketResult>".encode("utf-16"),
        "<ListBucketResult><Name>a</Name></ListBucketResult>".encode("utf-16-le"),
        b"<ListBucketResult><Name>" + b"x" * 70_000 + b"</Name></ListBucketResult>",
        b"<ListBucketResult a='" + b"x" * 70_000,
    ],
)
@pytest.mark.parametrize("size", [1, 4096])
def test_what_is_not_understood_is_refused(document: bytes, size: int) -> None:
    pieces = [document[at : at + size] for at in range(0, len(document), size)]
    with pytest.raises(RewriteError) as caught:
        rewritten(pieces)
    assert "there" not in str(caught.value)


NAMES = st.sampled_from(["Name", "Prefix", "Key", "Contents", "ListBucketResult"])
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
TREE = st.recursive(
    st.tuples(NAMES, TEXT).map(lambda leaf: (leaf[0], leaf[1], [])),
    lambda children: st.tuples(NAMES.filter(lambda name: name != "Name"), TEXT, st.lists(children, max_size=4)),
    max_leaves=12,
)


def element_of(tree) -> ElementTree.Element:
    name, text, children = tree
    element = ElementTree.Element(name)
    element.text = text
    element.extend(element_of(child) for child in children)
    return element


@given(TREE, st.lists(st.integers(0, 2000), max_size=6))
def test_any_document_is_rewritten_as_its_tree_would_be(tree, places: list[int]) -> None:
    root = element_of(("ListBucketResult", "", [tree]))
    document = ElementTree.tostring(root, encoding="utf-8")
    name = root.find("Name")
    if name is not None and name.text:
        name.text = f"<{name.text} & co>"
    result = rewritten(cut(document, places))
    assert ElementTree.canonicalize(result.decode()) == ElementTree.canonicalize(
        ElementTree.tostring(root, encoding="unicode")
    )
