"""A missing tool is a visible skip, and a failure where it is required."""

from __future__ import annotations

import pytest
from tests.harness import tools


@pytest.fixture
def _no_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "absence", {"nginx": "it is not there", "curl": None}.__getitem__)


@pytest.mark.usefixtures("_no_nginx")
def test_a_missing_tool_is_a_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.VARIABLE, "curl")
    tools.require_tool("curl")
    with pytest.raises(pytest.skip.Exception, match="needs nginx: it is not there"):
        tools.require_tool("curl", "nginx")


@pytest.mark.usefixtures("_no_nginx")
def test_a_missing_tool_that_is_required_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.VARIABLE, "curl, nginx")
    with pytest.raises(pytest.fail.Exception, match="names nginx, but: it is not there"):
        tools.require_tool("nginx")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="unknown: ngimx"):
        tools.required({tools.VARIABLE: "curl,ngimx"})
    assert tools.required({}) == frozenset()
    assert tools.required({tools.VARIABLE: " curl ,,root,"}) == {"curl", "root"}


@pytest.mark.parametrize("name", sorted(tools.TOOLS))
def test_every_tool_can_be_asked_about(name: str) -> None:
    reason = tools.absence(name)
    assert reason is None or len(reason) > 10


def test_the_directory_for_swift_takes_extended_attributes() -> None:
    tools.require_tool("swift")
    directory = tools.xattr_directory()
    assert directory is not None
    assert tools.takes_user_xattrs(directory)
