"""Things that go wrong on purpose: which requests they hit, and what they do to them.

Every fault is one small JSON object: ``kind``, what it matches (``method``, ``bucket``, ``key`` as a prefix,
``params``, ``range``), how often (``count``, -1 for always), and the parameters of its kind. Kinds are listed in KINDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from fastcache.errors import ConfigError
from fastcache.origin.message import Response, S3Error, error_response, late_response
from fastcache.origin.request import Request

KINDS = {
    "cut": "close the connection before any byte of the answer",
    "cut-head": "close after `after` bytes of the head",
    "cut-body": "close after `after` bytes of the body",
    "reset": "reset (RST) after `after` bytes of the body",
    "stall": "send nothing for `seconds` after `after` bytes of the body; -1 stalls in the head",
    "content-length": "add `delta` to Content-Length; the body stays as it is",
    "content-range": "replace Content-Range by `value`; `*` as total with value `total-star`",
    "etag": "replace ETag by `value`: `missing`, `weak` or any text",
    "framing": "no Content-Length: `value` is `close` or `chunked`",
    "ignore-range": "answer 200 with everything to a Range",
    "ignore-conditions": "ignore If-Match, If-None-Match and the date conditions; `value` names one of them",
    "status": "answer `status` with `code` instead; `headers` are added",
    "garbage-head": "put bytes into the head that are no header field",
    "extra-bytes": "send `value` after the body",
    "not-modified-headers": "add Content-Type, Content-Length: 0 and Set-Cookie to a 304",
    "headers": "set the fields in `headers` (null removes one)",
    "late-error": "answer 200, white space for `seconds`, then an <Error>",
    "late": "answer 200, white space for `seconds`, then the true document",
    "latency": "wait `seconds` before the head",
}
_CODES = {
    307: ("TemporaryRedirect", "Please re-send this request to the specified temporary endpoint."),
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


class Wire(NamedTuple):
    """What happens to the bytes of one answer."""

    cut_head: int | None = None
    """Bytes of the head after which the connection closes."""
    cut_body: int | None = None
    """Bytes of the body after which it closes or is reset."""
    reset: bool = False
    stall_at: int | None = None
    """Bytes of the body (-1: before the head) after which nothing is sent for ``stall_seconds``."""
    stall_seconds: float = 0.0
    garbage: bool = False
    extra: bytes = b""
    latency: float = 0.0


CLEAN = Wire()


@dataclass(slots=True)
class Fault:
    """One fault; see KINDS for what each parameter means."""

    kind: str
    count: int = 1
    method: str = ""
    bucket: str = ""
    key: str = ""
    after: int = 0
    seconds: float = 3600.0
    delta: int = 0
    status: int = 500
    code: str = ""
    value: str = ""
    headers: dict[str, str | None] | None = None
    params: str = ""
    """The name of a query parameter the request must have."""
    range: str = ""
    """The Range field the request must have, as a whole."""

    def matches(self, request: Request) -> bool:
        """Whether the request is one of those meant."""
        return (
            (not self.method or request.method == self.method.encode())
            and (not self.bucket or request.bucket == self.bucket.encode())
            and request.key.startswith(self.key.encode())
            and (not self.params or self.params.encode() in request.params)
            and (not self.range or self.range.encode() == request.fields.get(b"range"))
        )


def fault_from_json(description: dict[str, Any]) -> Fault:
    """Raises ConfigError that names what is unknown."""
    if description.get("kind") not in KINDS:
        raise ConfigError(f"unknown fault kind {description.get('kind')!r}; known: {', '.join(KINDS)}")
    try:
        return Fault(**description)
    except TypeError as error:
        raise ConfigError(f"fault {description['kind']}: {error}") from error


class Faults:
    """The faults waiting for their requests."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    @property
    def active(self) -> bool:
        return bool(self._waiting)

    def add(self, fault: Fault) -> None:
        """Later faults act on what earlier ones left."""
        self._waiting.append(fault)

    def clear(self) -> None:
        """No more faults; answers under way keep theirs."""
        self._waiting.clear()

    def waiting(self) -> list[Fault]:
        """Those that have not used up their count."""
        return list(self._waiting)

    def take(self, request: Request) -> list[Fault]:
        """The faults for this request; each counts down by one."""
        taken = [fault for fault in self._waiting if fault.matches(request)]
        for fault in taken:
            if fault.count > 0:
                fault.count -= 1
        self._waiting = [fault for fault in self._waiting if fault.count]
        return taken


