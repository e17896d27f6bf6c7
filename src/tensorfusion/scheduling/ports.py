"""Which host ports the pods of each node have.

Kept by port, not by node: a decision asks who has this port, and that is few nodes whatever the fleet's size.

Source: Kubernetes' NodePorts plugin: a port conflicts with itself on the same address, and 0.0.0.0 with every address.
"""

from collections.abc import Iterable, Iterator

from tensorfusion.scheduling.pod_rules import EVERY_ADDRESS, HostPort


class HeldPorts:
    """Holders by protocol and number, then by address, then by node row: how many pods."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], dict[str, dict[int, int]]] = {}

    def charge(self, row: int, ports: Iterable[HostPort], sign: int) -> None:
        """A pod with these ports came to the node, or left it."""
        for port in ports:
            number = (port.protocol, port.port)
            addresses = self._held.setdefault(number, {})
            rows = addresses.setdefault(port.address, {})
            left = rows.get(row, 0) + sign
            if left:
                rows[row] = left
                continue
            del rows[row]
            if not rows:
                del addresses[port.address]
            if not addresses:
                del self._held[number]

    def holders(self, port: HostPort) -> Iterator[int]:
        """The rows of the nodes where the port is taken."""
        for address, rows in self._held.get((port.protocol, port.port), {}).items():
            if EVERY_ADDRESS in (address, port.address) or address == port.address:
                yield from rows

    def taken(self, row: int, ports: Iterable[HostPort]) -> HostPort | None:
        """The first of the ports that a pod on the node has."""
        for port in ports:
            for address, rows in self._held.get((port.protocol, port.port), {}).items():
                if row in rows and (EVERY_ADDRESS in (address, port.address) or address == port.address):
                    return port
        return None
