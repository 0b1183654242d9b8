"""Pages that say which test shows what: every test they name must exist."""

from __future__ import annotations

import re

from tests.harness.tools import REPOSITORY

_LINK = re.compile(r"\]\(\.\./(tests/[^)]+\.py)\)")
_TEST = re.compile(r"`(test_\w+)`")


def page(name: str) -> str:
    """The text of a page of the documentation."""
    return (REPOSITORY / "docs" / name).read_text()


def names_a_test(row: str) -> bool:
    """Whether a row links to a file of tests at all."""
    return _LINK.search(row) is not None


def missing(row: str) -> list[str]:
    """Files that are not there, and tests that no file of the row defines."""
    files = [REPOSITORY / path for path in _LINK.findall(row)]
    absent = [path.name for path in files if not path.is_file()]
    text = "".join(path.read_text() for path in files if path.is_file())
    return absent + [name for name in _TEST.findall(row) if not re.search(rf"^(async )?def {name}\b", text, re.M)]
