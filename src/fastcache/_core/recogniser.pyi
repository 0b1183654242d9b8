from typing import TypedDict

Recognised = TypedDict(
    "Recognised",
    {
        "method": bytes,
        "host": bytes,
        "path": bytes,
        "query": bytes | None,
        "range": bytes | None,
        "if-range": bytes | None,
        "if-match": bytes | None,
        "if-none-match": bytes | None,
        "if-modified-since": bytes | None,
        "if-unmodified-since": bytes | None,
        "checksum-mode": bool,
    },
)

def recognised(head: bytes, max_fields: int = 100, *, any_query: bool = False) -> Recognised | None: ...
