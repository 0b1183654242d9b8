"""Imports point one way, and the other rules of the layout hold; each rule is also shown to catch what it forbids."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.harness.imports import cycles, edges, read_package
from tests.harness.tools import REPOSITORY

PACKAGE = REPOSITORY / "src" / "fastcache"

_BASE = {"model", "errors", "clock", "signal"}
_ALL_BELOW_PROTOCOL = _BASE | {"_core"}
_PURE = _ALL_BELOW_PROTOCOL | {"protocol", "policy", "observe"}

ALLOWED: Mapping[str, set[str]] = {
    "model": set(),
    "errors": set(),
    "clock": set(),
    "signal": set(),
    "_core": _BASE,
    "observe": _ALL_BELOW_PROTOCOL,
    "protocol": _ALL_BELOW_PROTOCOL | {"observe"},
    "policy": _ALL_BELOW_PROTOCOL | {"observe", "protocol"},
    "storage": _PURE,
    "upstream": _PURE,
    "engine": _PURE | {"storage", "upstream"},
    "server": _PURE | {"storage", "upstream", "engine"},
    "lifecycle": _PURE | {"storage", "upstream", "engine", "server"},
    # The S3 server of the demo, the benchmarks and the tests; it shares the protocol with fastcache and nothing else.
    "origin": _ALL_BELOW_PROTOCOL | {"protocol", "observe"},
    # The client of the benchmarks, `fastcache bench` among them: to a server it is any client.
    "load": _ALL_BELOW_PROTOCOL | {"protocol"},
    "cli": _PURE | {"storage", "upstream", "engine", "server", "lifecycle", "origin", "load"},
    "__main__": {"cli"},
}
"""Layer → the layers it may import. The package itself (``fastcache``, which imports nothing) is open to all."""

FORBIDDEN_IN_PURE_LAYERS = {"asyncio", "os", "socket", "time", "uvloop", "threading", "select"}
"""``protocol`` and ``policy`` decide on values they are given: no I/O, and time is an argument."""

FORBIDDEN_WORDS = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}

MODULE_LINES = 400
LONG_MODULES: Mapping[str, str] = {
    "fastcache._core.chunked": "one state machine, its table of states and its two faces (C and Python)",
}
"""Module → why it is one thing all the same, although it is longer than ``MODULE_LINES``."""


def layer(module: str) -> str:
    """``fastcache.storage.layout`` → ``storage``; the package itself → ``""``."""
    return (module.split(".") + [""])[1]


def wrong_edges(root: Path) -> Iterator[str]:
    for source, target in sorted(edges(read_package(root))):
        here, there = layer(source), layer(target)
        if here == there or (there == "" and here != ""):
            continue
        if here not in ALLOWED:
            yield f"{source}: layer {here!r} is not in the table"
        elif there not in ALLOWED[here]:
            yield f"{source} imports {target}"


def impure_imports(root: Path) -> Iterator[str]:
    for module in read_package(root).values():
        if layer(module.name) in ("protocol", "policy"):
            for name in sorted(module.imported):
                if name.split(".")[0] in FORBIDDEN_IN_PURE_LAYERS:
                    yield f"{module.name} imports {name}"


def unknown_layers(root: Path) -> Iterator[str]:
    yield from sorted({layer(name) for name in read_package(root)} - ALLOWED.keys() - {""})


def import_cycles(root: Path) -> Iterator[str]:
    # What is imported for annotations only makes no circle when the program runs, but it is an edge to a layer.
    yield from (" <-> ".join(circle) for circle in cycles(edges(read_package(root), types=False)))


def vague_names(root: Path) -> Iterator[str]:
    for name in read_package(root):
        if set(name.rpartition(".")[2].lower().split("_")) & FORBIDDEN_WORDS:
            yield name


def missing_stubs(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.pyx")):
        if not (path.with_suffix(".pyi").exists() and path.with_suffix(".pxd").exists()):
            yield str(path.relative_to(root))


def packages_without_docstring(root: Path) -> Iterator[str]:
    for directory in sorted({path.parent for path in root.rglob("*.py*") if path.suffix in (".py", ".pyx")}):
        init = directory / "__init__.py"
        if not init.exists() or not ast.get_docstring(ast.parse(init.read_text())):
            yield str(directory.relative_to(root.parent))


def line_counts(root: Path) -> dict[str, int]:
    """The longest source file of each module, in lines."""
    return {
        name: max(len(path.read_text().splitlines()) for path in module.files)
        for name, module in read_package(root).items()
    }


def long_modules(root: Path) -> Iterator[str]:
    for name, lines in line_counts(root).items():
        if lines > MODULE_LINES and name not in LONG_MODULES:
            yield f"{name}: {lines} lines"


RULES = [
    wrong_edges,
    impure_imports,
    unknown_layers,
    import_cycles,
    vague_names,
    missing_stubs,
    packages_without_docstring,
    long_modules,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule) -> None:
    assert list(rule(PACKAGE)) == []


def test_the_allowance_for_long_modules_is_not_stale() -> None:
    counts = line_counts(PACKAGE)
    assert [name for name in LONG_MODULES if counts.get(name, 0) <= MODULE_LINES] == []
    assert all(len(reason) > 20 for reason in LONG_MODULES.values())


def test_the_table_of_layers_has_no_circle() -> None:
    assert cycles({(here, there) for here, targets in ALLOWED.items() for there in targets}) == []


GOOD = {
    "__init__.py": '"""A package."""\n',
    "model.py": "import os\n",
    "_core/__init__.py": '"""Core."""\n',
    "_core/head.pyx": "from libc.string cimport memcpy\nfrom fastcache.model import Interval\n",
    "_core/head.pyi": "def parse(data: bytes) -> int: ...\n",
    "_core/head.pxd": "cdef int parse_head(const char*) noexcept nogil\n",
    "protocol/__init__.py": '"""Protocol."""\n',
    "protocol/requests.py": "from fastcache._core import head\nfrom fastcache.model import Interval\n",
    "storage/__init__.py": '"""Storage."""\n',
    "storage/reader.py": "import os\nfrom fastcache.protocol.requests import Request\nfrom . import layout\n",
    "storage/layout.py": "from fastcache import __version__\n",
    "upstream/__init__.py": '"""Upstream."""\n',
    "upstream/pool.py": "import asyncio\n",
    "engine/__init__.py": '"""Engine."""\n',
    "engine/fill.py": "from fastcache.storage import reader\nfrom fastcache.upstream.pool import Pool\n",
}


def tree(root: Path, changes: Mapping[str, str]) -> Path:
    """A package that keeps every rule, except where ``changes`` (file → text) break one."""
    package = root / "fastcache"
    for name, text in {**GOOD, **changes}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_good_tree_keeps_the_rule(rule, tmp_path: Path) -> None:
    assert list(rule(tree(tmp_path, {}))) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("model.py", "import fastcache.errors", "fastcache.model imports fastcache.errors"),
        ("storage/reader.py", "from fastcache.upstream.pool import Pool", "fastcache.storage.reader imports"),
        ("storage/reader.py", "from ..upstream import pool", "imports fastcache.upstream.pool"),
        ("storage/reader.py", "from .. import upstream", "imports fastcache.upstream"),
        ("storage/reader.py", "def f():\n    import fastcache.upstream.pool as p", "imports fastcache.upstream.pool"),
        ("storage/reader.py", "import importlib\nimportlib.import_module('fastcache.engine.fill')", "engine.fill"),
        ("storage/reader.py", "if TYPE_CHECKING:\n    from fastcache.engine import fill", "engine.fill"),
        ("upstream/pool.py", "import fastcache.storage.reader", "imports fastcache.storage.reader"),
        ("protocol/requests.py", "from fastcache.storage import (\n    layout,\n)", "imports fastcache.storage.layout"),
        ("_core/head.pyx", "from fastcache.protocol.requests import x", "fastcache._core.head imports"),
        ("_core/head.pyx", "from fastcache.protocol cimport (  # b, c\n    requests,\n)", "protocol.requests"),
        ("_core/head.pyx", "cimport cython, fastcache.protocol as p", "imports fastcache.protocol"),
        ("_core/head.pxd", "from ..protocol cimport requests", "imports fastcache.protocol.requests"),
        ("_core/head.pyi", "from fastcache.protocol.requests import Request", "imports fastcache.protocol.requests"),
        ("__init__.py", "from fastcache import model", "layer '' is not in the table"),
        ("peers.py", "from fastcache import model", "layer 'peers' is not in the table"),
    ],
)
def test_a_wrong_edge_is_caught(tmp_path: Path, file: str, text: str, message: str) -> None:
    extra = {"errors.py": "", file: text}
    found = list(wrong_edges(tree(tmp_path, extra)))
    assert len(found) == 1
    assert message in found[0]


def test_text_that_looks_like_an_import_is_none(tmp_path: Path) -> None:
    text = '"""\nfrom fastcache.engine import fill\n"""\n# import fastcache.engine\n'
    assert list(wrong_edges(tree(tmp_path, {"_core/head.pyx": text, "model.py": text}))) == []


@pytest.mark.parametrize("name", sorted(FORBIDDEN_IN_PURE_LAYERS))
@pytest.mark.parametrize("form", ["import {}", "from {} import x", "import {}.sub as y", "def f():\n    import {}"])
def test_input_and_output_in_a_pure_layer_is_caught(tmp_path: Path, name: str, form: str) -> None:
    package = tree(tmp_path, {"protocol/requests.py": form.format(name)})
    assert [line.split(" imports ")[0] for line in impure_imports(package)] == ["fastcache.protocol.requests"]


def test_modules_that_import_each_other_are_caught(tmp_path: Path) -> None:
    package = tree(
        tmp_path,
        {
            "storage/a.py": "from fastcache.storage.b import x",
            "storage/b.py": "def f():\n    from .c import y",
            "storage/c.py": "from . import a",
        },
    )
    assert list(import_cycles(package)) == ["fastcache.storage.a <-> fastcache.storage.b <-> fastcache.storage.c"]


def test_modules_whose_types_name_each_other_are_no_circle(tmp_path: Path) -> None:
    package = tree(
        tmp_path,
        {
            "storage/a.py": "from fastcache.storage.b import x",
            "storage/b.py": "if TYPE_CHECKING:\n    from .a import y\nelse:\n    import os",
        },
    )
    assert list(import_cycles(package)) == []
    (package / "storage/b.py").write_text("if TYPE_CHECKING:\n    import os\nelse:\n    from .a import y")
    assert list(import_cycles(package)) == ["fastcache.storage.a <-> fastcache.storage.b"]


@pytest.mark.parametrize("name", ["utils.py", "storage/helpers.py", "pool_manager.py", "common/__init__.py"])
def test_a_vague_name_is_caught(tmp_path: Path, name: str) -> None:
    assert len(list(vague_names(tree(tmp_path, {name: '"""Text."""'})))) == 1


def test_a_new_layer_needs_a_place_in_the_table(tmp_path: Path) -> None:
    assert list(unknown_layers(tree(tmp_path, {"peers/__init__.py": '"""Peers."""'}))) == ["peers"]


def test_a_cython_module_without_stub_is_caught(tmp_path: Path) -> None:
    assert list(missing_stubs(tree(tmp_path, {"_core/sender.pyx": ""}))) == ["_core/sender.pyx"]


@pytest.mark.parametrize("text", ["", "x = 1\n", "# a comment\n"])
def test_a_package_without_docstring_is_caught(tmp_path: Path, text: str) -> None:
    assert list(packages_without_docstring(tree(tmp_path, {"storage/__init__.py": text}))) == ["fastcache/storage"]


def test_a_package_without_init_is_caught(tmp_path: Path) -> None:
    assert list(packages_without_docstring(tree(tmp_path, {"peers/a.py": ""}))) == ["fastcache/peers"]


@pytest.mark.parametrize("suffix", [".py", ".pyx"])
def test_a_long_module_is_caught(tmp_path: Path, suffix: str) -> None:
    package = tree(tmp_path, {f"storage/long{suffix}": "x = 1\n" * (MODULE_LINES + 1)})
    assert list(long_modules(package)) == [f"fastcache.storage.long: {MODULE_LINES + 1} lines"]
    package = tree(tmp_path, {f"storage/long{suffix}": "x = 1\n" * MODULE_LINES})
    assert list(long_modules(package)) == []


def test_every_layer_of_the_table_is_reachable_from_the_command_line() -> None:
    """A row that nothing can import is a mistake in the table."""
    seen, waiting = set(), ["__main__"]
    while waiting:
        here = waiting.pop()
        if here not in seen:
            seen.add(here)
            waiting.extend(ALLOWED[here])
    assert seen == set(ALLOWED)
    assert not any(re.search(r"\W", name) for name in ALLOWED)
