"""The string formats that a custom resource's schema can ask for. Unknown formats are ignored, as Kubernetes does.

Source: apiextensions-apiserver pkg/apiserver/validation/formats.go; go-openapi strfmt.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from urllib.parse import urlsplit

from tensorfusion.embedded.schema.names import subdomain
from tensorfusion.embedded.schema.scalars import Mismatch, base64_bytes, is_time

Format = Callable[[str], bool]

_DURATION = re.compile(r"[-+]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w))+|0", re.ASCII).fullmatch
_UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}").fullmatch
_MAC = re.compile(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}").fullmatch
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+").fullmatch
_MONGO = re.compile(r"[0-9a-f]{24}").fullmatch
_COLOR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})").fullmatch


def _parses(parse: Callable[[str], object]) -> Format:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, Mismatch):
            return False
        return True

    return check


def _uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme) or text.startswith("/")
    except ValueError:
        return False


FORMATS: Mapping[str, Format] = {
    "date-time": is_time,
    "datetime": is_time,
    "date": _parses(date.fromisoformat),
    "duration": lambda text: _DURATION(text) is not None,
    "byte": _parses(base64_bytes),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(lambda text: ipaddress.ip_network(text, strict=False)),
    "mac": lambda text: _MAC(text) is not None,
    "uuid": lambda text: _UUID(text) is not None,
    "uri": _uri,
    "hostname": lambda text: not subdomain(text.lower()),
    "email": lambda text: _EMAIL(text) is not None,
    "bsonobjectid": lambda text: _MONGO(text) is not None,
    "hexcolor": lambda text: _COLOR(text) is not None,
}
