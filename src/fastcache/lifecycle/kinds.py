"""What a setting's text may be, and what it becomes.

Files, variables and flags all deliver text, so one parser per kind gives one reading and one error text wherever a
value comes from (``cache: on`` is not a YAML boolean here, nor ``1:30`` a number). Parsers raise ``ValueError``.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from fastcache.lifecycle import units
from fastcache.model import OriginId
from fastcache.protocol.aws_hosts import is_region
from fastcache.upstream.credentials import choosing

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_BUCKET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{1,254}")
_URL_TEXT = re.compile(r"[!-~]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Kind:
    """The annotation of a setting: its name in the documentation, its parser, and the inverse of that.

    A ``repeated`` setting is a tuple; ``parse`` and ``render`` are for one of its items.
    """

    label: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str] = str
    repeated: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Here, because only pydantic asks: processes that are given their settings do without it.
        from pydantic_core import core_schema

        item = core_schema.no_info_plain_validator_function(self.parse)
        return core_schema.tuple_variable_schema(item) if self.repeated else item


def _within(parse: Callable[[str], Any], render: Callable[[Any], str], minimum: Any, maximum: Any, text: str) -> Any:
    value = parse(text)
    if not minimum <= value <= maximum:
        raise ValueError(f"{text!r} is out of range; write {render(minimum)} to {render(maximum)}")
    return value


def _bounded(
    label: str, parse: Callable[[str], Any], render: Callable[[Any], str], minimum: float, maximum: float
) -> Kind:
    return Kind(label, functools.partial(_within, parse, render, minimum, maximum), render)


def size(minimum: int, maximum: int) -> Kind:
    """Bytes as ``int``."""
    return _bounded("size", units.parse_size, units.format_size, minimum, maximum)


def duration(minimum: float, maximum: float) -> Kind:
    """Seconds as ``float``."""
    return _bounded("duration", units.parse_duration, units.format_duration, minimum, maximum)


def number(minimum: int, maximum: int) -> Kind:
    """A whole number, both bounds included."""
    return _bounded("number", _parse_number, str, minimum, maximum)


def _parse_number(text: str) -> int:
    # int() alone would take "1_000", "+5" and digits of other scripts.
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _parse_switch(text: str) -> bool:
    if text in ("on", "true", "yes"):
        return True
    if text in ("off", "false", "no"):
        return False
    raise ValueError(f"{text!r} is neither on nor off")


def _render_switch(value: bool) -> str:
    return "on" if value else "off"


def choice(*values: str) -> Kind:
    """One of ``values``."""

    def parse(text: str) -> str:
        if text in values:
            return text
        raise ValueError(f"{text!r} is not one of {', '.join(values)}")

    return Kind(" | ".join(values), parse)


def _parse_host(text: str) -> str:
    """An IP literal (brackets optional) in its canonical form, or a lower-case DNS name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return _parse_name(text)


def _parse_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError("not a host name; write the name or IP address alone, without scheme, port or path")
    if name.rpartition(".")[2].isdigit():
        # Resolvers read 127.1 or 0177.0.0.1 as addresses, each in its own way.
        raise ValueError("not an IP address in its usual form; write all four numbers, in decimal")
    return name


def _parse_suffix(text: str) -> str:
    return _parse_name(text.removeprefix("."))


def _parse_alias(text: str) -> tuple[str, str]:
    """``NAME=BUCKET``. Names are not folded: a bucket of an old account or of another service may have capitals."""
    name, equals, bucket = text.partition("=")
    if not equals or not _BUCKET.fullmatch(name) or not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{text!r} is no alias; write NAME=BUCKET")
    return name, bucket


def parse_endpoint(text: str) -> OriginId:
    """The origin a URL names. No error repeats the URL: people paste credentials into it."""
    # urlsplit drops tabs and line breaks silently, so they are refused before it sees them.
    if not _URL_TEXT.fullmatch(text):
        raise ValueError("not a URL; write http://HOST[:PORT] or https://HOST[:PORT], international names as xn--")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("not a valid URL; write http://HOST[:PORT] or https://HOST[:PORT]") from None
    if parts.scheme not in _DEFAULT_PORTS or not text.lower().startswith(f"{parts.scheme}://"):
        raise ValueError("not an S3 endpoint; write http://HOST[:PORT] or https://HOST[:PORT]")
    if "@" in parts.netloc:
        raise ValueError("holds credentials, which belong to the clients; write only scheme, host and port")
    if parts.path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError("has a path or a query; write only scheme, host and port")
    if not parts.hostname:
        raise ValueError("has no host; write http://HOST[:PORT] or https://HOST[:PORT]")
    if port == 0:
        raise ValueError("has port 0, which nothing listens on; write the port of the S3 service")
    return OriginId(parts.scheme, _parse_host(parts.hostname), port or _DEFAULT_PORTS[parts.scheme])


