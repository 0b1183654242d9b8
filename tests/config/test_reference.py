from __future__ import annotations

from pathlib import Path

from fastcache.lifecycle import reference
from fastcache.lifecycle.schema import SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text() == reference.render(), (
        "out of date; run: python -m fastcache.lifecycle.reference > docs/configuration.md"
    )


def test_the_page_names_every_setting_in_all_its_forms() -> None:
    page = reference.render()
    for setting in SETTINGS:
        assert f"| `{setting.path[-1]}` |" in page
        assert f"`--{setting.flag_name}`" in page
        assert f"`{setting.variable}`" in page
        assert setting.meaning.endswith(".")
