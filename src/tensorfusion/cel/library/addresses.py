"""Addresses of the internet and networks of them.

Source: apiserver pkg/cel/library/ip.go and cidr.go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Cost, Function, Library, Overload
from tensorfusion.cel.errors import EvaluationError, NoSuchOverload
from tensorfusion.cel.library.address_syntax import parse_address, parse_network
from tensorfusion.cel.texts import quoted
from tensorfusion.cel.types import BOOL, INT, STRING, opaque
from tensorfusion.cel.values import Opaque, Value

IP, CIDR = opaque("net.IP"), opaque("net.CIDR")
_IPV4 = 32
_MAPPED = 0xFFFF << 32


@dataclass(frozen=True, slots=True)
class Address(Opaque):
    """An address as a number of 32 or 128 bits."""

    number: int
    width: int
    TYPE = IP

    def __str__(self) -> str:
        return str(self.native)

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.width // 8

    @property
    def native(self) -> IPv4Address | IPv6Address:
        return IPv4Address(self.number) if self.width == _IPV4 else IPv6Address(self.number)


@dataclass(frozen=True, slots=True)
class Network(Opaque):
    """An address and how many of its bits name the network. The others need not be zero."""

    address: Address
    length: int
    TYPE = CIDR

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    @property
    def size(self) -> int:
        """The bytes of the prefix."""
        return -(-self.length // 8)


def _parse_ip(text: str) -> Address:
    try:
        number, width, zone = parse_address(text)
    except EvaluationError as error:
        raise EvaluationError(f"IP Address {quoted(text)} parse error during conversion from string: {error}") from None
    if zone:
        raise EvaluationError(f"IP address {quoted(text)} with zone value is not allowed")
    return _unmapped(text, number, width)


def _unmapped(text: str, number: int, width: int) -> Address:
    if width > _IPV4 and number >> 32 << 32 == _MAPPED:
        raise EvaluationError(f"IPv4-mapped IPv6 address {quoted(text)} is not allowed")
    return Address(number, width)


def _parse_cidr(text: str) -> Network:
    problem = "network address parse error during conversion from string: "
    try:
        number, width, length = parse_network(text)
    except EvaluationError as error:
        # The original says it twice.
        raise EvaluationError(f"{problem}{problem}{error}") from None
    try:
        return Network(_unmapped(text, number, width), length)
    except EvaluationError as error:
        raise EvaluationError(f"{problem}{error}") from None


def _is_valid(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def valid(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return valid


def _is_link_local_multicast(address: Address) -> bool:
    if address.width == _IPV4:
        return address.number >> 8 == 0xE00000
    return address.number >> 112 & 0xFF0F == 0xFF02


def _is_link_local_unicast(address: Address) -> bool:
    if address.width == _IPV4:
        return address.number >> 16 == 0xA9FE
    return address.number >> 118 == 0xFE80 >> 6


def _is_global_unicast(address: Address) -> bool:
    native = address.native
    return not (
        native.is_unspecified
        or native.is_loopback
        or native.is_multicast
        or _is_link_local_unicast(address)
        or native == IPv4Address(0xFFFFFFFF)
    )


def _holds(network: Network, address: Address) -> bool:
    unnamed = network.address.width - network.length
    return network.address.width == address.width and (network.address.number ^ address.number) >> unnamed == 0


def _contains_ip(network: Network, found: Value) -> bool:
    if isinstance(found, str):
        try:
            found = _parse_ip(found)
        except EvaluationError:
            raise NoSuchOverload from None
    return _holds(network, found)


def _contains_cidr(network: Network, found: Value) -> bool:
    inner = _parse_cidr(found) if isinstance(found, str) else found
    return network.length <= inner.length and _holds(network, inner.address)


def _masked(network: Network) -> Network:
    unnamed = network.address.width - network.length
    return Network(Address(network.address.number >> unnamed << unnamed, network.address.width), network.length)


def _cost_of_ip(arguments: Sequence[Value], _: Value) -> int:
    parsing = costs.letters(len(arguments[1])) if isinstance(arguments[1], str) else 0
    return costs.letters(arguments[0].size * 2) + parsing


def _cost_of_cidr(arguments: Sequence[Value], _: Value) -> int:
    return _cost_of_ip(arguments, None) + costs.letters(arguments[0].size) + 1


def _of_text(name: str, identifier: str, implementation: Callable[[str], Value], cost: Cost) -> Overload:
    result = {"ip": IP, "cidr": CIDR}.get(name, BOOL)
    return Overload(identifier, (STRING,), result, implementation, cost=cost)


def _test(name: str, identifier: str, implementation: Callable[[Address], bool]) -> Function:
    return Function(name, (Overload(identifier, (IP,), BOOL, implementation, member=True),))


_parsing = costs.over_first()

ADDRESSES: Library = (
    Function(
        "ip",
        (
            _of_text("ip", "string_to_ip", _parse_ip, _parsing),
            Overload("cidr_ip", (CIDR,), IP, lambda network: network.address, member=True),
        ),
    ),
    Function("isIP", (_of_text("isIP", "is_ip", _is_valid(_parse_ip), _parsing),)),
    Function(
        "ip.isCanonical",
        (_of_text("isCanonical", "ip_is_canonical", lambda text: str(_parse_ip(text)) == text, costs.over_first(2)),),
    ),
    Function(
        "family",
        (Overload("ip_family", (IP,), INT, lambda one: 4 if one.width == _IPV4 else 6, member=True),),
    ),
    _test("isUnspecified", "ip_is_unspecified", lambda address: address.number == 0),
    _test("isLoopback", "ip_is_loopback", lambda address: address.native.is_loopback),
    _test("isLinkLocalMulticast", "ip_is_link_local_multicast", _is_link_local_multicast),
    _test("isLinkLocalUnicast", "ip_is_link_local_unicast", _is_link_local_unicast),
    _test("isGlobalUnicast", "ip_is_global_unicast", _is_global_unicast),
    Function(
        "string", (Overload("ip_to_string", (IP,), STRING, str), Overload("cidr_to_string", (CIDR,), STRING, str))
    ),
    Function("cidr", (_of_text("cidr", "string_to_cidr", _parse_cidr, _parsing),)),
    Function("isCIDR", (_of_text("isCIDR", "is_cidr", _is_valid(_parse_cidr), _parsing),)),
    Function(
        "containsIP",
        (
            Overload("cidr_contains_ip_string", (CIDR, STRING), BOOL, _contains_ip, member=True, cost=_cost_of_ip),
            Overload("cidr_contains_ip_ip", (CIDR, IP), BOOL, _contains_ip, member=True, cost=_cost_of_ip),
        ),
    ),
    Function(
        "containsCIDR",
        (
            Overload(
                "cidr_contains_cidr_string", (CIDR, STRING), BOOL, _contains_cidr, member=True, cost=_cost_of_cidr
            ),
            Overload("cidr_contains_cidr", (CIDR, CIDR), BOOL, _contains_cidr, member=True, cost=_cost_of_cidr),
        ),
    ),
    Function("masked", (Overload("cidr_masked", (CIDR,), CIDR, _masked, member=True),)),
    Function("prefixLength", (Overload("cidr_prefix_length", (CIDR,), INT, lambda one: one.length, member=True),)),
)
