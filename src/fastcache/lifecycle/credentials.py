"""The credentials that a setting asks for, and what can be told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastcache.clock import Clock
from fastcache.errors import CredentialsError
from fastcache.lifecycle.mounting import Access
from fastcache.lifecycle.units import format_duration
from fastcache.model import OriginId
from fastcache.observe.redaction import masked_key_id
from fastcache.upstream.credentials.choosing import open_credentials
from fastcache.upstream.credentials.provider import CredentialProvider


def provider_of(
    access: Access,
    environ: Mapping[str, str],
    clock: Clock,
    on_refresh: Callable[[str], None] = lambda outcome: None,
    *,
    sts: OriginId | None = None,
) -> CredentialProvider:
    """The provider of an access's credentials, not started; ConfigError when there can be none. ``sts`` is the setting
    ``sts-endpoint``."""
    region, url = access.signing_region, "" if sts is None else str(sts)
    return open_credentials(access.credentials, environ, clock, region=region, sts=url, on_refresh=on_refresh)


async def tell_credentials(provider: CredentialProvider) -> str:
    """Where the credentials come from, which they are as far as that may be shown, and for how long they are good.

    Asks for them once, as a start does; ConfigError when there can be none.
    """
    await provider.start()
    try:
        key = masked_key_id(provider.current().access_key)
    except CredentialsError:
        return f"{provider.name}, none at the moment"
    finally:
        await provider.close()
    left = provider.seconds_left()
    until = "" if left == float("inf") else f", good for {format_duration(float(round(left)))}"
    return f"{provider.name}, access key {key}{until}"
