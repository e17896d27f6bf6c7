"""Who may read metrics, which name the routes of all namespaces."""

from types import SimpleNamespace
from typing import Any

import pytest
from fronts import gateway, request, route

from tensorfusion.clock import SystemClock
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.errors import KeyRefused
from tensorfusion.gateway.keys.file import parse_keys
from tensorfusion.gateway.scraping import Scrape, require_reader
from tensorfusion.wire.request import Request

NAMES = ("OPS", "RED", "APP")
ENVIRON = {name: f"made-elsewhere-{name}-0123" for name in NAMES}


@pytest.fixture
def book() -> KeyBook:
    entries = [
        {"name": "ops", "keyFrom": {"env": "OPS"}, "scopes": ["admin"]},
        {"name": "red", "keyFrom": {"env": "RED"}, "scopes": ["admin"], "operator": False, "namespace": "red"},
        {"name": "app", "keyFrom": {"env": "APP"}},
    ]
    found = KeyBook(SystemClock())
    found.replace("file", parse_keys(entries, at="keys", environ=ENVIRON))
    return found


def scrape(peer: str, *fields: tuple[bytes, bytes]) -> Request:
    connection: Any = SimpleNamespace(peer=peer)  # Any: of a connection only its other end is looked at
    return Request(connection, b"GET", b"/metrics", fields)


def bearer(name: str) -> tuple[bytes, bytes]:
    return b"Authorization", f"Bearer {ENVIRON[name]}".encode()


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_whoever_is_on_the_machine_reads_them(book: KeyBook, peer: str) -> None:
    require_reader(scrape(peer), Scrape.LOOPBACK, book)
    with pytest.raises(KeyRefused):
        require_reader(scrape(peer), Scrape.KEY, book)


@pytest.mark.parametrize(
    ("peer", "fields"),
    [
        ("10.0.0.9", ()),
        ("::ffff:10.0.0.9", ()),
        ("", ()),
        ("127.0.0.1", ((b"X-Forwarded-For", b"10.0.0.9"),)),
        ("127.0.0.1", ((b"forwarded", b"for=10.0.0.9"),)),
    ],
)
def test_others_need_a_key_of_whoever_runs_the_gateway(
    book: KeyBook, peer: str, fields: tuple[tuple[bytes, bytes], ...]
) -> None:
    with pytest.raises(KeyRefused, match="no API key"):
        require_reader(scrape(peer, *fields), Scrape.LOOPBACK, book)
    with pytest.raises(KeyRefused, match="wanted scope admin"):
        require_reader(scrape(peer, *fields, bearer("APP")), Scrape.LOOPBACK, book)
    with pytest.raises(Fault, match="name the routes of all namespaces"):
        require_reader(scrape(peer, *fields, bearer("RED")), Scrape.LOOPBACK, book)
    require_reader(scrape(peer, *fields, bearer("OPS")), Scrape.LOOPBACK, book)
    require_reader(scrape(peer, *fields), Scrape.OPEN, book)


async def test_a_gateway_asks_who_reads_its_metrics(book: KeyBook) -> None:
    async with gateway(route({"endpoint": "http://127.0.0.1:1/v1"}), keys=book) as found:

        async def status(fields: bytes = b"") -> int:
            return (await request(found.port, "GET", "/metrics?x=1", fields=fields)).status

        assert await status() == 200
        passed_on = b"X-Forwarded-For: 10.0.0.9\r\n"
        assert await status(passed_on) == 401
        assert await status(passed_on + b": ".join(bearer("OPS")) + b"\r\n") == 200
