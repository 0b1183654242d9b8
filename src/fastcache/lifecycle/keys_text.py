"""Edits of a keys file's text that leave everything else in it as it is: comments, order, quotes.

Each edit is made at the marks of YAML's nodes and then read again: a text that does not say exactly what was meant is
not written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from fastcache.errors import KeysFileError
from fastcache.lifecycle.keys_file import KeyEntry, parse_keys
from fastcache.lifecycle.yaml_nodes import nearest_name
from fastcache.policy.access import Action, AllowRule

NEW_FILE = b"# Access keys of fastcache: who may sign requests to it, and what for. Nobody else may read this.\n[]\n"
"""What a file begins as, before the first key is added."""


class KeysText:
    """The text of a keys file. Every method returns a new text, or raises KeysFileError."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self.entries = parse_keys(path, text.encode()).entries
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        assert isinstance(root, yaml.SequenceNode)  # or it would not have been read as keys
        self._root = root

    @classmethod
    def of(cls, path: Path, content: bytes) -> KeysText:
        try:
            return cls(path, content.decode())
        except UnicodeDecodeError:
            raise KeysFileError(f"{path}: is not UTF-8 text; it cannot be edited here") from None

    def added(self, item: str) -> str:
        """With the key that ``item`` is (see :func:`rendered`) at the end."""
        (entry,) = parse_keys(self._path, item.encode()).entries
        for known in self.entries:
            if known.access_key == entry.access_key:
                raise KeysFileError(
                    f"{self._path}:{known.line}: access_key {known.access_key} is already defined; choose another name"
                )
        start, end = self._root.start_mark, self._root.end_mark
        if not self._root.value:
            before = self._newline if start.column else ""
            text = self._text[: start.index] + before + self._lines(item, 0).rstrip() + self._text[end.index :]
        else:
            text = self._ended(self._text) + self._lines(item, start.column)
        return self._checked(text, [*self.entries, entry])

    def switched(self, access_key: str, enabled: bool) -> str:
        """With the key enabled or not."""
        index = self._index_of(access_key)
        entry = self.entries[index]
        if entry.enabled == enabled:
            return self._text
        word = "on" if enabled else "off"
        mapping = self._root.value[index]
        fields = {key.value: (key, value) for key, value in mapping.value}
        if "enabled" in fields:
            value = fields["enabled"][1]
            text = self._text[: value.start_mark.index] + word + self._text[value.end_mark.index :]
        else:
            name, value = fields["access_key"]
            text = self._inserted(mapping, name.start_mark.column, value.end_mark.index, f"enabled: {word}")
        entries = [*self.entries]
        entries[index] = dataclasses.replace(entry, enabled=enabled)
        return self._checked(text, entries)

    def removed(self, access_key: str) -> str:
        """Without the key and the comments in it; those around it stay."""
        index = self._index_of(access_key)
        node = self._root.value[index]
        lines = self._text.splitlines(keepends=True)
        first = self._dash_line(lines, node)
        last = self._last_line(lines, node)
        kept = [] if len(self.entries) > 1 else [f"[]{self._newline}"]
        text = "".join([*lines[:first], *kept, *lines[last + 1 :]])
        return self._checked(text, [*self.entries[:index], *self.entries[index + 1 :]])

    def _index_of(self, access_key: str) -> int:
        names = [entry.access_key for entry in self.entries]
        if access_key in names:
            return names.index(access_key)
        nearest = nearest_name(access_key, names)
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise KeysFileError(f"{self._path}: has no such access_key{hint}")

    def _inserted(self, mapping: yaml.MappingNode, column: int, at: int, field: str) -> str:
        """The text with ``field`` behind the one that ends at ``at``."""
        if mapping.flow_style:
            return f"{self._text[:at]}, {field}{self._text[at:]}"
        end = self._text.find("\n", at)
        head, tail = (self._text, "") if end < 0 else (self._text[: end + 1], self._text[end + 1 :])
        return f"{self._ended(head)}{' ' * column}{field}{self._newline}{tail}"

    def _dash_line(self, lines: Sequence[str], node: yaml.Node) -> int:
        """The line of the dash that begins the item, which may stand alone above it."""
        line = node.start_mark.line
        if lines[line][: node.start_mark.column].strip():
            return int(line)
        while line > 0 and not lines[line - 1].strip().startswith("-"):
            line -= 1
        return max(0, int(line) - 1)

    def _last_line(self, lines: Sequence[str], node: yaml.Node) -> int:
        """The last line of the item, comments included that are indented as what is in it."""
        last = _last_line_of_value(node)
        while not lines[last].strip():  # which a block scalar ends with
            last -= 1
        margin = self._root.start_mark.column
        while last + 1 < len(lines) and lines[last + 1][margin + 1 :].lstrip().startswith("#"):
            if lines[last + 1][: margin + 1].strip():
                break
            last += 1
        return last

    def _lines(self, item: str, column: int) -> str:
        return "".join(f"{' ' * column}{line}{self._newline}" for line in item.splitlines())

    def _ended(self, text: str) -> str:
        return text if text.endswith("\n") else text + self._newline

    def _checked(self, text: str, expected: Sequence[KeyEntry]) -> str:
        try:
            found = parse_keys(self._path, text.encode()).entries
        except KeysFileError:
            found = ()
        if [_without_line(entry) for entry in found] != [_without_line(entry) for entry in expected]:
            raise KeysFileError(f"{self._path}: is not laid out one key a `- access_key:` line; edit it by hand")
        return text


def _without_line(entry: KeyEntry) -> KeyEntry:
    return dataclasses.replace(entry, line=0)


def _last_line_of_value(node: yaml.Node) -> int:
    """The line that ``node`` ends on. A block's own end mark lies behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line_of_value(last[1] if isinstance(last, tuple) else last)
    end = node.end_mark
    return int(end.line) - (1 if end.column == 0 else 0)


def rendered(access_key: str, secret_key: str, rules: Sequence[AllowRule]) -> str:
    """A key as an item of the list, at the margin."""
    lines = [f"- access_key: {_quoted(access_key)}", f"  secret_key: {_quoted(secret_key)}"]
    lines += ["  allow:"] if rules else ["  allow: []"]
    for rule in rules:
        resources = ", ".join(_quoted(resource.text) for resource in rule.resources)
        lines += [f"    - actions: [{actions_of(rule)}]", f"      resources: [{resources}]"]
    return "\n".join(lines) + "\n"


def actions_of(rule: AllowRule) -> str:
    """In the order of the documentation."""
    return ", ".join(action for action in Action if action in rule.actions)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
