"""How two gateways that do not know of each other share four replicas, one of them with most of the load.

Goal: the busiest replica gets at most 1.25 times the requests of the idlest one. With a herd, both gateways would run
to the same replica each time it tells that it is idle. The replicas are ``tensorfusion testserver llm`` with a few
places each, so that queues form and are told; the gateways are processes of their own with a file, the first with eight
times the clients of the second. Half of all answers are eight times as long as the others. The peer of a row is the
same load through one gateway, which knows all of it.

Rows: ``share_ratio`` is the busiest over the idlest replica, by the requests they got; ``waiting_ratio`` the busiest
over the mean, by the requests they had in hand at looks ten times a second; times of whole answers.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import statistics
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
import yaml

from _gateway_load import Answer, Asking, Client, at, request_of
from _report import Row, report
from gateway_reload import KEY_VARIABLE, NAMESPACE, VERSION, program
from tensorfusion.gateway.keys.secret import Secret, new_secret

REPLICAS: Final = 4
MODEL: Final = "sim-small"
SHORT, LONG = 8, 64
SERVER: Final = ("testserver", "llm", "--port", "0", "--ttft", "0.01", "--tpot", "0.002", "--concurrency", "4")
_RUNNING: Final = re.compile(r"^vllm:num_requests_(?:waiting|running)(?:\{[^}]*\})? ([0-9.e+]+)", re.MULTILINE)
_MS: Final = 1e6


def file_of(folder: Path, ports: list[int]) -> Path:
    """A configuration with one pool."""
    keys = [{"name": "bench", "namespace": NAMESPACE, "keyFrom": {"env": KEY_VARIABLE}}]
    pools = {"four": [f"http://127.0.0.1:{port}/v1" for port in ports]}
    targets = [{"name": "pool", "provider": "vllm", "model": MODEL, "gpuPool": "four"}]
    metadata = {"name": "bench", "namespace": NAMESPACE}
    route = {"apiVersion": VERSION, "kind": "LLMRoute", "metadata": metadata, "spec": {"targets": targets}}
    file = folder / "routes.yaml"
    file.write_text(yaml.safe_dump_all([{"keys": keys, "pools": pools}, route]))
    return file


def asking_of(port: int, key: Secret, tokens: int) -> Asking:
    body: dict[str, Any] = {"model": MODEL, "max_tokens": tokens}
    body["messages"] = [{"role": "user", "content": "Tell me of the gateway. " * tokens}]
    return Asking(port, request_of(port, (f"Authorization: Bearer {key.reveal()}",), msgspec.json.encode(body)), False)


async def client(port: int, key: Secret, until: float, answers: list[Answer], chance: random.Random) -> None:
    """Asks for a short or a long answer, one after the other."""
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        asking = asking_of(port, key, chance.choice((SHORT, LONG)))
        _, made = await loop.create_connection(
            partial(Client, asking, left=1, until=0, answers=answers), "127.0.0.1", port
        )
        await made.ended


def in_hand(port: int) -> float:
    """Requests that run or wait at a replica."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return sum(float(value) for value in _RUNNING.findall(answer.read().decode()))


def seen(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/testserver/seen", timeout=30) as answer:
        return sum(one["path"].startswith("/v1/chat") for one in json.loads(answer.read())["seen"])


async def loaded(ports: list[int], gateways: list[tuple[int, int]], key: Secret, seconds: float) -> dict[str, float]:
    """What came of a load: ``gateways`` are ports and numbers of clients."""
    before = [seen(port) for port in ports]
    answers: list[Answer] = []
    until = asyncio.get_running_loop().time() + seconds
    ratios: list[float] = []

    async def look() -> None:
        while True:
            await asyncio.sleep(0.1)
            hands = await asyncio.gather(*(asyncio.to_thread(in_hand, port) for port in ports))
            if sum(hands):
                ratios.append(max(hands) / statistics.mean(hands))

    looking = asyncio.create_task(look())
    chance = random.Random(1)
    clients = [(port, number) for port, count in gateways for number in range(count)]
    await asyncio.gather(*(client(port, key, until, answers, chance) for port, _ in clients))
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    shares = [seen(port) - had for port, had in zip(ports, before, strict=True)]
    times = [(one.ended - one.asked) / _MS for one in answers]
    return {
        "share_ratio": 100 * max(shares) / max(min(shares), 1),
        "waiting_ratio": 100 * statistics.mean(ratios),
        "answer_p50": at(0.5, times),
        "answer_p99": at(0.99, times),
        "failed": sum(not one.whole for one in answers),
        "requests": len(answers),
    }


def rows_of(two: dict[str, float], one: dict[str, float], told: dict[str, object]) -> Iterator[Row]:
    told = {**told, "requests": int(two["requests"])}
    yield Row("share_ratio", two["share_ratio"], "%", "goal", 125.0, told)
    for name, unit in (
        ("share_ratio", "%"),
        ("waiting_ratio", "%"),
        ("answer_p50", "ms"),
        ("answer_p99", "ms"),
    ):
        yield Row(name, two[name], unit, "one gateway", one[name], told)
    yield Row("failed", two["failed"], "requests", "goal", 0.0, told)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=27, help="of both gateways together, one in nine of the second")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    key = new_secret()
    os.environ[KEY_VARIABLE] = key.reveal()
    few = max(arguments.clients // 9, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [stack.enter_context(program(*SERVER, word="http://")) for _ in range(REPLICAS)]
        start = ("gateway", "--config", str(file_of(folder, ports)), "--listen", "127.0.0.1:0")
        first, second = (stack.enter_context(program(*start, word="listening on")) for _ in range(2))
        one = await loaded(ports, [(first, arguments.clients)], key, arguments.seconds)
        two = await loaded(ports, [(first, arguments.clients - few), (second, few)], key, arguments.seconds)
    rows = list(rows_of(two, one, {"replicas": REPLICAS, "clients": f"{arguments.clients - few}+{few}"}))
    report(rows, arguments.json)


if __name__ == "__main__":
    uvloop.run(main())
