"""The file of access keys: who may sign requests to this cache, with which secret, and what for.

A YAML list that its owner alone can read::

    - access_key: REPORTS
      secret_key: "..."          # or secret_key_file: PATH, or secret_key_env: NAME
      session_token: "..."       # optional: x-amz-security-token must say it
      enabled: on                # optional
      role_arn: "arn:..."        # optional: the origin is asked in the name of this role
      web_identity_token_file: PATH
      allow:                     # optional: without it the key may do nothing
        - actions: [read, list]
          resources: ["sales/2026/*"]

It is read in two steps: what it says (``KeysFile``), then the secrets that stand elsewhere (``key_set``). No error
repeats what may be a secret: values of these fields, and names that do not look like ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fastcache.errors import ConfigError, KeysFileError
from fastcache.lifecycle.kinds import SWITCH
from fastcache.lifecycle.yaml_nodes import compose, line_of, nearest_name, scalar_text
from fastcache.policy.access import AccessKey, Action, AllowRule, KeySet, Resource, Role
from fastcache.upstream.credentials.private_file import read_private

SECRET_SOURCES = ("secret_key", "secret_key_file", "secret_key_env")
ROLE_FIELDS = ("role_arn", "web_identity_token_file")
KEY_FIELDS = ("access_key", *SECRET_SOURCES, "session_token", "enabled", *ROLE_FIELDS, "allow")
RULE_FIELDS = ("actions", "resources")
MOST_KEYS = 10_000
MOST_RULES = 64
"""Rules of a key."""
MOST_RESOURCES = 256
"""Resources of a rule."""

_ACCESS_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@+-]{2,127}")
_ACCESS_KEY_FORM = "3 to 128 letters, digits and . _ : @ + -"
_SECRET = re.compile(r"[!-~]{7,256}")
_TOKEN = re.compile(r"[!-~]{1,4096}")
_ROLE = re.compile(r"arn:[!-~]{16,2044}")
_PATH = re.compile(r"[^\0\n]{1,4096}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = re.compile(r"[a-z][a-z_-]{0,30}")
"""A name that may be shown: what looks otherwise may be a secret that slipped out of its place."""
_LONGEST_SECRET_FILE = 4096


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key as written, with the line it begins on."""

    line: int
    access_key: str
    secret_source: str
    """One of SECRET_SOURCES."""
    secret: str = field(repr=False)
    """The secret itself, or the file or variable that holds it."""
    session_token: str | None = field(default=None, repr=False)
    enabled: bool = True
    rules: tuple[AllowRule, ...] = ()
    role_arn: str = ""
    token_file: str = ""
    """Of the identity that may take the role; empty without one."""


@dataclass(frozen=True, slots=True)
class KeysFile:
    """What a file says. ``entries`` have no access key twice."""

    path: Path
    entries: tuple[KeyEntry, ...]

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """Files that hold secrets; relative names are those beside the file."""
        named = (entry.secret for entry in self.entries if entry.secret_source == "secret_key_file")
        return tuple(self.path.parent / name for name in named)

    def key_set(self, environ: Mapping[str, str], serial: int) -> KeySet:
        """The keys with their secrets; KeysFileError when one cannot be had."""
        keys, problems = [], []
        for entry in self.entries:
            try:
                keys.append(self._access_key(entry, environ))
            except ValueError as error:
                problems.append(f"{self.path}:{entry.line}: {error}")
        if problems:
            raise KeysFileError("\n".join(problems))
        return KeySet(keys, serial)

    def _access_key(self, entry: KeyEntry, environ: Mapping[str, str]) -> AccessKey:
        token = entry.session_token
        return AccessKey(
            entry.access_key.encode("ascii"),
            self._secret(entry, environ).encode("ascii"),
            None if token is None else token.encode("ascii"),
            entry.enabled,
            entry.rules,
            Role(entry.role_arn, self.path.parent / entry.token_file) if entry.role_arn else None,
        )

    def _secret(self, entry: KeyEntry, environ: Mapping[str, str]) -> str:
        if entry.secret_source == "secret_key":
            return entry.secret
        if entry.secret_source == "secret_key_env":
            secret, place = environ.get(entry.secret, ""), f"variable {entry.secret}"
            if not secret:
                raise ValueError(f"{place} is not set, which secret_key_env names")
        else:
            path = self.path.parent / entry.secret
            secret, place = _secret_in(path), str(path)
        if not _SECRET.fullmatch(secret):
            raise ValueError(f"{place} holds no secret; {_SECRET_FORM}")
        return secret


