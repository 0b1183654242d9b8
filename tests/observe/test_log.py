"""One record is one line, whatever is in it, and no secret is in any."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fastcache.observe.log import configure

CANARY = "c4n4ryS3cr3tValue"
log = logging.getLogger("fastcache.tests.log")


@pytest.fixture(params=["text", "json"])
def stream(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    target = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger("fastcache")
    level = ours.level
    handler = configure("debug", request.param, target)
    yield target
    root.removeHandler(handler)
    ours.setLevel(level)


def log_an_exception() -> None:
    try:
        raise ValueError(f"X-Amz-Signature={CANARY}\nsecond line")
    except ValueError:
        log.exception("failed with\nAuthorization: %s", f"Bearer {CANARY}")


def test_line_ends_in_a_message_or_traceback_do_not_make_lines(stream: io.StringIO) -> None:
    log.info("one\r\ntwo\x1b[31m\u2028three \xe9")
    log_an_exception()
    shown = stream.getvalue()
    assert len(shown.splitlines()) == 2
    assert shown.isascii()
    assert "\x1b" not in shown
    assert "ValueError" in shown


def test_no_secret_is_logged_by_any_way(stream: io.StringIO) -> None:
    log_an_exception()
    log.warning("headers %r", ((b"Authorization", CANARY.encode()),))
    log.warning("target %s", f"/b/k?x%2damz-signature={CANARY}")
    log.info("extra", extra={"target": f"/?Signature={CANARY}", "security_token": CANARY, "Authorization": CANARY})
    log.info("stack", stack_info=True)
    assert CANARY not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 5


def test_a_wrong_log_call_is_shown_and_fails_nobody(stream: io.StringIO) -> None:
    log.info("%d items of %s", "three")  # noqa: PLE1206 - the mistake under test
    log.info("%(missing)s", {"a": 1})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all("log call failed" in each for each in lines)


def test_json_lines_hold_level_name_message_and_extras() -> None:
    target = io.StringIO()
    handler = configure(logging.INFO, "json", target)
    try:
        log.debug("too quiet")
        log.warning('say "hi" %s', "there", extra={"request_id": "abc", "status": 503, "message_id": None})
    finally:
        logging.getLogger().removeHandler(handler)
    entry = json.loads(target.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "WARNING",
        "logger": "fastcache.tests.log",
        "message": 'say "hi" there',
        "request_id": "abc",
        "status": 503,
        "message_id": None,
    }


def test_configuring_again_replaces_instead_of_doubling() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "text", first)
    handler = configure("info", "text", second)
    try:
        log.info("once")
    finally:
        logging.getLogger().removeHandler(handler)
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


@pytest.mark.parametrize(("level", "format"), [("loud", "text"), ("info", "xml")])
def test_an_unknown_level_or_format_is_refused(level: str, format: str) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(ValueError, match=r"LOUD|xml"):
        configure(level, format, io.StringIO())
    assert logging.getLogger().handlers == before
