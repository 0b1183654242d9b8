"""The one schema of all settings: names, kinds, defaults and meanings.

Files, environment, flags, their errors and ``docs/configuration.md`` all derive from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from fastcache.lifecycle import kinds
from fastcache.lifecycle.groups import Fill, Group, Hit, Limits, Timeouts, kebab, setting
from fastcache.lifecycle.kinds import Kind, Network
from fastcache.lifecycle.units import GIB, MIB, TIB
from fastcache.model import OriginId
from fastcache.upstream.credentials.choosing import Choice

_DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Settings(Group):
    """All settings, checked and frozen. ``fastcache.lifecycle.settings.load`` makes them.

    Sizes are bytes, durations seconds. ``cache_dir`` need not exist yet.
    """

    endpoint: Annotated[OriginId, kinds.ENDPOINT] = setting(
        description="The S3 service behind this cache: scheme, host and port."
    )
    host: Annotated[str, kinds.HOST] = setting(default="127.0.0.1", description="Address to listen on for clients.")
    port: Annotated[int, kinds.PORT] = setting(
        default=3000, description="Port to listen on for clients; 0 takes any free one."
    )
    hosts: Annotated[tuple[str, ...], kinds.NAMES] = setting(
        default=(),
        description="Names that clients may address this cache by, besides IP addresses, localhost, this machine's "
        "own names and the endpoint's host.",
    )
    virtual_host_suffixes: Annotated[tuple[str, ...], kinds.SUFFIXES] = setting(
        default=(),
        description="Domains whose sub-domains are bucket names: `s3.example.com` for `bucket.s3.example.com`.",
    )
    aliases: Annotated[tuple[tuple[str, str], ...], kinds.ALIASES] = setting(
        default=(),
        description="Other names of buckets, `NAME=BUCKET`: an access point's alias or host name, so that both are one "
        "entry and a write by either name is seen by readers of both.",
    )
    workers: Annotated[int, kinds.WORKERS] = setting(
        default=kinds.AUTO, description="Processes that serve clients; `auto` is one for each CPU that may be used."
    )
    cache: Annotated[bool, kinds.SWITCH] = setting(
        default=True, description="`off` makes it a plain proxy that stores nothing."
    )
    cache_dir: Annotated[Path, kinds.DIRECTORY] = setting(
        default=Path("/var/cache/fastcache"),
        description="Where the cache lives; a directory of its own, made if it is missing.",
    )
    cache_size: Annotated[int, kinds.size(MIB, 1024 * 1024 * TIB)] = setting(
        default=10 * GIB, description="Bytes of objects kept in the cache directory."
    )
    upstream: Annotated[str, kinds.choice("passthrough", "sign")] = setting(
        default="passthrough",
        description="How the origin is asked: with the client's own request and signature (`passthrough`), or with a "
        "request signed by this cache's own `credentials` (`sign`).",
    )
    credentials: Annotated[Choice, kinds.CREDENTIALS] = setting(
        default=Choice("auto"),
        description="Where this cache's own credentials come from, which requests to the origin are signed with; "
        "`auto` looks where the AWS tools look, in their order.",
    )
    gap_credentials: Annotated[Choice | None, kinds.OPTIONAL_CREDENTIALS] = setting(
        default=None,
        description="With `upstream: passthrough`: credentials that may read the objects. What is missing of a range "
        "whose other bytes are cached is then asked for with them, as soon as the origin has said to the client's own "
        "request that it may read the object; forms as `credentials`, empty for none.",
    )
    region: Annotated[str, kinds.REGION] = setting(
        default="",
        description="Region that requests to the origin are signed for; empty for that in the name of an AWS endpoint, "
        "else us-east-1. The region of a bucket that is elsewhere is learnt from the origin.",
    )
    sts_endpoint: Annotated[OriginId | None, kinds.OPTIONAL_ENDPOINT] = setting(
        default=None,
        description="The token service (STS) that roles are had from, by keys that stand for one and by `credentials`; "
        "empty for the one that AWS_ENDPOINT_URL_STS names, else AWS's own in the region.",
    )
    mounts: Annotated[tuple[kinds.Mount, ...], kinds.MOUNTS] = setting(
        default=(),
        description="With `upstream: sign`: buckets of other endpoints, or under other names, each "
        "`NAME=URL/BUCKET [credentials=CHOICE] [region=REGION]`; without the option they are had with `credentials`.",
    )
    addressing: Annotated[str, kinds.choice("auto", "path", "virtual")] = setting(
        default="auto",
        description="With `upstream: sign`: whether the origin is told the bucket in the path or in the host name; "
        "`auto` is the host name for AWS, where the bucket's name allows it, and the path everywhere else.",
    )
    authorization: Annotated[str, kinds.choice("revalidate", "none", "verify")] = setting(
        default="revalidate",
        description="Who may have a cached byte: `revalidate` asks the origin with the client's own signature each "
        "time, `verify` checks signature and permission here, with `keys`, `none` lets everybody who reaches the port.",
    )
    keys: Annotated[Path | None, kinds.OPTIONAL_FILE] = setting(
        default=None,
        description="With `authorization: verify`: the YAML file of the clients' access keys and what each may do.",
    )
    read_only: Annotated[str, kinds.choice("auto", "on", "off")] = setting(
        default="auto",
        description="Whether everything but reads and lists is refused; `auto` does so where `none` meets `sign`, "
        "because there anybody's request would be made with this cache's own credentials.",
    )
    ttl: Annotated[float, kinds.duration(0.0, 3650 * _DAY)] = setting(
        default=60.0,
        description="With `authorization: none` or `verify`: how long an object is served before the origin is asked "
        "again.",
    )
    head_ttl: Annotated[float, kinds.duration(0.0, 3650 * _DAY)] = setting(
        default=60.0, description="With `authorization: none` or `verify`: the same for HEAD requests."
    )
    stale_while_revalidate: Annotated[float, kinds.duration(0.0, 3650 * _DAY)] = setting(
        default=0.0,
        description="With `authorization: none` or `verify`: how long after its TTL an object is still served at once, "
        "while the origin is asked.",
    )
    stale_if_error: Annotated[float, kinds.duration(0.0, 3650 * _DAY)] = setting(
        default=0.0,
        description="With `authorization: none` or `verify`: how long after its TTL an object is served when the "
        "origin cannot be reached, is too slow, or answers 500, 502, 503 or 504.",
    )
    object_max_age: Annotated[str, kinds.choice("ignore", "honour")] = setting(
        default="ignore",
        description="With `authorization: none` or `verify`: `honour` lets max-age, s-maxage and no-cache of an "
        "object's own Cache-Control decide in the place of `ttl` and `head-ttl`, for objects that have one.",
    )
    allow_from: Annotated[tuple[Network, ...], kinds.NETWORKS] = setting(
        default=(), description="Networks clients may come from; empty for all. Needed for `none` beyond this machine."
    )
    kms: Annotated[str, kinds.choice("refuse", "allow")] = setting(
        default="refuse",
        description="Whether objects encrypted with a KMS key are cached. `allow` trusts that whoever the origin lets "
        "read such an object, or have a 304 for it, may also decrypt it.",
    )
    write_through: Annotated[bool, kinds.SWITCH] = setting(
        default=True,
        description="Whether uploads are kept on their way to the origin, so that the first read of one is a hit.",
    )
    write_through_max: Annotated[int, kinds.size(0, 1024 * TIB)] = setting(
        default=8 * GIB,
        description="The largest upload that is kept. All uploads under way together take at most a quarter of the "
        "cache.",
    )
    write_through_backlog: Annotated[int, kinds.size(MIB, GIB)] = setting(
        default=32 * MIB,
        description="Bytes of one upload that may wait for a disk that is slower than its client; with more it is not "
        "kept, and goes on.",
    )
    upload_expiry: Annotated[float, kinds.duration(1.0, 3650 * _DAY)] = setting(
        default=_DAY,
        description="Kept parts of a multipart upload are forgotten when nothing came for this long. They count as "
        "uploads under way.",
    )
    multi_range: Annotated[str, kinds.choice("whole", "multipart")] = setting(
        default="whole",
        description="How a hit answers several ranges in one request: with the `whole` object, as S3 does, or with "
        "just those ranges as `multipart/byteranges`. What is not cached the origin answers in its own way.",
    )
    widen: Annotated[int, kinds.size(0, 64 * MIB)] = setting(
        default=0,
        description="Size of the aligned blocks that smaller reads are widened to on a miss, where the client's "
        "signature does not bind the range: with `upstream: sign` always; 0 asks for no byte that no client asked for.",
    )
    read_ahead: Annotated[int, kinds.size(0, GIB)] = setting(
        default=16 * MIB,
        description="With `upstream: sign`: how far ahead of reads that follow each other an object is fetched, at "
        "most; 0 fetches nothing ahead.",
    )
    namespace: Annotated[str, kinds.choice("global", "per-key")] = setting(
        default="global",
        description="Whether a bucket name means one bucket for all (`global`) or one for each access key.",
    )
    admin_host: Annotated[str, kinds.HOST] = setting(
        default="127.0.0.1", description="Address to listen on for health, metrics and administration."
    )
    admin_port: Annotated[int, kinds.PORT] = setting(
        default=8080, description="Port for health, metrics and administration; 0 takes any free one."
    )
    access_log: Annotated[str, kinds.choice("off", "all", "misses", "failures")] = setting(
        default="off", description="Which requests the access log tells of."
    )
    access_log_file: Annotated[str, kinds.LOG_TARGET] = setting(
        default="-", description="Its file; `-` is standard error."
    )
    log_level: Annotated[str, kinds.choice("debug", "info", "warning", "error")] = setting(
        default="info", description="The least severe line that is logged."
    )
    log_format: Annotated[str, kinds.choice("text", "json")] = setting(
        default="text", description="How log lines are written."
    )
    ca_file: Annotated[Path | None, kinds.OPTIONAL_FILE] = setting(
        default=None,
        description="PEM file of the authorities an https endpoint is checked against; empty for the system's.",
    )
    durability: Annotated[str, kinds.choice("none", "fsync")] = setting(
        default="none", description="`fsync` keeps what was cached through a power loss, at the price of slower misses."
    )
    io_threads: Annotated[int, kinds.number(1, 256)] = setting(
        default=4, description="Threads that read and write the cache directory."
    )
    index_memory: Annotated[int, kinds.size(MIB, TIB)] = setting(
        default=GIB,
        description="Memory for what is known of objects and their files, all processes together, as estimated; what "
        "is unused the longest is forgotten and read from the directory again when it is asked for.",
    )
    tcp_congestion: Annotated[str, kinds.CONGESTION] = setting(
        default="", description="Congestion control towards clients, such as `cubic` or `bbr`; empty for the system's."
    )
    limits: Limits = setting(default=Limits())
    timeouts: Timeouts = setting(default=Timeouts())
    fill: Fill = setting(default=Fill())
    hit: Hit = setting(default=Hit())

    places: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where the value of a setting comes from, by name (``ttl``, ``fill.window``), if it is not the default."""
    notices: tuple[str, ...] = field(default=(), repr=False)
    """What the operator should know at start though nothing is wrong; to be logged once, a line each."""

    @property
    def explicit(self) -> frozenset[str]:
        """Names of the settings that somebody gave a value to."""
        return frozenset(self.places)

    def place(self, name: str) -> str:
        """Where the value of ``name`` comes from, for an error text: a flag, a variable, file:line or ``default``."""
        return self.places.get(name, "default")


