"""Who may read the gateway's metrics.

They name the routes of all namespaces and how much each is used, so they are for whoever runs the gateway: for those on
its machine, unless the settings say otherwise, and for their keys. A request that says it was passed on by a proxy
comes from somewhere else, wherever the proxy runs.
"""

import ipaddress
from enum import StrEnum
from typing import Final

from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.seams import Keys
from tensorfusion.model.llm_key import KeyScope
from tensorfusion.wire.request import Request

METRICS: Final = b"/metrics"
_PASSED_ON: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")


class Scrape(StrEnum):
    """Who may read metrics without a key."""

    LOOPBACK = "loopback"
    """Whoever connects from this machine."""
    KEY = "key"
    """Nobody."""
    OPEN = "open"
    """Whoever reaches the gateway."""


def require_reader(request: Request, scrape: Scrape, keys: Keys) -> None:
    """Return if the request may read metrics.

    Raises:
        KeyRefused: it has no good key, or one without the scope.
        Fault: its key is of one namespace, and metrics are of all.
    """
    if scrape is Scrape.OPEN or (scrape is Scrape.LOOPBACK and _is_local(request)):
        return
    key = keys.find(request.fields)
    key.require_scope(KeyScope.ADMIN)
    if not key.operator:
        raise Fault(
            403,
            "permission_error",
            f"key {key.id}: metrics name the routes of all namespaces: wanted a key of whoever runs the gateway",
            code="not_permitted",
        )


def _is_local(request: Request) -> bool:
    try:
        peer = ipaddress.ip_address(request.peer)
    except ValueError:
        return False
    if not (getattr(peer, "ipv4_mapped", None) or peer).is_loopback:
        return False
    return not any(request.field(name) is not None for name in _PASSED_ON)
