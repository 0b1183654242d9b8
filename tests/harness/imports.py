"""Reads the imports of a package's sources, Cython's included, without running any of them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = (".py", ".pyi", ".pyx", ".pxd")

# A cimport or import statement, its names in parentheses over several lines or up to the end of a line.
_CYTHON_FROM = re.compile(
    r"^[ \t]*from[ \t]+(\.*[\w.]*)[ \t]+c?import[ \t]+(?:\(([^)]*)\)|((?:[^\n\\]|\\\n)*))", re.MULTILINE
)
_CYTHON_IMPORT = re.compile(r"^[ \t]*c?import[ \t]+((?:[^\n\\]|\\\n)*)", re.MULTILINE)
_CYTHON_STRING = re.compile(r"(\"\"\"|''')(?:\\.|(?!\1).)*\1", re.DOTALL)


@dataclass
class Module:
    """A module of the package: every source file it is made of, and the absolute names it imports.

    ``for_types`` are those that only a type checker imports: in a stub, or under ``if TYPE_CHECKING``.
    """

    name: str
    package: bool
    files: list[Path] = field(default_factory=list)
    imported: set[str] = field(default_factory=set)
    for_types: set[str] = field(default_factory=set)


def read_package(root: Path) -> dict[str, Module]:
    """Every module under ``root`` (a package's directory), by dotted name."""
    modules: dict[str, Module] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix in SOURCES and "__pycache__" not in path.parts:
            parts = [root.name, *path.relative_to(root).with_suffix("").parts]
            package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if package else parts)
            module = modules.setdefault(name, Module(name, package))
            module.files.append(path)
            names, for_types = _imports_of(path.read_text(), path.suffix, name, package)
            module.imported |= names
            module.for_types |= for_types
    return modules


def edges(modules: Mapping[str, Module], *, types: bool = True) -> set[tuple[str, str]]:
    """(importing module, imported module) inside the package; an imported name that is no module means its module.

    Without ``types``, only what is imported when the program runs.
    """
    found = set()
    for module in modules.values():
        for name in module.imported | (module.for_types if types else set()):
            target = _module_of(name, modules)
            if target is not None and target != module.name:
                found.add((module.name, target))
    return found


def cycles(pairs: set[tuple[str, str]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle (strongly connected components), sorted."""
    following: dict[str, list[str]] = {}
    for source, target in sorted(pairs):
        following.setdefault(source, []).append(target)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(following.get(start, []))
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting.extend(following.get(module, []))
        return seen

    reached = {module: reachable(module) for module in following}
    circles = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in following
        if module in reached[module]
    }
    return sorted(map(list, circles))


def _module_of(name: str, modules: Mapping[str, Module]) -> str | None:
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


@functools.cache
def _imports_of(text: str, suffix: str, module: str, package: bool) -> tuple[frozenset[str], frozenset[str]]:
    """Of one source: every rule reads the same package."""
    if suffix in (".pyx", ".pxd"):
        return frozenset(_cython_imports(text, module, package)), frozenset()
    tree = ast.parse(text, module)
    names = frozenset(_python_imports(tree, module, package))
    if suffix == ".pyi":
        return frozenset(), names
    return frozenset(_python_imports(_WithoutTypeChecking().visit(tree), module, package)), names


class _WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:  # ast calls it so
        self.generic_visit(node)
        return node.orelse if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING") else node


def _python_imports(tree: ast.AST, module: str, package: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), module, package)
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            # An import spelled as a call is an import all the same.
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _cython_imports(text: str, module: str, package: bool) -> Iterator[str]:
    text = _CYTHON_STRING.sub("", text)
    for match in _CYTHON_FROM.finditer(text):
        base = _absolute(match[1], module, package)
        names = match[2] if match[2] is not None else match[3]
        yield from (f"{base}.{name}" for name in _names(names))
    for match in _CYTHON_IMPORT.finditer(text):
        yield from _names(match[1])


def _names(listed: str) -> Iterator[str]:
    for part in re.sub(r"#[^\n]*", "", listed).replace("\\\n", " ").split(";")[0].split(","):
        name = part.split(" as ")[0].strip()
        if name:
            yield name


def _absolute(name: str, module: str, package: bool) -> str:
    relative = name.lstrip(".")
    level = len(name) - len(relative)
    if level == 0:
        return name
    parts = module.split(".")
    base = parts[: len(parts) - level + (1 if package else 0)]
    return ".".join([*base, relative] if relative else base)
