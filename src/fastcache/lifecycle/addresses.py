"""Whether two host settings mean the same listener. Never asks DNS: a start must not hang on it."""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LOOPBACK: frozenset[Address] = frozenset((ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")))


def is_loopback(host: str) -> bool:
    """Whether a listener on ``host`` is out of reach for other machines."""
    addresses = _addresses(host)
    return bool(addresses) and all(address.is_loopback for address in addresses)


def reaches(target: str, listener: str) -> bool:
    """Whether a connection to the host ``target`` made on this machine can arrive at a listener on ``listener``."""
    if target == listener:
        return True
    targets = _targets(target)
    for address in _addresses(listener):
        if address.is_unspecified:
            # A socket on :: takes IPv4 too (Linux: net.ipv6.bindv6only is 0 unless somebody changed it).
            if any(_is_own(other) for other in targets if address.version == 6 or other.version == 4):
                return True
        elif address in targets:
            return True
    return False


def overlap(first: str, second: str) -> bool:
    """Whether listeners on both hosts cannot have the same port."""
    return reaches(first, second) or reaches(second, first)


def _addresses(host: str) -> frozenset[Address]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _named(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return frozenset((mapped or address,))


def _named(host: str) -> frozenset[Address]:
    if host == "localhost" or host.endswith(".localhost"):
        return _LOOPBACK
    if host != socket.gethostname().lower():
        return frozenset()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        # A machine that cannot resolve its own name: nothing can connect by that name either.
        return frozenset()
    return frozenset(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)


def _targets(host: str) -> frozenset[Address]:
    addresses = _addresses(host)
    # Linux takes a connect to 0.0.0.0 or :: as one to this machine.
    return addresses | _LOOPBACK if any(address.is_unspecified for address in addresses) else addresses


def _is_own(address: Address) -> bool:
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def is_aws(host: str) -> bool:
    """Whether ``host`` is a name of AWS, which takes no other Host than its own names."""
    return host.lower().rstrip(".").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def url_of(host: str, port: int) -> str:
    """The plain HTTP address of a listener of ours."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
