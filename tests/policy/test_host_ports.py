"""Host ports and pod indices: the lowest free port, never one to two pods; indices that always can be encoded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.model import keys
from tensorfusion.policy.host_ports import (
    EXPIRY,
    INDICES,
    PortBook,
    PortRange,
    Reservation,
    decode_index,
    encode_index,
    host_port_of,
    next_index,
    parse_book,
    parse_range,
    wants_port,
)

SMALL = PortRange(42000, 42004)


@given(taken=st.sets(st.integers(41990, 42010)))
def test_the_lowest_free_port_is_given(taken: set[int]) -> None:
    free = [port for port in range(SMALL.start, SMALL.end) if port not in taken]
    assert SMALL.lowest_free(taken) == (free[0] if free else None)


def test_a_range_gives_exactly_its_ports() -> None:
    ports = parse_range("40000-42000", flag="--x")
    taken: set[int] = set()
    while (port := ports.lowest_free(taken)) is not None:
        taken.add(port)
    assert (len(taken), min(taken), max(taken)) == (2000, 40000, 41999)


@pytest.mark.parametrize("text", ["", "42000", "42000-", "-1-5", "0-5", "5-5", "6-5", "a-b", "1-70000", "1-2-3"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--x: wanted START-END"):
        parse_range(text, flag="--x")


def test_a_book_is_read_as_it_was_written() -> None:
    book = PortBook({42000: Reservation("abc", 5), 42001: Reservation("a.b-c", 6)})
    assert parse_book(book.text()) == book
    assert parse_book("x,42000,42001=a,=b@1,42002=c@later") == PortBook()


def test_an_id_keeps_its_port_while_its_pod_is_on_its_way() -> None:
    port, book = PortBook().reserve(SMALL, frozenset(), "a", 0)
    assert book.reserve(SMALL, frozenset(), "a", 50) == (port, book)
    other, book = book.reserve(SMALL, frozenset(), "b", 50)
    assert (port, other) == (42000, 42001)
    assert book.reserve(SMALL, frozenset(), "c", EXPIRY)[0] == 42000  # a never came


def test_a_range_that_is_used_up_gives_none() -> None:
    assert PortBook().reserve(SMALL, frozenset(range(42000, 42004)), "a", 0)[0] is None


@pytest.mark.parametrize("index", range(1, INDICES + 1))
def test_every_index_is_encoded_and_read_back(index: int) -> None:
    resource, amount = encode_index(index)
    assert decode_index(resource, amount) == index
    assert len(resource) == len(f"{keys.DOMAIN}/index_f")
    assert 1 <= amount <= 8
    assert 1 <= next_index(index) <= INDICES


def test_indices_go_round_and_others_stand_for_nothing() -> None:
    assert (next_index(0), next_index(INDICES), next_index(-7), next_index(900)) == (1, 1, 1, 1)
    assert encode_index(128) == (f"{keys.DOMAIN}/index_f", 8)
    for resource, amount in ((f"{keys.DOMAIN}/index_10", 1), (f"{keys.DOMAIN}/index_0", 9), ("cpu", 1)):
        assert decode_index(resource, amount) is None
    with pytest.raises(InvalidRequest):
        encode_index(129)


CONTAINERS = [
    {"name": "a", "ports": [{"name": "web", "containerPort": 80}]},
    {"name": "b", "ports": [{"name": "rpc", "containerPort": 90, "hostPort": 7}]},
]


def test_the_named_port_gets_the_host_port() -> None:
    found = host_port_of({keys.PORT_NAME: "rpc"}, CONTAINERS, {})
    assert (found.path, found.found, found.claimed) == ("/spec/containers/1/ports/0/hostPort", 7, None)
    assert host_port_of({}, CONTAINERS[:1], {}).path == "/spec/containers/0/ports/0/hostPort"


@pytest.mark.parametrize("labels", [{}, {keys.PORT_NAME: "none"}])
def test_without_one_port_to_choose_the_pod_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match=f"label {keys.PORT_NAME}: .*web, rpc"):
        host_port_of(labels, CONTAINERS, {})


def test_the_label_says_auto_or_nothing() -> None:
    assert wants_port({keys.HOST_PORT: "auto"})
    assert not wants_port({})
    with pytest.raises(InvalidRequest, match="wanted auto, found '80'"):
        wants_port({keys.HOST_PORT: "80"})


class Replicas(RuleBasedStateMachine):
    """Two replicas assign at once, by compare-and-swap; pods appear late, or never, and go."""

    def __init__(self) -> None:
        super().__init__()
        self.version, self.book, self.now, self.number = 0, "", 0, 0
        self.pods: dict[str, int] = {}
        self.coming: dict[str, tuple[int, int]] = {}
        """Admitted and not yet there: port, and when."""
        self.reads: dict[int, tuple[int, PortBook, frozenset[int], str, int]] = {}

    @rule(replica=st.integers(0, 1))
    def read(self, replica: int) -> None:
        """The book first, then the pods."""
        self.number += 1
        self.reads[replica] = (
            self.version,
            parse_book(self.book),
            frozenset(self.pods.values()),
            f"r{self.number}",
            self.now,
        )

    @precondition(lambda self: self.reads)
    @rule(replica=st.integers(0, 1))
    def swap(self, replica: int) -> None:
        version, book, held, id_, at = self.reads.pop(replica, (-1, PortBook(), frozenset(), "", 0))
        port, book = book.reserve(SMALL, held, id_, at)
        if version != self.version or port is None:
            return
        self.version, self.book = self.version + 1, book.text()
        self.coming[id_] = port, at

    @precondition(lambda self: self.coming)
    @rule(which=st.integers(0, 9), created=st.booleans())
    def answer(self, which: int, created: bool) -> None:
        id_ = sorted(self.coming)[which % len(self.coming)]
        port, at = self.coming.pop(id_)
        if created and self.now - at < EXPIRY:  # an API server has long given the request up otherwise
            self.pods[id_] = port

    @precondition(lambda self: self.pods)
    @rule(which=st.integers(0, 9))
    def end(self, which: int) -> None:
        del self.pods[sorted(self.pods)[which % len(self.pods)]]

    @rule(seconds=st.integers(1, EXPIRY))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def no_port_is_given_twice(self) -> None:
        ports = list(self.pods.values())
        assert len(set(ports)) == len(ports)
        assert all(port in SMALL for port in ports)


TestReplicas: Any = Replicas.TestCase
