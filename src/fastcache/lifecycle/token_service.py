"""Where roles are had from: the token service (STS) that exchanges a client's identity for a session of its role."""

from __future__ import annotations

from collections.abc import Mapping

from fastcache.lifecycle.kinds import parse_endpoint
from fastcache.lifecycle.schema import Settings
from fastcache.model import OriginId
from fastcache.protocol.aws_hosts import parse_aws_host
from fastcache.upstream.credentials.aws import STS_VARIABLE


def token_service(settings: Settings, environ: Mapping[str, str]) -> OriginId | None:
    """By the setting, by the variable of AWS's tools, else AWS's own in the region that requests are signed for; None
    where none is known. ValueError for a variable that cannot be used."""
    if settings.sts_endpoint is not None:
        return settings.sts_endpoint
    named = environ.get(STS_VARIABLE, "")
    if named:
        try:
            return parse_endpoint(named)
        except ValueError as error:
            raise ValueError(f"variable {STS_VARIABLE}: {error}") from None
    known = parse_aws_host(settings.endpoint.host)
    there = known if known is None or not settings.region else known.at(settings.region)
    return None if there is None else OriginId("https", f"sts.{there.region}.{there.suffix}", 443)


def no_roles(settings: Settings, environ: Mapping[str, str]) -> str:
    """Why keys cannot stand for roles under these settings; empty where they can."""
    if settings.upstream != "sign":
        return "with upstream: passthrough the origin knows clients by their own signatures; use upstream: sign"
    try:
        known = token_service(settings, environ) is not None
    except ValueError as error:
        return str(error)
    return "" if known else f"no token service is known for {settings.endpoint}; name it with sts-endpoint"
