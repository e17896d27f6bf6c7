"""Many watches at once, over real sockets, with a client among them that does not read."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

from tensorfusion.embedded.store import HistoryLimits

PATH = "/api/v1/namespaces/default/configmaps"
BEHIND = 40
ROUND = 10
PAYLOAD = "x" * 16_384
PATIENCE = 200.0
"""Seconds: half a gigabyte goes over sockets, on whatever machine."""


class Watcher:
    """A watch on a bare socket, so that it is the test who decides what is read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen: list[str] = []

    @classmethod
    async def open(cls, client: Any, query: str = "", **options: Any) -> "Watcher":
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        for option, value in options.items():
            connection.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        await asyncio.get_running_loop().sock_connect(connection, str(client.path))
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 20)
        writer.write(
            f"GET {PATH}?watch=1{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n\r\n".encode()
        )
        found = cls(reader, writer)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return found

    def pause(self) -> None:
        """Read nothing from the socket, as a stopped program does."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it

    def go_on(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def line(self) -> bytes:
        """The next line of the body; empty at its end. Chunk sizes and blank lines between are left out."""
        while (line := await self.reader.readline()) and line != b"0\r\n":
            if line.startswith(b"{"):
                return line
        return b""

    async def read(self, count: int) -> None:
        for _ in range(count):
            event = json.loads(await self.line())
            assert event["type"] == "ADDED", event
            self.seen.append(event["object"]["metadata"]["name"])


async def write(client: Any, make: Callable[..., dict[str, Any]], names: list[str]) -> None:
    for name in names:
        await asyncio.to_thread(client.create, PATH, make(name, payload=PAYLOAD))


def metric(client: Any, name: str, label: str = "") -> float:
    lines = client("GET", "/metrics").raw.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and label in line)


def ended_early(client: Any) -> float:
    return metric(client, "apiserver_terminated_watchers_total")


def watches(client: Any) -> float:
    return metric(client, "apiserver_longrunning_requests", 'resource="configmaps"')


async def test_five_hundred_watchers_do_not_wait_for_the_one_that_does_not_read(
    start_server, make_config_map, until
) -> None:
    limits = HistoryLimits(subscriber_events=BEHIND)
    running = start_server(history=limits, cut_after=0.1)
    client = running.client
    version = client.get(PATH)["metadata"]["resourceVersion"]
    async with asyncio.timeout(PATIENCE):
        slow = await Watcher.open(client, f"&resourceVersion={version}", SO_RCVBUF=4096)
        slow.pause()
        others = [await Watcher.open(client, f"&resourceVersion={version}") for _ in range(499)]
        ended = ended_early(client)
        written: list[str] = []
        while ended_early(client) == ended:
            assert len(written) < 20 * ROUND, "the slow watch goes on for ever"
            names = [f"c{len(written) + number:03}" for number in range(ROUND)]
            await write(client, make_config_map, names)
            written += names
            await asyncio.gather(*(other.read(ROUND) for other in others))
            assert metric(client, "tensorfusion_store_watch_depth") <= BEHIND + ROUND
        assert all(other.seen == written for other in others)
        await asyncio.to_thread(until, lambda: watches(client) == 499)
        await write(client, make_config_map, ["after"])
        await asyncio.gather(*(other.read(1) for other in others))
        assert ended_early(client) == ended + 1
    for watcher in (slow, *others):
        watcher.writer.close()


async def test_a_slow_watcher_that_reads_on_in_time_is_told_that_it_is_too_late(start_server, make_config_map) -> None:
    running = start_server(history=HistoryLimits(subscriber_events=BEHIND), cut_after=PATIENCE)
    client = running.client
    async with asyncio.timeout(PATIENCE):
        version = client.get(PATH)["metadata"]["resourceVersion"]
        slow = await Watcher.open(client, f"&resourceVersion={version}", SO_RCVBUF=4096)
        slow.pause()
        ended = ended_early(client)
        number = 0
        while ended_early(client) == ended:
            await write(client, make_config_map, [f"c{number + place:03}" for place in range(ROUND)])
            number += ROUND
        slow.go_on()
        events = []
        while line := await slow.line():
            events.append(json.loads(line))
    added = [event["object"]["metadata"]["name"] for event in events if event["type"] == "ADDED"]
    assert added == [f"c{place:03}" for place in range(len(added))]
    assert len(added) < number
    assert events[-1]["type"] == "ERROR"
    assert (events[-1]["object"]["code"], events[-1]["object"]["reason"]) == (410, "Expired")
    slow.writer.close()


async def test_a_watch_whose_time_is_up_does_not_stay_for_a_client_that_does_not_read(
    start_server, make_config_map, until
) -> None:
    client = start_server(cut_after=0.1).client
    async with asyncio.timeout(PATIENCE):
        slow = await Watcher.open(client, "&timeoutSeconds=1", SO_RCVBUF=4096)
        slow.pause()
        await write(client, make_config_map, [f"c{number:03}" for number in range(5 * ROUND)])
        await asyncio.to_thread(until, lambda: watches(client) == 0)
    slow.writer.close()
