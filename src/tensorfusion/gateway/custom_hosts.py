"""Addresses that callers may name: the hosts that whoever runs the gateway lists, and no others.

A configuration of Portkey's may name an address of the caller's choice (``custom_host``), and the gateway asks it from
where it stands: behind the firewall, beside metadata services and consoles. Whether that is wanted, and where to, no
administrator of a namespace decides.

Names and addresses are apart: a name matches no network, and an address no pattern of names, so that nobody's name
looks like an address that is allowed.
"""

import fnmatch
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tensorfusion.errors import ConfigError

_EVERY: Final = "*"
_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_PATTERN: Final = re.compile(r"[a-z0-9_*?.-]+")
_LETTER: Final = re.compile(r"[a-z]")
_LAST_PORT: Final = 65_535

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class _Host:
    """One that is listed. ``port`` None is every one."""

    port: int | None
    network: Network | None = None
    name: re.Pattern[str] | None = None
    every: bool = False

    def takes(self, host: str, address: Address | None, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.every:
            return True
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return address is None and self.name is not None and self.name.match(host) is not None


class CustomHosts:
    """Whether a URL is one of those that may be named: call it with one. Immutable."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        """Each is a name with ``*`` and ``?`` in it, an address, or a network; with ``:PORT`` behind it only that one.

        Raises:
            ConfigError: one is none of these.
        """
        self.listed = tuple(listed)
        self._hosts = tuple(map(_read, self.listed))

    def __call__(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            return False
        address = _address(host)
        if address is None and not _NAME.fullmatch(host):
            return False
        return any(one.takes(host.rstrip("."), address, port) for one in self._hosts)


def _read(text: str) -> _Host:
    host, port = text.lower(), None
    found = re.fullmatch(r"(\[.*\]|[^\[\]:]*)(?::([0-9]{1,5}))?", host)
    if found is not None:
        host = found[1].strip("[]")
        port = int(found[2]) if found[2] else None
    if port is not None and not 0 < port <= _LAST_PORT:
        raise _wrong(text)
    if host == _EVERY:
        return _Host(port, every=True)
    try:
        return _Host(port, network=ipaddress.ip_network(host, strict=False))
    except ValueError:
        pass
    if not _PATTERN.fullmatch(host) or not _LETTER.search(host):
        raise _wrong(text)
    return _Host(port, name=re.compile(fnmatch.translate(host)))


def _wrong(text: str) -> ConfigError:
    return ConfigError(
        "portkey.customHosts: wanted a name such as models.internal or *.internal, an address or a network such as "
        f"10.0.0.0/24, each with or without :PORT, found {text[:80]!r}"
    )


def _address(host: str) -> Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
