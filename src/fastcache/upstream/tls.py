"""TLS towards an origin: always verified, TLS 1.2 or newer."""

from __future__ import annotations

import ssl

from fastcache.errors import ConfigError, UpstreamConnectError


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A verifying context that trusts the system's CAs, or only those in ``ca_file`` (PEM). ConfigError if unusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read CA certificates from {ca_file}: {error.strerror or error}") from error
    return context


def handshake_error(host: str, error: ssl.SSLError | ssl.CertificateError) -> UpstreamConnectError:
    """What went wrong with the handshake, in words an operator can act on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamConnectError(f"TLS to {host}: certificate not accepted: {error.verify_message}")
    return UpstreamConnectError(f"TLS to {host}: {getattr(error, 'reason', None) or 'handshake failed'}")