def before(faults: list[Fault], request: Request, request_id: bytes) -> Response | None:
    """Change the request; or the answer, if a fault replaces the operation."""
    for fault in faults:
        if fault.kind == "ignore-range":
            request.fields.pop(b"range", None)
        elif fault.kind == "ignore-conditions":
            names = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
            for name in (fault.value.lower(),) if fault.value else names:
                request.fields.pop(name.encode(), None)
        elif fault.kind == "status":
            return _status(fault, request, request_id)
        elif fault.kind == "late-error":
            error = S3Error(200, "InternalError", "We encountered an internal error. Please try again.")
            return late_response(error_response(error, request.method, request.target, request_id), fault.seconds)
    return None


def after(faults: list[Fault], response: Response) -> Response:
    """Change the finished response's head."""
    for fault in faults:
        edit = _EDITS.get(fault.kind)
        if edit is not None:
            response = edit(response, fault)
    return response


def wire(faults: list[Fault]) -> Wire:
    """What the faults do to the bytes."""
    plan = CLEAN
    for fault in faults:
        match fault.kind:
            case "cut":
                plan = plan._replace(cut_head=0)
            case "cut-head":
                plan = plan._replace(cut_head=fault.after)
            case "cut-body":
                plan = plan._replace(cut_body=fault.after)
            case "reset":
                plan = plan._replace(cut_body=fault.after, reset=True)
            case "stall":
                plan = plan._replace(stall_at=fault.after, stall_seconds=fault.seconds)
            case "garbage-head":
                plan = plan._replace(garbage=True)
            case "extra-bytes":
                plan = plan._replace(extra=(fault.value or "extra bytes").encode("latin-1"))
            case "latency":
                plan = plan._replace(latency=fault.seconds)
    return plan


def _status(fault: Fault, request: Request, request_id: bytes) -> Response:
    code, message = _CODES.get(fault.status, ("InternalError", "We encountered an internal error."))
    headers = tuple((k.encode(), v.encode("latin-1")) for k, v in (fault.headers or {}).items() if v is not None)
    return error_response(
        S3Error(fault.status, fault.code or code, message, headers=headers), request.method, request.target, request_id
    )


def _edit_length(response: Response, fault: Fault) -> Response:
    held = response.get(b"content-length")
    length = response.length if held is None else int(held)
    response.replace(b"content-length", b"%d" % max(0, length + fault.delta))
    return response


def _edit_range(response: Response, fault: Fault) -> Response:
    held = response.get(b"content-range")
    if held is not None:
        lie = fault.value.encode("latin-1")
        response.replace(b"content-range", held.rpartition(b"/")[0] + b"/*" if lie == b"total-star" else lie)
    return response


def _edit_etag(response: Response, fault: Fault) -> Response:
    held = response.get(b"etag")
    if held is not None:
        lies = {"missing": None, "weak": b"W/" + held}
        response.replace(b"etag", lies[fault.value] if fault.value in lies else fault.value.encode("latin-1"))
    return response


def _edit_framing(response: Response, fault: Fault) -> Response:
    response.framing = fault.value or "close"
    response.replace(b"content-length", None)
    return response


def _edit_not_modified(response: Response, _fault: Fault) -> Response:
    if response.status == 304:
        extra = [(b"content-type", b"application/xml"), (b"content-length", b"0"), (b"set-cookie", b"session=wrong")]
        for name, value in extra:
            response.replace(name, value)
    return response


def _edit_headers(response: Response, fault: Fault) -> Response:
    for name, value in (fault.headers or {}).items():
        response.replace(name.lower().encode(), None if value is None else value.encode("latin-1"))
    return response


def _edit_late(response: Response, fault: Fault) -> Response:
    return late_response(response, fault.seconds) if response.status == 200 else response


_EDITS = {
    "content-length": _edit_length,
    "content-range": _edit_range,
    "etag": _edit_etag,
    "framing": _edit_framing,
    "not-modified-headers": _edit_not_modified,
    "headers": _edit_headers,
    "late": _edit_late,
}
