"""IP addresses as Kubernetes takes them: with zeros in front, as in old times, but without a zone."""

import ipaddress
import re

_ZEROS_4 = re.compile(r"(?<![0-9])0+(?=[0-9])")
_ZEROS_6 = re.compile(r"(?<![0-9a-fA-F.])0+(?=[0-9a-fA-F])")


def canonical_address(text: str) -> str | None:
    """The address as it should be written; None when it is none."""
    if "%" in text:
        return None
    try:
        found = ipaddress.ip_address((_ZEROS_6 if ":" in text else _ZEROS_4).sub("", text))
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)
