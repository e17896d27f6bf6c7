"""Give pods host ports of the cluster's range, and numbers for the device plugin: never one port to two pods.

What is held is read from the pods themselves; beside that there are *reservations*, for pods that were admitted and not
yet seen. A reservation ends when a pod with its port is seen, or after ``EXPIRY`` when none ever came. Whoever assigns
reads the reservations, then lists the pods, and writes the new reservation only if the reservations are still those
that were read; so a port is free here only if no pod has it and none can be on its way with it, whichever process asks,
and a process that starts needs nothing but what it reads.

The lowest free port is given. Ports are a bitmap in one integer: bit ``n`` is port ``start + n``.

Source: TensorFusion's port and index allocators. Upstream's index 128 cannot be encoded; here 1..128 are encoded as
0..127.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.model import keys

EXPIRY = 90
"""Seconds: an API server ends a request after 60, and clocks differ a little."""
INDICES = 128
_PER_RESOURCE = 8
_HIGHEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from ``start``, ``end`` not included."""

    start: int
    end: int

    def __contains__(self, port: int) -> bool:
        return self.start <= port < self.end

    def lowest_free(self, taken: Iterable[int]) -> int | None:
        """The lowest port that is not taken; None where all are."""
        used = 0
        for port in taken:
            if port in self:
                used |= 1 << (port - self.start)
        free = ~used & ((1 << (self.end - self.start)) - 1)
        return self.start + (free & -free).bit_length() - 1 if free else None


DEFAULT_RANGE = PortRange(42_000, 62_000)


def parse_range(text: str, *, flag: str) -> PortRange:
    """A range such as ``42000-62000``.

    Raises:
        ConfigError: it is none.
    """
    start, _, end = text.partition("-")
    numbers = [int(part) for part in (start, end) if part.isascii() and part.isdecimal() and len(part) <= 5]
    if len(numbers) != 2 or not 0 < numbers[0] < numbers[1] <= _HIGHEST_PORT + 1:
        raise ConfigError(f"{flag}: wanted START-END with 0 < START < END, END not included, found {text!r}")
    return PortRange(*numbers)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A port for a pod that is on its way; ``at`` in Unix seconds."""

    id: str
    at: int


@dataclass(frozen=True, slots=True)
class PortBook:
    """The reservations as they are written down."""

    reserved: Mapping[int, Reservation] = field(default_factory=dict)

    def of(self, id_: str) -> int | None:
        """The port that was reserved under an id."""
        return next((port for port, found in self.reserved.items() if found.id == id_), None)

    def pruned(self, held: frozenset[int], now: int) -> "PortBook":
        """The reservations that still count, given the ports of all pods, listed after these were read and ``now``."""
        return PortBook(
            {port: found for port, found in self.reserved.items() if port not in held and now - found.at < EXPIRY}
        )

    def reserve(self, ports: PortRange, held: frozenset[int], id_: str, now: int) -> tuple[int | None, "PortBook"]:
        """The lowest port that is free, and the book with it; None where the range is used up.

        ``now`` is a moment before the pods that hold ``held`` were listed: a reservation that ended behind that may be
        of a pod that is not among them.
        """
        known = self.of(id_)
        if known is not None:
            return known, self
        book = self.pruned(held, now)
        port = ports.lowest_free([*held, *book.reserved])
        if port is None:
            return None, book
        return port, PortBook({**book.reserved, port: Reservation(id_, now)})

    def text(self) -> str:
        """As it is written down."""
        return ",".join(f"{port}={found.id}@{found.at}" for port, found in self.reserved.items())


def parse_book(text: str) -> PortBook:
    """A book as it was written down; what cannot be read counts for nothing."""
    reserved = {}
    for entry in text.split(","):
        port, _, rest = entry.partition("=")
        id_, _, at = rest.rpartition("@")
        if port.isdecimal() and at.isdecimal() and len(port) <= 5 and len(at) <= 12:
            reserved[int(port)] = Reservation(id_, int(at))
    return PortBook(reserved)


def port_of(annotations: Mapping[str, str]) -> int | None:
    """The host port that a pod was given."""
    text = annotations.get(keys.PORT_NUMBER, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else None


def wants_port(labels: Mapping[str, str]) -> bool:
    """Whether a pod asks for a host port.

    Raises:
        InvalidRequest: the label has another value than ``auto``.
    """
    text = labels.get(keys.HOST_PORT)
    if text not in (None, "auto"):
        raise InvalidRequest(f"label {keys.HOST_PORT}: wanted auto, found {text!r}")
    return text is not None


@dataclass(frozen=True, slots=True)
class HostPort:
    """A wish for a host port: the JSON path of the field that gets it, and what it holds now.

    ``claimed`` is the port that the pod already carries: admission looks at a pod again after others changed it.
    """

    path: str
    found: int | None
    claimed: int | None = None


def host_port_of(
    labels: Mapping[str, str], containers: Iterable[Mapping[str, Any]], annotations: Mapping[str, str]
) -> HostPort:
    """Which container port of a new pod gets a host port.

    Raises:
        InvalidRequest: no port of that name, or several ports and none named.
    """
    wanted = labels.get(keys.PORT_NAME)
    found = [
        (str(port.get("name", "")), f"/spec/containers/{place}/ports/{number}/hostPort", port.get("hostPort"))
        for place, container in enumerate(containers)
        for number, port in enumerate(container.get("ports") or ())
    ]
    chosen = [(path, now) for name, path, now in found if wanted in (None, name)]
    if len(chosen) == 1:
        return HostPort(*chosen[0], claimed=port_of(annotations) if keys.PORT_NUMBER in annotations else None)
    names = ", ".join(name or "(without a name)" for name, _, _ in found) or "none"
    raise InvalidRequest(
        f"label {keys.PORT_NAME}: wanted the name of one container port, found {wanted or 'none'!r}: "
        f"the ports of the pod are {names}"
    )


def encode_index(index: int) -> tuple[str, int]:
    """The extended resource and the amount that stand for an index of 1 to 128."""
    if not 1 <= index <= INDICES:
        raise InvalidRequest(f"pod index: wanted 1 to {INDICES}, found {index}")
    resource, amount = divmod(index - 1, _PER_RESOURCE)
    return f"{keys.DOMAIN}/index_{resource:x}", amount + 1


def decode_index(resource: str, amount: int) -> int | None:
    """The index that a resource and its amount stand for; None where they stand for none."""
    digit = resource.removeprefix(f"{keys.DOMAIN}/index_")
    if len(digit) != 1 or digit not in "0123456789abcdef" or not 1 <= amount <= _PER_RESOURCE:
        return None
    return int(digit, 16) * _PER_RESOURCE + amount


def next_index(last: int) -> int:
    """The index after one that was given: 1 to 128, and 1 again."""
    return last % INDICES + 1 if 0 <= last <= INDICES else 1