_SECRET_FORM = "it must be 7 to 256 visible ASCII characters and nothing else"


def _secret_in(path: Path) -> str:
    try:
        content, _ = read_private(path)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return content[:_LONGEST_SECRET_FILE].decode("latin-1").rstrip("\r\n")


def read_keys_file(path: Path, *, no_roles: str = "") -> KeysFile:
    """What the file says, secrets elsewhere not looked for. KeysFileError with a line for each problem; ``no_roles`` is
    why keys cannot stand for roles, empty where they can."""
    try:
        content, _ = read_private(path)
    except ConfigError as error:
        raise KeysFileError(str(error)) from None
    return parse_keys(path, content, no_roles=no_roles)


def parse_keys(path: Path, content: bytes, *, no_roles: str = "") -> KeysFile:
    """``content`` as what ``path`` says."""
    try:
        root = compose(path, content, holds_secrets=True)
    except ConfigError as error:
        raise KeysFileError(str(error)) from None
    if root is None or root.tag == "tag:yaml.org,2002:null":
        # Explicitly, because a file that is being written, or was not written completely, looks like that.
        raise KeysFileError(f"{path}: is empty; write [] if there are to be no keys")
    reading = _Reading(path, no_roles)
    entries = tuple(reading.entries(root))
    if reading.problems:
        raise KeysFileError("\n".join(reading.problems))
    return KeysFile(path, entries)