@dataclass(frozen=True)
class Setting:
    """One leaf of the schema and its names."""

    path: tuple[str, ...]
    """Keys from the top of the file, in kebab-case."""
    kind: Kind
    default: Any
    required: bool
    meaning: str

    @property
    def name(self) -> str:
        """As in an error text: ``fill.window``."""
        return ".".join(self.path)

    @property
    def flag_name(self) -> str:
        """As on the command line, without the dashes: ``fill-window``."""
        return "-".join(self.path)

    @property
    def variable(self) -> str:
        """As in the environment: ``FASTCACHE_FILL_WINDOW``."""
        return "FASTCACHE_" + self.flag_name.replace("-", "_").upper()

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty when there is none."""
        if self.required:
            return ""
        return ",".join(map(self.kind.render, self.default)) if self.kind.repeated else self.kind.render(self.default)

    def value_in(self, settings: Settings) -> Any:
        """This setting's value in ``settings``."""
        value: Any = settings
        for key in self.path:
            value = getattr(value, key.replace("-", "_"))
        return value


def _hints(group: type[Group]) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """The fields of ``group`` with their annotations; what is no setting is left out."""
    hints = get_type_hints(group, include_extras=True)
    for each in dataclasses.fields(group):
        if "description" in each.metadata:
            yield each, hints[each.name]


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Group)


def _leaves(group: type[Group], prefix: tuple[str, ...]) -> Iterator[Setting]:
    for each, hint in _hints(group):
        path = (*prefix, kebab(each.name))
        if _is_group(hint):
            yield from _leaves(hint, path)
            continue
        (kind,) = (mark for mark in hint.__metadata__ if isinstance(mark, Kind))
        yield Setting(path, kind, each.default, each.default is MISSING, each.metadata["description"])


SETTINGS: tuple[Setting, ...] = tuple(_leaves(Settings, ()))
"""Every setting, in the order of the schema."""

GROUPS: dict[str, type[Group]] = {kebab(each.name): hint for each, hint in _hints(Settings) if _is_group(hint)}
"""The nested groups by key."""

BY_PATH: dict[tuple[str, ...], Setting] = {setting.path: setting for setting in SETTINGS}
