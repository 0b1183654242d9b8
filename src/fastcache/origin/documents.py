"""S3's XML documents: written by hand (they are flat), parsed with defusedxml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import quote_from_bytes
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fastcache.errors import RequestError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_PROLOG = '<?xml version="1.0" encoding="UTF-8"?>\n'
_SPECIAL = re.compile(r"[&<>\"\x00-\x1f]")


class Element(Protocol):
    """What is used of a parsed element."""

    tag: str
    text: str | None

    def __iter__(self) -> Iterator[Element]: ...


def escape(text: str) -> str:
    """Text for XML; control characters become references, as S3 writes them, legal in XML 1.0 or not."""
    return _SPECIAL.sub(lambda match: f"&#x{ord(match[0]):X};" if match[0] < " " else _NAMED[match[0]], text)


def element(name: str, *children: str) -> str:
    """An element around what is markup already."""
    return f"<{name}>{''.join(children)}</{name}>"


def leaf(name: str, value: object) -> str:
    """An element around text."""
    return f"<{name}>{escape(str(value))}</{name}>"


def document(name: str, *children: str) -> bytes:
    """A whole S3 document."""
    body = "".join(children)
    return f'{_PROLOG}<{name} xmlns="{NAMESPACE}">{body}</{name}>'.encode()


def error_document(
    code: str, message: str, *, resource: str, request_id: str, details: Iterable[tuple[str, str]] = ()
) -> bytes:
    """An ``<Error>`` (S3 API Reference, "REST error responses")."""
    extra = "".join(leaf(name, value) for name, value in details)
    fields = leaf("Code", code) + leaf("Message", message) + extra
    fields += leaf("Resource", resource) + leaf("RequestId", request_id)
    return f"{_PROLOG}<Error>{fields}</Error>".encode()


def key_text(key: bytes, encoding: bytes | None) -> str:
    """A key inside a listing; ``encoding`` is the request's encoding-type."""
    if encoding == b"url":
        return quote_from_bytes(key, safe="/-_.~*")
    return key.decode("utf-8", "replace")


class Node:
    """A parsed element without its namespace."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str, text: str, children: list[Node]) -> None:
        self.name = name
        self.text = text
        self.children = children

    def all(self, name: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str | None:
        """The text of the first child of that name."""
        for child in self.children:
            if child.name == name:
                return child.text
        return None


def parse(data: bytes) -> Node:
    """The document's root; raises RequestError MalformedXML."""
    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise RequestError(
            "The XML you provided was not well-formed or did not validate against our published schema",
            code="MalformedXML",
            close=False,
        ) from error
    return _node(root)


def _node(source: Element) -> Node:
    children = [_node(child) for child in source]
    return Node(source.tag.rpartition("}")[2], source.text or "", children)


_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