def _parse_optional_endpoint(text: str) -> OriginId | None:
    return parse_endpoint(text) if text else None


def _parse_network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        masked = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network; write an address or CIDR such as 10.0.0.0/8") from None
    raise ValueError(f"{text!r} has bits set behind its prefix; write {masked} or the single address")


def _parse_path(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f"{text!r} is not an absolute path; write one that starts with /")
    return Path(text)


def _parse_optional_path(text: str) -> Path | None:
    return _parse_path(text) if text else None


def _render_optional(value: object | None) -> str:
    return "" if value is None else str(value)


def _parse_log_target(text: str) -> str:
    return text if text == "-" else str(_parse_path(text))


def _parse_congestion(text: str) -> str:
    # TCP_CA_NAME_MAX is 16 with the final NUL.
    if not re.fullmatch(r"[a-z0-9_-]{0,15}", text):
        raise ValueError(f"{text!r} is not a congestion control algorithm; write its kernel name, such as cubic")
    return text


def _parse_region(text: str) -> str:
    if text and not is_region(text):
        raise ValueError(f"{text!r} is not a region; write one such as eu-west-1, or nothing")
    return text


class Mount(NamedTuple):
    """A bucket under a name of our own."""

    name: str
    endpoint: OriginId
    bucket: str
    credentials: choosing.Choice | None
    """None for those of the setting ``credentials``."""
    region: str


_MOUNT_FORM = "NAME=URL/BUCKET [credentials=CHOICE] [region=REGION]"


def _parse_mount(text: str) -> Mount:
    place, *options = text.split()
    name, equals, url = place.partition("=")
    endpoint, slash, bucket = url.rstrip("/").rpartition("/")
    if (
        not equals
        or not slash
        or endpoint.endswith("/")
        or not _BUCKET.fullmatch(name)
        or not _BUCKET.fullmatch(bucket)
    ):
        raise ValueError(f"not a mount; write {_MOUNT_FORM}")
    given = dict(option.partition("=")[::2] for option in options)
    if len(given) < len(options) or not given.keys() <= {"credentials", "region"}:
        raise ValueError(f"the mount {name} has options that are not known, or one twice; write {_MOUNT_FORM}")
    try:
        credentials = choosing.parse_choice(given["credentials"]) if "credentials" in given else None
        return Mount(name, parse_endpoint(endpoint), bucket, credentials, _parse_region(given.get("region", "")))
    except ValueError as error:
        raise ValueError(f"the mount {name}: {error}") from None


def _render_mount(mount: Mount) -> str:
    options = [f"credentials={mount.credentials}"] if mount.credentials is not None else []
    options += [f"region={mount.region}"] if mount.region else []
    return " ".join((f"{mount.name}={mount.endpoint}/{mount.bucket}", *options))


def _parse_optional_choice(text: str) -> choosing.Choice | None:
    return choosing.parse_choice(text) if text else None


AUTO = 0
MOST_WORKERS = 128
"""So many descriptors of inboxes fit into the message that a new process is given."""


def _parse_workers(text: str) -> int:
    count = AUTO if text == "auto" else _parse_number(text)
    if text != "auto" and not 1 <= count <= MOST_WORKERS:
        raise ValueError(f"{text!r} is out of range; write 1 to {MOST_WORKERS}, or auto")
    return count


def _render_workers(value: int) -> str:
    return "auto" if value == AUTO else str(value)


SWITCH = Kind("on | off", _parse_switch, _render_switch)
PORT = number(0, 65535)
HOST = Kind("host", _parse_host)
ENDPOINT = Kind("URL", parse_endpoint)
OPTIONAL_ENDPOINT = Kind("URL", _parse_optional_endpoint, _render_optional)
NAMES = Kind("names", _parse_name, repeated=True)
SUFFIXES = Kind("names", _parse_suffix, repeated=True)
ALIASES = Kind("names", _parse_alias, "=".join, repeated=True)
MOUNTS = Kind("mounts", _parse_mount, _render_mount, repeated=True)
NETWORKS = Kind("networks", _parse_network, repeated=True)
DIRECTORY = Kind("path", _parse_path)
OPTIONAL_FILE = Kind("path", _parse_optional_path, _render_optional)
LOG_TARGET = Kind("path or -", _parse_log_target)
CREDENTIALS = Kind(choosing.FORMS, choosing.parse_choice)
OPTIONAL_CREDENTIALS = Kind("credentials", _parse_optional_choice, _render_optional)
REGION = Kind("region", _parse_region)
CONGESTION = Kind("name", _parse_congestion)
WORKERS = Kind("number | auto", _parse_workers, _render_workers)