class _Reading:
    """One pass over the nodes; what is wrong is noted and the rest is read all the same."""

    def __init__(self, path: Path, no_roles: str) -> None:
        self.path = path
        self.no_roles = no_roles
        self.problems: list[str] = []

    def problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append(f"{line_of(self.path, node)}: {text}")

    def entries(self, root: yaml.Node) -> Iterator[KeyEntry]:
        if not isinstance(root, yaml.SequenceNode):
            self.problem(root, "not a list; write each key as - access_key: NAME, its other fields below it")
            return
        if len(root.value) > MOST_KEYS:
            self.problem(root, f"more than {MOST_KEYS} keys")
            return
        seen: dict[str, int] = {}
        for node in root.value:
            entry = self._entry(node)
            if entry is None:
                continue
            if entry.access_key in seen:
                self.problem(node, f"access_key {entry.access_key} is already defined at line {seen[entry.access_key]}")
            seen[entry.access_key] = entry.line
            yield entry

    def _entry(self, node: yaml.Node) -> KeyEntry | None:
        before = len(self.problems)
        fields = self._fields(node, KEY_FIELDS, "a key")
        if fields is None:
            return None
        access_key = self._text(fields, "access_key", _ACCESS_KEY, _ACCESS_KEY_FORM)
        if "access_key" not in fields:
            self.problem(node, "access_key is missing")
        sources = [name for name in SECRET_SOURCES if name in fields]
        if len(sources) != 1:
            self.problem(node, f"exactly one of {', '.join(SECRET_SOURCES)} is needed, not {len(sources)}")
        secret = self._secret(fields, sources[0]) if len(sources) == 1 else None
        token = self._text(fields, "session_token", _TOKEN, "visible ASCII characters, at most 4096")
        enabled = self._switch(fields, "enabled")
        role = self._role(fields)
        rules = tuple(self._rules(fields["allow"])) if "allow" in fields else ()
        if len(self.problems) > before or access_key is None or secret is None:
            return None
        return KeyEntry(node.start_mark.line + 1, access_key, sources[0], secret, token, enabled, rules, *role)

    def _secret(self, fields: Mapping[str, yaml.Node], source: str) -> str | None:
        if source == "secret_key":
            return self._text(fields, source, _SECRET, _SECRET_FORM.removeprefix("it must be "))
        if source == "secret_key_file":
            return self._text(fields, source, _PATH, "the path of a file")
        variable = self._text(fields, source, _VARIABLE, "the name of an environment variable")
        if variable is not None and variable.startswith("FASTCACHE_"):
            self.problem(
                fields[source], "secret_key_env names a variable of our settings; choose one without FASTCACHE_"
            )
        return variable

    def _role(self, fields: Mapping[str, yaml.Node]) -> tuple[str, str]:
        """The role and the file of its token, both empty without one."""
        given = [fields[name] for name in ROLE_FIELDS if name in fields]
        if len(given) == 1:
            self.problem(given[0], f"{' and '.join(ROLE_FIELDS)} need each other")
        elif given and self.no_roles:
            self.problem(given[0], f"role_arn: {self.no_roles}")
        arn = self._text(fields, "role_arn", _ROLE, "the ARN of a role, such as arn:aws:iam::123456789012:role/reports")
        token_file = self._text(fields, "web_identity_token_file", _PATH, "the path of a file")
        return arn or "", token_file or ""

    def _rules(self, node: yaml.Node) -> Iterator[AllowRule]:
        if not isinstance(node, yaml.SequenceNode) or len(node.value) > MOST_RULES:
            self.problem(node, f"allow is a list of at most {MOST_RULES} rules, each with actions and resources")
            return
        for item in node.value:
            fields = self._fields(item, RULE_FIELDS, "a rule")
            if fields is None:
                continue
            missing = [name for name in RULE_FIELDS if name not in fields]
            if missing:
                self.problem(item, f"{' and '.join(missing)} missing in a rule")
                continue
            actions = frozenset(self._actions(fields["actions"]))
            resources = tuple(self._resources(fields["resources"]))
            yield AllowRule(actions, resources)

    def _actions(self, node: yaml.Node) -> Iterator[Action]:
        for item, text in self._items(node, "actions", len(Action)):
            try:
                yield parse_action(text)
            except ValueError as error:
                self.problem(item, str(error))

    def _resources(self, node: yaml.Node) -> Iterator[Resource]:
        for item, text in self._items(node, "resources", MOST_RESOURCES):
            try:
                yield Resource.parse(text)
            except ValueError as error:
                self.problem(item, str(error))

    def _items(self, node: yaml.Node, name: str, most: int) -> Iterator[tuple[yaml.Node, str]]:
        if not isinstance(node, yaml.SequenceNode) or not 1 <= len(node.value) <= most:
            self.problem(node, f"{name} is a list of 1 to {most} items; write [one, another]")
            return
        for item in node.value:
            text = scalar_text(item)
            if text is None:
                self.problem(
                    item, f"an item of {name} is one word or path, in quotes if it begins with * or another sign"
                )
            else:
                yield item, text

    def _fields(self, node: yaml.Node, known: tuple[str, ...], what: str) -> dict[str, yaml.Node] | None:
        """The mapping's values by name, unknown names and repetitions told; None when it is no mapping."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{what} is a mapping; write its fields ({', '.join(known)}) one a line")
            return None
        fields: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            name = scalar_text(key_node)
            if name in fields:
                self.problem(key_node, f"{name} stands here twice; keep one of the two")
            elif name in known:
                fields[name] = value
            else:
                nearest = None if name is None else nearest_name(name.lower().replace("-", "_"), known)
                hint = f"; did you mean {nearest}?" if nearest else f"; {what} has {', '.join(known)}"
                self.problem(key_node, f"{_shown('field', name or '')} is not known{hint}")
        return fields

    def _text(self, fields: Mapping[str, yaml.Node], name: str, form: re.Pattern[str], described: str) -> str | None:
        if name not in fields:
            return None
        text = scalar_text(fields[name])
        if text is None or not form.fullmatch(text):
            self.problem(fields[name], f"{name} cannot be used; write {described}")
            return None
        return text

    def _switch(self, fields: Mapping[str, yaml.Node], name: str) -> bool:
        if name not in fields:
            return True
        try:
            return bool(SWITCH.parse(scalar_text(fields[name]) or ""))
        except ValueError:
            self.problem(fields[name], f"{name} is neither on nor off")
            return True


def parse_access_key(text: str) -> str:
    """``text``, if it can name a key; else ValueError."""
    if not _ACCESS_KEY.fullmatch(text):
        raise ValueError(f"{text!r} cannot name a key; write {_ACCESS_KEY_FORM}")
    return text


def parse_action(text: str) -> Action:
    """The action called ``text``; ValueError that names the nearest one."""
    try:
        return Action(text)
    except ValueError:
        nearest = nearest_name(text.lower(), Action)
        hint = f"; did you mean {nearest}?" if nearest else f"; write some of {', '.join(Action)}"
        raise ValueError(f"{_shown('action', text)} is not known{hint}") from None


def _shown(what: str, name: str) -> str:
    return f"{what} {name}" if _OURS.fullmatch(name) else f"this {what}"
