"""``fastcache keys``."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from fastcache.cli.options import Parsed
from fastcache.errors import KeysFileError
from fastcache.lifecycle.keys_file import KeyEntry, parse_access_key, parse_action, read_keys_file
from fastcache.lifecycle.keys_text import NEW_FILE, KeysText, actions_of, rendered
from fastcache.lifecycle.private_edits import edit_private
from fastcache.policy.access import AllowRule, Resource

_NAME_LETTERS = string.ascii_uppercase + "234567"
_SECRET_LETTERS = string.ascii_letters + string.digits
_file = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
_access_key = click.argument("access_key", metavar="ACCESS_KEY")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """Create, list, disable and remove access keys in FILE, the file that the setting `keys` names.

    A running fastcache reads the file again within a second or two of a change.
    """


def parse_allow(text: str) -> AllowRule:
    """``ACTION[,ACTION...]=RESOURCE``; ValueError says what is wrong."""
    actions, equals, resource = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no rule; write ACTIONS=RESOURCE, such as read,list=bucket/prefix/*")
    return AllowRule(frozenset(map(parse_action, actions.split(","))), (Resource.parse(resource),))


@keys.command()
@_file
@click.option(
    "--access-key",
    metavar="NAME",
    type=Parsed("name", parse_access_key),
    help="The key's name.  [default: a random one]",
)
@click.option(
    "--allow",
    "rules",
    multiple=True,
    metavar="ACTIONS=RESOURCE",
    type=Parsed("rule", parse_allow),
    help="What the key may do, such as 'read,list=bucket/prefix/*'. May be repeated.",
)
def create(file: Path, access_key: str | None, rules: Sequence[AllowRule]) -> None:
    """Add a key with a random secret to FILE and print both; FILE is made if it is missing.

    Actions are read, write, list, delete and admin; resources bucket (the bucket itself), bucket/* (its keys) and
    bucket/prefix/*.
    """
    name = access_key or "FC" + _random(_NAME_LETTERS, 18)
    secret = _random(_SECRET_LETTERS, 40)
    item = rendered(name, secret, rules)

    edit_private(file, lambda content: KeysText.of(file, content or NEW_FILE).added(item).encode())
    click.echo(f"access_key: {name}\nsecret_key: {secret}")
    if not rules:
        click.echo("fastcache: note: this key may do nothing yet; add what it may do under allow", err=True)


def _random(letters: str, length: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))


@keys.command(name="list")
@_file
def list_keys(file: Path) -> None:
    """Show the keys in FILE and what each may do, without secrets."""
    entries = read_keys_file(file).entries
    width = max((len(entry.access_key) for entry in entries), default=0)
    for entry in entries:
        state = "enabled " if entry.enabled else "disabled"
        shown = (_secret_shown(entry), *_role_shown(entry), _rules_shown(entry))
        click.echo(f"{entry.access_key:{width}}  {state}  {'  '.join(shown)}")


def _secret_shown(entry: KeyEntry) -> str:
    return "secret_key ***" if entry.secret_source == "secret_key" else f"{entry.secret_source} {entry.secret}"


def _role_shown(entry: KeyEntry) -> tuple[str, ...]:
    return (f"role_arn {entry.role_arn}",) if entry.role_arn else ()


def _rules_shown(entry: KeyEntry) -> str:
    rules = (
        f"{actions_of(rule).replace(' ', '')}={resource.text}" for rule in entry.rules for resource in rule.resources
    )
    return "".join(letter if letter.isprintable() else "?" for letter in "  ".join(rules)) or "may do nothing"


def _edit(file: Path, change: Callable[[KeysText], str]) -> None:
    def edited(content: bytes | None) -> bytes:
        if content is None:
            raise KeysFileError(f"{file} does not exist; make it with `fastcache keys create`")
        return change(KeysText.of(file, content)).encode()

    edit_private(file, edited)


@keys.command()
@_file
@_access_key
def disable(file: Path, access_key: str) -> None:
    """Refuse requests that ACCESS_KEY signs, without forgetting it."""
    _edit(file, lambda text: text.switched(access_key, False))


@keys.command()
@_file
@_access_key
def enable(file: Path, access_key: str) -> None:
    """Take requests that ACCESS_KEY signs again."""
    _edit(file, lambda text: text.switched(access_key, True))


@keys.command()
@_file
@_access_key
def remove(file: Path, access_key: str) -> None:
    """Take ACCESS_KEY out of FILE; comments around it stay."""
    _edit(file, lambda text: text.removed(access_key))
