"""What a newcomer reads first is true of this repository."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.harness.tools import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def broken(page: Path) -> list[str]:
    """Relative links of ``page`` to files that are not there."""
    targets = [link.partition("#")[0] for link in _LINK.findall(page.read_text())]
    return [target for target in targets if target and "://" not in target and not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[here](page.md#top), [there](docs/none.md), [web](https://example.com/x), [part](#part)")
    assert broken(page) == ["docs/none.md"]


def test_the_readme_names_both_commands_and_the_makefile_has_them() -> None:
    readme, makefile = PAGES[0].read_text(), (REPOSITORY / "Makefile").read_text()
    for command in ("run", "test"):
        assert re.search(rf"^make {command}\b", readme, re.MULTILINE)
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_the_readme_installs_the_package_under_its_name() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    readme = PAGES[0].read_text()
    assert f"pip install {project['name']}\n" in readme
    assert f"pip install '{project['name']}[demo]'" in readme
    assert "demo" in project["optional-dependencies"]


def test_the_readme_links_to_every_page_of_the_docs() -> None:
    linked = set(_LINK.findall(PAGES[0].read_text()))
    assert {f"docs/{page.name}" for page in PAGES[1:]} - linked == set()
