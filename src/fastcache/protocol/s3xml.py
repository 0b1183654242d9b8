"""XML bodies that decide something: what DeleteObjects deletes, whether a 200 is an error after all, what one says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

NOT_XML: Final = ""
"""What ``root_element_name`` answers when the body cannot become an XML document with a root."""

_DECLARATION = b"<?xml version='1.0' encoding='utf-8'?>\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NAME_START = re.compile(rb"[A-Za-z_:\x80-\xff]")
_NAME_END = re.compile(rb"[ \t\r\n/>]")


def parse_delete_objects(body: bytes) -> list[tuple[bytes, bytes | None]]:
    """The (key, version or None) pairs of a DeleteObjects body (S3 API reference, DeleteObjects), in order.

    Raises ValueError for anything that two servers might read differently; the caller then fences the whole bucket.
    """
    root = _trusted(body, "Delete")
    direct = [child for child in root if _local_name(child) == "Object"]
    if len(direct) != sum(1 for element in root.iter() if _local_name(element) == "Object"):
        raise ValueError("an Object element is not a child of Delete")
    return [_identifier(element) for element in direct]


def error_elements(body: bytes) -> dict[str, str]:
    """The texts in an error's body by the names of their elements (S3 API reference, "Error responses").

    The first of a name counts. Nothing for a body that is no error or no XML that can be trusted.
    """
    try:
        root = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError):
        return {}
    if _local_name(root) != "Error":
        return {}
    return {_local_name(child): (child.text or "").strip() for child in reversed(root)}


def parse_completion(body: bytes) -> list[tuple[int, bytes]]:
    """The (part number, ETag) pairs of a CompleteMultipartUpload body (S3 API reference), in order. Raises ValueError
    for anything that two servers might read differently."""
    root = _trusted(body, "CompleteMultipartUpload")
    parts = []
    for element in root:
        if _local_name(element) != "Part":
            raise ValueError("an element that is no Part")
        number, etag = _only_text(element, "PartNumber"), _only_text(element, "ETag")
        if number is None or etag is None or not number.strip().isdigit() or len(number) > 16:
            raise ValueError("a Part without number or ETag")
        parts.append((int(number), etag.strip()))
    return parts


def parse_completed(body: bytes) -> bytes | None:
    """The ETag in the answer to a CompleteMultipartUpload that was done; None when it was not, or cannot be read."""
    try:
        return _only_text(_trusted(body.lstrip(), "CompleteMultipartUploadResult"), "ETag")
    except ValueError:
        return None


def _trusted(body: bytes, name: str) -> Element:
    try:
        root: Element = defusedxml.ElementTree.fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, LookupError) as error:
        raise ValueError("the body is not XML that can be trusted") from error
    if _local_name(root) != name:
        raise ValueError(f"the root element is not {name}")
    return root


def _identifier(element: Element) -> tuple[bytes, bytes | None]:
    key = _only_text(element, "Key")
    if not key:
        raise ValueError("an Object element has no Key")
    return key, _only_text(element, "VersionId") or None


def _only_text(element: Element, name: str) -> bytes | None:
    """The text of the one child called ``name``; None without one, ValueError for two or for one with children."""
    found = [child for child in element if _local_name(child) == name]
    if not found:
        return None
    if len(found) > 1 or len(found[0]):
        raise ValueError(f"an Object element has an unclear {name}")
    return (found[0].text or "").encode()


def _local_name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def root_element_name(body: bytes) -> str | None:
    """The local name of the root element as soon as ``body``, a beginning of the document, shows all of it.

    None: more bytes are needed. NOT_XML: no more bytes will help. Skips what S3 sends first: an XML declaration and the
    white space that keeps a slow CompleteMultipartUpload alive (SEMANTICS 31), in either order; comments and processing
    instructions too. A document type declaration is NOT_XML, S3 has none.
    """
    position = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    if position == 0 and body and _BYTE_ORDER_MARK.startswith(body):
        return None
    while True:
        position = len(body) - len(body[position:].lstrip(b" \t\r\n"))
        ahead = body[position : position + 4]
        if b"<!--".startswith(ahead) or ahead == b"<":
            if ahead != b"<!--":
                return None
            end = body.find(b"-->", position + 4)
        elif ahead.startswith(b"<?"):
            end = body.find(b"?>", position + 2)
        else:
            return _element_name(body, position)
        if end < 0:
            return None
        position = body.index(b">", end) + 1


def _element_name(body: bytes, position: int) -> str | None:
    """The local name of the element whose ``<`` is at ``position``."""
    if not body.startswith(b"<", position) or not _NAME_START.match(body, position + 1):
        return NOT_XML
    end = _NAME_END.search(body, position + 1)
    if end is None:
        return None
    return body[position + 1 : end.start()].rpartition(b":")[2].decode("utf-8", "replace")


def rename_buckets(body: bytes, names: Callable[[str], Sequence[str]], more: Sequence[str]) -> bytes:
    """A ListAllMyBucketsResult (ListBuckets) with each bucket under each of the names that ``names`` gives for it, none
    included, and on the last page with what is missing of ``more``; in the order of names, as S3 lists them.

    Raises ValueError for a document that is not one.
    """
    root = _trusted(body, "ListAllMyBucketsResult")
    found = [child for child in root if _local_name(child) == "Buckets"]
    if len(found) != 1:
        raise ValueError("the body is not a list of buckets")
    listed = {name: element for bucket in found[0] for name, element in _renamed(bucket, names)}
    last_page = all(_local_name(child) != "ContinuationToken" for child in root)
    for name in more if last_page else ():
        listed.setdefault(name, _named(Element("Bucket"), name))
    found[0][:] = [listed[name] for name in sorted(listed)]
    namespace = root.tag.rpartition("}")[0].removeprefix("{")
    for element in root.iter():
        element.tag = _local_name(element)
    if namespace:
        root.set("xmlns", namespace)
    text: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.removeprefix(_DECLARATION)


def _renamed(bucket: Element, names: Callable[[str], Sequence[str]]) -> Iterator[tuple[str, Element]]:
    there = next((child.text or "" for child in bucket if _local_name(child) == "Name"), "")
    for name in names(there):
        yield name, _named(bucket, name)


def _named(bucket: Element, name: str) -> Element:
    """A copy under another name; without its ARN, which is one of the bucket's there."""
    copy = Element("Bucket")
    SubElement(copy, "Name").text = name
    copy.extend(child for child in bucket if _local_name(child) not in ("Name", "BucketArn"))
    return copy
