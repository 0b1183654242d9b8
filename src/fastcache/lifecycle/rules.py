"""What no single setting can know: pairs that contradict each other, and what the machine says to them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from fastcache.errors import CacheDirectoryError, KeysFileError
from fastcache.lifecycle import addresses, cache_directory
from fastcache.lifecycle.keys_file import read_keys_file
from fastcache.lifecycle.mounting import accesses
from fastcache.lifecycle.schema import BY_PATH, Settings
from fastcache.lifecycle.token_service import no_roles
from fastcache.model import OriginId
from fastcache.protocol.aws_hosts import parse_aws_host

AUTHORIZATIONS = ("revalidate", "none", "verify")
UPSTREAMS = ("passthrough", "sign")
NAMESPACES = ("global", "per-key")


TTL_SETTINGS = ("ttl", "head-ttl", "stale-while-revalidate", "stale-if-error", "object-max-age")
"""What only a mode with a TTL knows (SEMANTICS 7)."""


def mode_refusal(authorization: str, upstream: str, namespace: str, explicit_ttl: bool) -> tuple[str, str] | None:
    """The setting to blame and why these four cannot go together, or None if they can (SEMANTICS 4, 7, 9)."""
    if authorization == "revalidate" and upstream == "sign":
        return "upstream", (
            "sign with revalidate would take the origin's word to this cache for its word to the client; "
            "use authorization: verify, or none on a trusted network"
        )
    if namespace == "per-key" and authorization != "verify":
        return "namespace", "per-key needs to know whose key a request has; use authorization: verify, or global"
    if namespace == "per-key" and upstream == "sign":
        return "namespace", "per-key makes no sense with sign, which asks for everybody with one key; use global"
    if authorization == "revalidate" and explicit_ttl:
        return "ttl", "revalidate asks the origin each time, so a ttl has no effect; remove it, or use none or verify"
    return None


def mode_combinations() -> Iterator[tuple[str, str, str, bool, str | None]]:
    """Every combination of modes, with the reason it is refused for; the documentation and its test read this."""
    for authorization, upstream, namespace, explicit_ttl in itertools.product(
        AUTHORIZATIONS, UPSTREAMS, NAMESPACES, (False, True)
    ):
        refusal = mode_refusal(authorization, upstream, namespace, explicit_ttl)
        yield authorization, upstream, namespace, explicit_ttl, refusal[1] if refusal else None


def refusals(settings: Settings) -> Iterator[str]:
    """Why these settings cannot be started with: place, reason and what to do instead; nothing if they can."""
    for rule in _RULES:
        for name, reason in rule(settings):
            yield f"{_place(settings, name)}: {reason}"


def _place(settings: Settings, name: str) -> str:
    return settings.place(name) if name in settings.explicit else f"{name} (default)"


def _modes(settings: Settings) -> Iterator[tuple[str, str]]:
    explicit = [name for name in TTL_SETTINGS if name in settings.explicit]
    refusal = mode_refusal(settings.authorization, settings.upstream, settings.namespace, explicit_ttl=bool(explicit))
    if refusal is not None:
        name, reason = refusal
        yield (explicit[0] if name == "ttl" else name, reason)


def _keys(settings: Settings) -> Iterator[tuple[str, str]]:
    verifies = settings.authorization == "verify"
    if verifies and settings.keys is None:
        yield "authorization", "verify needs the clients' keys; name their file with keys"
    elif not verifies and settings.keys is not None:
        yield "keys", f"only authorization: verify knows clients by keys, this is {settings.authorization}; remove it"


def _open_to_strangers(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.authorization == "none" and not settings.allow_from and not addresses.is_loopback(settings.host):
        yield (
            "authorization",
            f"none on {settings.host} gives cached objects to whoever reaches the port; "
            "name the networks that may with allow-from, listen on 127.0.0.1, or use revalidate",
        )


def _aliases(settings: Settings) -> Iterator[tuple[str, str]]:
    targets = dict(settings.aliases)
    for name, bucket in settings.aliases:
        if targets[name] != bucket:
            yield "aliases", f"{name} is said to be {targets[name]} and {bucket}; name one bucket"
        elif bucket in targets:
            yield "aliases", f"{name} is said to be {bucket}, which is an alias itself; name the bucket behind it"


def _gap_credentials(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.gap_credentials is None:
        return
    if settings.upstream == "sign":
        yield "gap-credentials", "with sign everything is asked for with credentials; remove it"
    elif settings.authorization == "none":
        yield (
            "gap-credentials",
            "none lets everybody read, with no word of the origin to go by; use revalidate or verify, or remove it",
        )
    elif settings.namespace == "per-key":
        yield "gap-credentials", "with per-key a bucket name would mean a bucket of this cache's own; use global"


def _mounts(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.mounts and settings.upstream != "sign":
        yield "mounts", "passthrough sends every request to the endpoint as it was signed; use upstream: sign"
    names = [mount.name for mount in settings.mounts]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "mounts", f"{name} is mounted twice; give one of the two another name"
    for name in sorted({alias for alias, _ in settings.aliases}.intersection(names)):
        yield "mounts", f"{name} is an alias too; give the mount another name"


def _regions(settings: Settings) -> Iterator[tuple[str, str]]:
    default = settings.endpoint, ""
    for place, access in accesses(settings).items():
        host = parse_aws_host(access.endpoint.host)
        if access.region and host is not None and host.at(access.region) is None:
            yield (
                "region" if place == default else "mounts",
                f"{access.endpoint} has no region {access.region}; write one of the same part of AWS as {host.region}",
            )


def _ports(settings: Settings) -> Iterator[tuple[str, str]]:
    port = settings.port
    if port and port == settings.admin_port and addresses.overlap(settings.host, settings.admin_host):
        name = "admin-port" if "admin-port" in settings.explicit else "port"
        yield name, f"port and admin-port are both {port} on {settings.host}; give one of them another number"
    yield from _cycles(settings, "endpoint", settings.endpoint)
    for origin in dict.fromkeys(mount.endpoint for mount in settings.mounts if mount.endpoint != settings.endpoint):
        yield from _cycles(settings, "mounts", origin)


def _cycles(settings: Settings, name: str, origin: OriginId) -> Iterator[tuple[str, str]]:
    if origin.port == settings.port and addresses.reaches(origin.host, settings.host):
        yield name, f"{origin} is this cache itself; give the S3 service behind it, or another port to listen on"
    elif origin.port == settings.admin_port and addresses.reaches(origin.host, settings.admin_host):
        yield name, f"{origin} is the admin port of this cache; give the S3 service, or another admin-port"


def _sizes(settings: Settings) -> Iterator[tuple[str, str]]:
    for small, large, why in (
        ("fill.window", "fill.lead", "a fill cannot keep more in memory than it may be ahead"),
        ("fill.window", "fill.window-budget", "not even one window would fit into the memory of all"),
        ("fill.linger-bytes", "fill.lead", "a fill without readers cannot go further than one with readers"),
        ("limits.target-bytes", "limits.head-bytes", "the target is a part of the head"),
    ):
        low, high = (BY_PATH[tuple(name.split("."))] for name in (small, large))
        if low.value_in(settings) > high.value_in(settings):
            blamed, other = (small, large) if small in settings.explicit else (large, small)
            yield (
                blamed,
                f"{small} {low.kind.render(low.value_in(settings))} is more than "
                f"{large} {high.kind.render(high.value_in(settings))}: {why}; change it or {other}",
            )


def _files(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.ca_file is not None:
        try:
            with settings.ca_file.open("rb"):
                pass
        except OSError as error:
            yield "ca-file", f"{settings.ca_file} cannot be read: {error.strerror}; give a PEM file"
    if settings.keys is not None:
        try:
            read_keys_file(settings.keys, no_roles=no_roles(settings, os.environ))
        except KeysFileError as error:
            yield "keys", "; ".join(str(error).splitlines())
    if settings.cache:
        try:
            cache_directory.check_usable(settings.cache_dir)
        except CacheDirectoryError as error:
            yield "cache-dir", str(error)


_RULES: tuple[Callable[[Settings], Iterator[tuple[str, str]]], ...] = (
    _modes,
    _keys,
    _open_to_strangers,
    _aliases,
    _gap_credentials,
    _mounts,
    _regions,
    _ports,
    _sizes,
    _files,
)


def notices(settings: Settings) -> Iterator[str]:
    """What an operator should know about settings that are fine (SEMANTICS 3 and 4)."""
    if settings.upstream == "sign":
        return
    if addresses.is_aws(settings.endpoint.host):
        yield (
            f"{settings.endpoint} accepts only signatures made for its own name: point clients here by DNS or "
            "HTTP_PROXY, not by endpoint_url, or use upstream: sign"
        )
    elif settings.cache and settings.authorization != "revalidate" and settings.namespace == "global":
        yield "namespace is global: a bucket name is taken for the same bucket whoever asks"
