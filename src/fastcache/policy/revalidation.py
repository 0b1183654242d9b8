"""Asking the origin whether what is stored is still current, with the client's own request (SEMANTICS 10-14)."""

from __future__ import annotations

import enum

from fastcache._core.conditions import strong_match
from fastcache.model import HeadRecord, unquoted_etag
from fastcache.policy.read_request import Conditions
from fastcache.protocol.responses import ResponseHead


def validator_to_add(conditions: Conditions, record: HeadRecord) -> bytes | None:
    """The If-None-Match value to add to the client's request, or None to forward it unmodified.

    A client's own If-None-Match leaves no room for ours, and neither does a validator that names another content: what
    the origin answers to those is the client's answer. If-(Un)Modified-Since may stay beside ours: the first is
    evaluated here after a 304 (ours makes the origin ignore it, RFC 9110 section 13.1.3), the second by the origin.
    """
    etag = record.generation.etag
    if conditions.if_none_match is not None or record.is_headerless:
        return None  # a 304 would not bring the header set that is missing
    if conditions.if_match is not None and not strong_match(conditions.if_match, etag):
        return None
    if conditions.if_range is not None and not strong_match(conditions.if_range, etag):
        return None
    return etag


class Verdict(enum.Enum):
    """What a 304 to our validator is worth."""

    CURRENT = "current"
    """The stored generation and header set are the origin's."""
    HEADERS_CHANGED = "headers-changed"
    """Same bytes, but re-put or copied onto itself since: the stored header set is void (SEMANTICS 6)."""
    FOREIGN = "foreign"
    """It speaks of another ETag, or may not be about ours at all: unusable, ask again without our validator."""


def judge_304(response: ResponseHead, record: HeadRecord, *, only_ours: bool = False) -> Verdict:
    """Judge a 304 to a request that carried the stored ETag.

    ``only_ours`` says that the client sent no condition which can lead to a 304. Without that, a 304 that names no ETag
    proves nothing: a server may go on to If-Modified-Since when If-None-Match did not match, against RFC
    9110 section 13.1.3, and then say "not modified" of an object that was overwritten.
    """
    etags = response.get_all(b"etag")
    if not etags and not only_ours:
        return Verdict.FOREIGN
    if any(unquoted_etag(etag) != unquoted_etag(record.generation.etag) for etag in etags):
        return Verdict.FOREIGN
    last_modified = response.get(b"last-modified")
    if last_modified is not None and last_modified != record.last_modified:
        return Verdict.HEADERS_CHANGED
    version = response.get(b"x-amz-version-id")
    if version is not None and version != record.version_id:
        return Verdict.HEADERS_CHANGED
    return Verdict.CURRENT


REFUSES_ADDITION = frozenset({400, 501})
"""Statuses after which a request that we added to is sent again unchanged, once (SEMANTICS 13)."""
