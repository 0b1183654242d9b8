"""``multipart/byteranges`` bodies, read by the standard library's parser of mail, which knows nothing of ours."""

from __future__ import annotations

import email
from typing import NamedTuple


class BodyPart(NamedTuple):
    """One part of a body."""

    content_type: str | None
    content_range: str
    content: bytes


def body_parts(content_type: bytes, body: bytes) -> list[BodyPart]:
    """The parts of a body in order. The parts' own Content-Type must not be one that the parser would look into."""
    message = email.message_from_bytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body)
    assert message.get_content_type() == "multipart/byteranges"
    assert message.is_multipart(), message.defects
    assert message.defects == []
    assert not message.preamble
    assert not message.epilogue
    found = []
    for part in message.walk():
        if part is not message:
            assert sorted(map(str.lower, part.keys())) in (["content-range"], ["content-range", "content-type"])
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found.append(BodyPart(part["Content-Type"], part["Content-Range"], content))
    return found
