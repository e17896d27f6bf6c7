"""Addresses and networks: values and errors as Kubernetes has them."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_calls import problem_of, value_of

from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.library.address_syntax import parse_address, parse_network

VALUES = [
    ("isIP('1.2.3.4')", True),
    ("isIP('1.2.3.04')", False),
    ("isIP('fe80::1%eth0')", False),
    ("isIP('::ffff:1.2.3.4')", False),
    ("ip.isCanonical('127.0.0.1')", True),
    ("ip.isCanonical('2001:db8::abcd')", True),
    ("ip.isCanonical('2001:DB8::ABCD')", False),
    ("ip.isCanonical('2001:db8::0:0:0:abcd')", False),
    ("ip.isCanonical('0:0:0:0:0:0:0:1')", False),
    ("ip.isCanonical('1:0:2:3:4:5:6:7')", True),
    ("ip.isCanonical('1::2:3:4:5:6:7')", False),
    ("ip.isCanonical('1:0:0:2:0:0:0:7')", False),
    ("ip.isCanonical('1:0:0:2::7')", True),
    ("ip.isCanonical('::1.2.3.4')", False),
    ("ip.isCanonical('::102:304')", True),
    ("ip('1.2.3.4').family()", 4),
    ("ip('::1').family()", 6),
    ("ip('0.0.0.0').isUnspecified()", True),
    ("ip('::').isUnspecified()", True),
    ("ip('::1').isUnspecified()", False),
    ("ip('127.9.9.9').isLoopback()", True),
    ("ip('::1').isLoopback()", True),
    ("ip('192.168.0.1').isLoopback()", False),
    ("ip('224.0.0.1').isLinkLocalMulticast()", True),
    ("ip('224.0.1.1').isLinkLocalMulticast()", False),
    ("ip('ff02::1').isLinkLocalMulticast()", True),
    ("ip('ff12::1').isLinkLocalMulticast()", True),
    ("ip('ff05::1').isLinkLocalMulticast()", False),
    ("ip('fd00::1').isLinkLocalMulticast()", False),
    ("ip('169.254.169.254').isLinkLocalUnicast()", True),
    ("ip('192.168.0.1').isLinkLocalUnicast()", False),
    ("ip('fe80::1').isLinkLocalUnicast()", True),
    ("ip('febf::1').isLinkLocalUnicast()", True),
    ("ip('fec0::1').isLinkLocalUnicast()", False),
    ("ip('192.168.0.1').isGlobalUnicast()", True),
    ("ip('255.255.255.255').isGlobalUnicast()", False),
    ("ip('0.0.0.0').isGlobalUnicast()", False),
    ("ip('::').isGlobalUnicast()", False),
    ("ip('224.0.0.1').isGlobalUnicast()", False),
    ("ip('239.0.0.1').isGlobalUnicast()", False),
    ("ip('127.0.0.1').isGlobalUnicast()", False),
    ("ip('169.254.0.1').isGlobalUnicast()", False),
    ("ip('2001:db8::abcd').isGlobalUnicast()", True),
    ("ip('ff00::1').isGlobalUnicast()", False),
    ("ip('fe80::1').isGlobalUnicast()", False),
    ("ip('240.0.0.1').isGlobalUnicast()", True),
    ("string(ip('2001:DB8:0:0::1'))", "2001:db8::1"),
    ("string(ip('::'))", "::"),
    ("string(ip('1:0:2:3:4:5:6:7'))", "1:0:2:3:4:5:6:7"),
    ("string(ip('::1.2.3.4'))", "::102:304"),
    ("string(cidr('10.1.2.3/8'))", "10.1.2.3/8"),
    ("ip('1.2.3.4') == ip('1.2.3.4')", True),
    ("ip('::1') == ip('0:0::1')", True),
    ("dyn(1) == ip('::1')", False),
    ("isCIDR('192.168.0.0/16')", True),
    ("isCIDR('192.168.0.0')", False),
    ("isCIDR('::1/129')", False),
    ("cidr('192.168.0.0/24').containsIP(ip('192.168.0.1'))", True),
    ("cidr('192.168.0.0/24').containsIP('192.168.1.1')", False),
    ("cidr('192.168.0.0/24').containsIP('::1')", False),
    ("cidr('::/0').containsIP('::1')", True),
    ("cidr('0.0.0.0/0').containsIP('1.2.3.4')", True),
    ("cidr('192.168.0.5/24').containsIP('192.168.0.1')", True),
    ("cidr('192.168.0.0/16').containsCIDR(cidr('192.168.10.0/24'))", True),
    ("cidr('192.168.1.0/24').containsCIDR('192.168.2.0/24')", False),
    ("cidr('192.168.0.0/16').containsCIDR('192.168.10.0/8')", False),
    ("cidr('192.168.0.0/16').containsCIDR('::/24')", False),
    ("cidr('192.168.0.0/16').containsCIDR('192.168.0.9/16')", True),
    ("cidr('::1/128').ip().family()", 6),
    ("cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24')", True),
    ("cidr('192.168.0.1/24') == cidr('192.168.0.0/24')", False),
    ("cidr('::1/128').prefixLength()", 128),
    ("cidr('192.168.0.0/16').prefixLength()", 16),
    ("ip('::1') in [ip('0::1')]", True),
    ("cidr('::1/128') == cidr('::0:1/128')", True),
    ("cidr('1.2.3.4/20').containsIP('1.2.3.4')", True),
    ("cidr('2001:db8::/35').containsIP('2001:db8::1')", True),
    ("cidr('2001:db8::/35').containsCIDR('2001:db8::/36')", True),
]
PROBLEMS = [
    (
        "ip('127.0.0.256')",
        'IP Address "127.0.0.256" parse error during conversion from string: ParseAddr("127.0.0.256"): IPv4 field has value >255',
    ),
    (
        "ip('127.0.0.01')",
        'IP Address "127.0.0.01" parse error during conversion from string: ParseAddr("127.0.0.01"): IPv4 field has octet with leading zero',
    ),
    (
        "ip('127.0.0')",
        'IP Address "127.0.0" parse error during conversion from string: ParseAddr("127.0.0"): IPv4 address too short',
    ),
    (
        "ip('1.2.3.4.5')",
        'IP Address "1.2.3.4.5" parse error during conversion from string: ParseAddr("1.2.3.4.5"): IPv4 address too long',
    ),
    (
        "ip('1.2..4')",
        'IP Address "1.2..4" parse error during conversion from string: ParseAddr("1.2..4"): IPv4 field must have at least one digit (at ".4")',
    ),
    (
        "ip('.1.2.3')",
        'IP Address ".1.2.3" parse error during conversion from string: ParseAddr(".1.2.3"): IPv4 field must have at least one digit (at ".1.2.3")',
    ),
    (
        "ip('1.2.3.')",
        'IP Address "1.2.3." parse error during conversion from string: ParseAddr("1.2.3."): IPv4 field must have at least one digit (at ".")',
    ),
    (
        "ip('1.2.3.a')",
        'IP Address "1.2.3.a" parse error during conversion from string: ParseAddr("1.2.3.a"): unexpected character (at "a")',
    ),
    (
        "ip('1.2.3.4444')",
        'IP Address "1.2.3.4444" parse error during conversion from string: ParseAddr("1.2.3.4444"): IPv4 field has value >255',
    ),
    ("ip('')", 'IP Address "" parse error during conversion from string: ParseAddr(""): unable to parse IP'),
    (
        "ip('abc')",
        'IP Address "abc" parse error during conversion from string: ParseAddr("abc"): unable to parse IP',
    ),
    (
        "ip(':::1')",
        'IP Address ":::1" parse error during conversion from string: ParseAddr(":::1"): each colon-separated field must have at least one digit (at ":1")',
    ),
    (
        "ip('1::2::3')",
        'IP Address "1::2::3" parse error during conversion from string: ParseAddr("1::2::3"): multiple :: in address (at ":3")',
    ),
    (
        "ip('1:2:3:4:5:6:7')",
        'IP Address "1:2:3:4:5:6:7" parse error during conversion from string: ParseAddr("1:2:3:4:5:6:7"): address string too short',
    ),
    (
        "ip('2001:db8:')",
        'IP Address "2001:db8:" parse error during conversion from string: ParseAddr("2001:db8:"): colon must be followed by more characters (at ":")',
    ),
    ("ip('fe80::1%eth0')", 'IP address "fe80::1%eth0" with zone value is not allowed'),
    (
        "ip('fe80::1%')",
        'IP Address "fe80::1%" parse error during conversion from string: ParseAddr("fe80::1%"): zone must be a non-empty string',
    ),
    ("ip('::ffff:1.2.3.4')", 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
    (
        "ip('1.2.3.4%x')",
        'IP Address "1.2.3.4%x" parse error during conversion from string: ParseAddr("1.2.3.4%x"): unexpected character (at "%x")',
    ),
    (
        "ip('::1.2.3')",
        'IP Address "::1.2.3" parse error during conversion from string: ParseAddr("::1.2.3"): IPv4 address too short',
    ),
    (
        "ip('::1.2.3.456')",
        'IP Address "::1.2.3.456" parse error during conversion from string: ParseAddr("::1.2.3.456"): IPv4 field has value >255',
    ),
    (
        "ip('::x')",
        'IP Address "::x" parse error during conversion from string: ParseAddr("::x"): each colon-separated field must have at least one digit (at "x")',
    ),
    (
        "ip(':1')",
        'IP Address ":1" parse error during conversion from string: ParseAddr(":1"): each colon-separated field must have at least one digit (at ":1")',
    ),
    (
        "ip('1:')",
        'IP Address "1:" parse error during conversion from string: ParseAddr("1:"): colon must be followed by more characters (at ":")',
    ),
    (
        "ip('::1:')",
        'IP Address "::1:" parse error during conversion from string: ParseAddr("::1:"): colon must be followed by more characters (at ":")',
    ),
    (
        "ip('1:::2')",
        'IP Address "1:::2" parse error during conversion from string: ParseAddr("1:::2"): each colon-separated field must have at least one digit (at ":2")',
    ),
    (
        "ip('1:2:3:4:5:6:7:8x')",
        'IP Address "1:2:3:4:5:6:7:8x" parse error during conversion from string: ParseAddr("1:2:3:4:5:6:7:8x"): unexpected character, want colon (at "x")',
    ),
    ("ip('é')", 'IP Address "é" parse error during conversion from string: ParseAddr("é"): unable to parse IP'),
    (
        "ip(' 1.2.3.4')",
        'IP Address " 1.2.3.4" parse error during conversion from string: ParseAddr(" 1.2.3.4"): unexpected character (at " 1.2.3.4")',
    ),
    (
        "ip('1.2.3.4/8')",
        'IP Address "1.2.3.4/8" parse error during conversion from string: ParseAddr("1.2.3.4/8"): unexpected character (at "/8")',
    ),
    (
        "ip.isCanonical('zz')",
        'IP Address "zz" parse error during conversion from string: ParseAddr("zz"): unable to parse IP',
    ),
    ("ip('::1') == dyn(1)", "no such overload"),
    (
        "cidr('::ffff:1.2.3.4/24')",
        'network address parse error during conversion from string: IPv4-mapped IPv6 address "::ffff:1.2.3.4/24" is not allowed',
    ),
    (
        "cidr('')",
        "network address parse error during conversion from string: network address parse error during conversion from string: netip.ParsePrefix(\"\"): no '/'",
    ),
    ("cidr('192.168.0.0/24').containsIP('zz')", "no such overload"),
]


@pytest.mark.parametrize(("expression", "wanted"), VALUES)
def test_a_call_gives_what_kubernetes_gives(expression: str, wanted: object) -> None:
    found = value_of(expression)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize(("expression", "problem"), PROBLEMS)
def test_a_call_fails_in_the_words_of_kubernetes(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem


@given(st.ip_addresses())
def test_every_address_is_read(address: object) -> None:
    number, width, zone = parse_address(str(address))
    assert (number, width, zone) == (int(ip_address(str(address))), ip_address(str(address)).max_prefixlen, "")


@given(st.text(alphabet="0123456789abcdef:.%", max_size=24))
def test_what_is_read_as_an_address_is_one(text: str) -> None:
    try:
        number, _, _ = parse_address(text)
    except EvaluationError:
        return
    assert number == int(ip_address(text.partition("%")[0]))


@given(st.ip_addresses(), st.integers(0, 128))
def test_every_network_is_read(address: object, length: int) -> None:
    text = f"{address}/{min(length, ip_address(str(address)).max_prefixlen)}"
    number, width, found = parse_network(text)
    network = ip_network(text, strict=False)
    assert (number >> width - found << width - found, found) == (int(network.network_address), network.prefixlen)
