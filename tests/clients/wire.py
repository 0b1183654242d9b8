"""What a client asks an origin for, in the words of docs/clients.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

_ALWAYS = {"host", "x-amz-content-sha256", "x-amz-date"}
_RANGES = ((r"bytes=-\d+", " suffix"), (r"bytes=\d+-", " rest"), (r"bytes=\d+-\d+", " range"), (r"", ""))


def requests(log: Iterable[dict[str, Any]]) -> str:
    """The kinds of requests, each once and in a fixed order, because clients ask side by side."""
    kinds = Counter(map(_kind, log))
    return ", ".join(kind.replace("range", "ranges") if kinds[kind] > 1 else kind for kind in sorted(kinds, key=_rank))


def covered(log: Iterable[dict[str, Any]]) -> str:
    """The fields that the signatures of its GETs cover beside those that every signature does."""
    names = {
        re.sub(r"^amz-sdk-.+", "amz-sdk-*", name)
        for entry in log
        if entry["method"] == "GET" and entry["key"]
        for name in entry["covered"]
    }
    return ", ".join(f"`{name}`" for name in sorted(names - _ALWAYS)) or "nothing"


def _kind(entry: dict[str, Any]) -> str:
    if not entry["key"]:
        return "list"
    shape = next(word for form, word in _RANGES if re.fullmatch(form, entry["range"]))
    return entry["method"] + shape + (" If-Match" if "if-match" in entry["conditions"] else "")


def _rank(kind: str) -> tuple[bool, bool, str]:
    return kind != "list", kind != "HEAD", kind
