"""The application log: standard library loggers named ``fastcache.*``, one record per line, no secret in any."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final, TextIO

from fastcache.observe.redaction import MASK, safe_header, safe_text

FORMATS: Final = ("text", "json")
ROOT: Final = "fastcache"

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FAILED_CALLS: Final = (TypeError, ValueError, KeyError, IndexError)
"""What a log call with the wrong arguments raises when its message is put together."""


class RedactingFilter(logging.Filter):
    """Puts the message together and masks its secrets, so that no formatter behind it can show one."""

    def filter(self, record: logging.LogRecord) -> bool:
        # A filter runs outside of logging's own protection: a wrong log call must not fail the request that made it.
        try:
            message = record.getMessage()
        except _FAILED_CALLS as error:
            message = f"log call failed ({type(error).__name__}): {record.msg!r}"
        record.msg = safe_text(message)
        record.args = None
        return True


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z WARNING fastcache.engine message``; control and non-ASCII characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_timestamp(record), record.levelname, record.name, record.getMessage()]
        parts += [f"{name}={_extra_text(name, value)}" for name, value in _extras(record)]
        trace = _traceback(self, record)
        if trace:
            parts.append("| " + trace)
        return _one_line(" ".join(parts))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time``, ``level``, ``logger``, ``message``, ``traceback`` and the record's extras."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {name: _extra_value(name, value) for name, value in _extras(record)}
        entry |= {
            "time": _timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = _traceback(self, record)
        if trace:
            entry["traceback"] = trace
        return json.dumps(entry, ensure_ascii=True)


def configure(level: int | str = logging.INFO, format: str = "text", stream: TextIO | None = None) -> logging.Handler:
    """Send ``fastcache.*`` records of ``level`` and above to ``stream`` (standard error), and return the handler.

    Calling it again replaces what it set up before. Warnings of the libraries go the same way. ValueError for an
    unknown level or format.
    """
    if format not in FORMATS:
        raise ValueError(f"log format {format!r}: one of {', '.join(FORMATS)} is needed")
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.addFilter(RedactingFilter())
    handler.set_name(ROOT)
    ours = logging.getLogger(ROOT)
    ours.setLevel(level.upper() if isinstance(level, str) else level)
    root = logging.getLogger()
    for old in [known for known in root.handlers if known.get_name() == ROOT]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    return handler


def _extras(record: logging.LogRecord) -> list[tuple[str, object]]:
    return [(name, value) for name, value in vars(record).items() if name not in _STANDARD]


def _is_secret(name: str) -> bool:
    return safe_header(name.encode("utf-8", "backslashreplace"), b"") == MASK


def _extra_value(name: str, value: object) -> object:
    if _is_secret(name):
        return MASK
    return value if value is None or isinstance(value, bool | int | float) else safe_text(str(value))


def _extra_text(name: str, value: object) -> str:
    return str(_extra_value(name, value))


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return safe_text("\n".join(parts))


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _one_line(text: str) -> str:
    # Backslashes first, so that an escaped line end cannot be told from a forged one.
    return "".join(
        character if " " <= character <= "~" else character.encode("unicode_escape").decode()
        for character in text.replace("\\", "\\\\")
    )
