"""What goes through, and what does not, however a connection's own fields are spelled."""

import pytest

from tensorfusion.gateway.passing import fields_back, fields_out

PLAIN = (b"X-Stainless-Lang", b"python")


@pytest.mark.parametrize("value", [b"close", b"keep-alive", b"Keep-Alive", b"keep-alive, close", b" close"])
def test_a_connection_that_names_no_field_takes_none_with_it(value: bytes) -> None:
    assert fields_out([(b"Connection", value), PLAIN]) == [PLAIN]


@pytest.mark.parametrize("value", [b"x-hop", b"keep-alive, X-Hop", b"close,x-hop"])
def test_what_a_connection_names_stays_out_in_both_directions(value: bytes) -> None:
    fields = [(b"x-hop", b"1"), PLAIN, (b"connection", value), (b"X-HOP", b"2")]
    assert fields_out(fields) == [PLAIN]
    assert fields_back(fields) == [PLAIN]


@pytest.mark.parametrize(
    "name", [b"Authorization", b"x-api-key", b"Host", b"Content-Length", b"Transfer-Encoding", b"TE", b"X-TF-Route"]
)
def test_what_is_between_two_ends_of_a_connection_does_not_go_out(name: bytes) -> None:
    assert fields_out([(name, b"1"), PLAIN]) == [PLAIN]
    assert fields_out([PLAIN, (name, b"1"), (b"Connection", b"x-other")]) == [PLAIN]


def test_a_name_that_is_none_does_not_go_out() -> None:
    assert fields_out([(b"a b", b"1"), (b"", b"2"), PLAIN]) == [PLAIN]
