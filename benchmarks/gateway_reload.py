"""How long a change of a route takes to be in force under load, and whether it costs a request.

Goal: 200 ms from the acknowledged write to the first request that the new target answers, in every worker, and no
request fails. Clients ask, each 50 times a second at most, half of them for streams, while one route is pointed at one
of two backends and back again. Three sources of routes, one after another: a file (acknowledged is its new name), the
embedded API, and a real etcd and kube-apiserver where KUBEBUILDER_ASSETS names them (acknowledged is the answer to the
PATCH). The gateway has two workers and an account of its own; everything is on the cores of this machine together.

Rows: ``first`` is from the acknowledged write to the end of the first answer of the new target; ``last_old`` to when
the last request was sent that the old one still answered, 0 where there was none: from then on every worker knows.
"""

import argparse
import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import uvloop
import yaml

from _gateway_load import Answer, Asking, Client, at, request_of
from _report import Row, report
from _servers import assets, embedded, real
from tensorfusion.cli.install import install_into
from tensorfusion.gateway.keys.secret import Secret, new_secret
from tensorfusion.kube.client import Client as ApiClient
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.keys import GATEWAY_ACCOUNT
from tensorfusion.model.resources import LLM_KEYS, LLM_ROUTES

NAMESPACE: Final = "default"
MODEL: Final = "sim-small"
VERSION: Final = "tensor-fusion.ai/v1"
GOAL_MS: Final = 200.0
PATIENCE: Final = 20.0
"""Seconds for a change to be in force everywhere, and for a process to be ready."""
WORKERS: Final = 2
PACE: Final = ("--ttft", "0.005", "--tpot", "0.0005", "--answer-tokens", "8")
BACKEND: Final = ("testserver", "llm", "--port", "0", "--seen", "0", *PACE)
EVERY_SECONDS: Final = 0.02
"""Between two requests of a client at least."""
KEY_VARIABLE: Final = "BENCH_KEY"
_MS: Final = 1e6
_TARGET: Final = b"x-tf-target"

Write = Callable[[str], Awaitable[None]]
"""Points the route at the target of this name; back when that is acknowledged."""
Source = tuple[int, Write]
"""The port of a gateway, and how its route is changed."""


class Seen(NamedTuple):
    """An answer, and which target it is of; empty for none."""

    answer: Answer
    target: str


class Watching(Client):
    """A client that asks until ``finish``, and tells what it saw."""

    def __init__(self, asking: Asking, seen: list[Seen]) -> None:
        super().__init__(asking, left=1 << 60, until=1 << 62, answers=[])
        self._seen = seen
        self.target = ""
        """Who answered last."""
        self._told = ""
        self._next = asyncio.get_running_loop().time() + random.uniform(0, EVERY_SECONDS)

    def _ask(self) -> None:
        """Not before it is time, so that the load is the same however busy the machine is."""
        loop = asyncio.get_running_loop()
        self._next = max(self._next + EVERY_SECONDS, loop.time())
        loop.call_at(self._next, super()._ask)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == _TARGET:
            self._told = value.decode()

    def on_message_complete(self) -> None:
        answer, self.target, self._told = self._answer, self._told, ""
        super().on_message_complete()
        self._seen.append(Seen(answer, self.target))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._seen.append(Seen(self._answer, ""))
        super().connection_lost(error)

    def finish(self) -> None:
        """End behind the answer that is awaited."""
        self._until = 0


@dataclass(frozen=True)
class Change:
    """One that is in force everywhere. Times of ``perf_counter_ns``."""

    target: str
    acknowledged: int
    behind: int
    """When every client had an answer of the new target."""


async def changed(
    port: int, key: Secret, write: Write, *, changes: int, clients: int
) -> tuple[list[Change], list[Seen]]:
    """Change the route under load."""
    loop = asyncio.get_running_loop()
    seen: list[Seen] = []
    watching: list[Watching] = []
    for number in range(clients):
        asking = asking_of(port, key, stream=bool(number % 2))
        _, made = await loop.create_connection(partial(Watching, asking, seen), "127.0.0.1", port)
        watching.append(made)
    done: list[Change] = []
    chance = random.Random(1)
    for number in range(changes):
        target = "ba"[number % 2]
        await asyncio.sleep(chance.uniform(0.05, 0.25))
        await write(target)
        acknowledged = time.perf_counter_ns()
        by = loop.time() + PATIENCE
        while not all(one.target == target for one in watching if not one.ended.done()):
            if loop.time() > by:
                raise SystemExit(f"change {number} was not in force everywhere within {PATIENCE:g} s")
            await asyncio.sleep(0.002)
        done.append(Change(target, acknowledged, time.perf_counter_ns()))
    for one in watching:
        one.finish()
    await asyncio.gather(*(one.ended for one in watching))
    return done, seen


def asking_of(port: int, key: Secret, *, stream: bool) -> Asking:
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me of the gateway."}]}
    body |= {"stream": True} if stream else {}
    return Asking(port, request_of(port, (f"Authorization: Bearer {key.reveal()}",), msgspec.json.encode(body)), stream)


def rows_of(changes: list[Change], seen: list[Seen], told: dict[str, object]) -> Iterator[Row]:
    firsts, lasts = [], []
    began = 0
    for change in changes:
        mine = [one for one in seen if began < one.answer.ended <= change.behind and one.target]
        first = min(one.answer.ended for one in mine if one.target == change.target)
        old = [one.answer.asked for one in mine if one.target != change.target]
        firsts.append(max(0, first - change.acknowledged) / _MS)
        lasts.append(max(0, max(old, default=0) - change.acknowledged) / _MS)
        began = change.behind
    took = (max(one.answer.ended for one in seen) - min(one.answer.asked for one in seen)) / 1e9
    for name, values in (("first", firsts), ("last_old", lasts)):
        for share in (0.5, 0.99):
            yield Row(f"{name}_p{share * 100:.0f}", at(share, values), "ms", "goal", GOAL_MS, told)
    failed = sum(not one.answer.whole for one in seen)
    told = {**told, "requests": len(seen), "per_second": round(len(seen) / took)}
    yield Row("failed", failed, "requests", "goal", 0.0, told)


# --- processes ---


@contextmanager
def program(*arguments: str, word: str) -> Iterator[int]:
    """``tensorfusion`` with these arguments; the port of the address in the first line with this word."""
    command = [sys.executable, "-m", "tensorfusion", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if word in line), "")
            if not line:
                raise SystemExit(f"tensorfusion {arguments[0]} ended with {process.wait()}")
            yield int(line.split("127.0.0.1:")[1].split()[0])
        finally:
            process.terminate()
            process.stdout.close()
            process.wait(PATIENCE)


@asynccontextmanager
async def gateway(*options: str) -> AsyncIterator[int]:
    """Ours, once all its workers are ready; its port."""
    options = (*options, "--listen", "127.0.0.1:0", "--workers", str(WORKERS))
    with program("gateway", *options, word="listening on") as port:
        yield port


async def answered(port: int, key: Secret) -> None:
    """Wait until connections, whichever worker takes them, are answered."""
    by = time.monotonic() + PATIENCE
    good = 0
    while good < 8 * WORKERS:
        if time.monotonic() > by:
            raise SystemExit(f"the gateway did not answer within {PATIENCE:g} s")
        answers: list[Answer] = []
        with contextlib.suppress(OSError):
            _, made = await asyncio.get_running_loop().create_connection(
                partial(Client, asking_of(port, key, stream=False), left=1, until=0, answers=answers),
                "127.0.0.1",
                port,
            )
            await made.ended
        good = good + 1 if answers and answers[0].whole else 0
        if not good:
            await asyncio.sleep(0.1)


# --- where routes come from ---


def route_of(target: str, ports: dict[str, int], name: str = "bench", model: str = MODEL) -> dict[str, Any]:
    """To the backend of this name."""
    endpoint = f"http://127.0.0.1:{ports[target]}/v1"
    targets = [{"name": target, "provider": "self-hosted", "model": MODEL, "endpoint": endpoint}]
    metadata = {"name": name, "namespace": NAMESPACE}
    spec = {"strategy": "priority", "selector": {"modelPattern": f"^{model}$"}, "targets": targets}
    return {"apiVersion": VERSION, "kind": "LLMRoute", "metadata": metadata, "spec": spec}


def others(ports: dict[str, int], count: int) -> list[dict[str, Any]]:
    """Routes that nobody asks for."""
    return [route_of("a", ports, f"other-{number}", f"other-{number}") for number in range(count)]


@asynccontextmanager
async def by_file(folder: Path, ports: dict[str, int], key: Secret, routes: int) -> AsyncIterator[Source]:
    """A configuration file that is replaced."""
    file, fresh = folder / "routes.yaml", folder / "fresh"
    os.environ[KEY_VARIABLE] = key.reveal()
    keys = [{"name": "bench", "namespace": NAMESPACE, "keyFrom": {"env": KEY_VARIABLE}}]

    beside = yaml.safe_dump_all([{"keys": keys}, *others(ports, routes)]) + "---\n"

    async def write(target: str) -> None:
        fresh.write_text(beside + yaml.safe_dump(route_of(target, ports)))
        fresh.rename(file)

    await write("a")
    async with gateway("--config", str(file)) as port:
        yield port, write


@asynccontextmanager
async def by_objects(
    kubeconfig: Path, folder: Path, ports: dict[str, int], key: Secret, routes: int
) -> AsyncIterator[Source]:
    """Objects of an API."""
    accounts = folder / "accounts"
    accounts.mkdir()
    await install_into(kubeconfig, accounts)
    async with ApiClient(load_kubeconfig(kubeconfig)) as api:

        async def write(target: str) -> None:
            spec = route_of(target, ports)["spec"]
            await api.patch(LLM_ROUTES, "bench", {"spec": spec}, namespace=NAMESPACE)

        spec = {"hash": key.digest().hex()}
        body = {"apiVersion": VERSION, "kind": "LLMKey", "metadata": {"name": "bench"}, "spec": spec}
        await api.create(LLM_KEYS, body, namespace=NAMESPACE)
        for route in (route_of("a", ports), *others(ports, routes)):
            await api.create(LLM_ROUTES, route, namespace=NAMESPACE)
        async with gateway("--kubeconfig", str(accounts / f"{GATEWAY_ACCOUNT}.kubeconfig")) as port:
            yield port, write


# --- the run ---


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--routes", type=int, default=100, help="others beside the one that is changed")
    parser.add_argument("--source", choices=("file", "embedded", "real"), action="append", help="all of them")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    programs = assets()
    wanted = arguments.source or ["file", "embedded", *(["real"] if programs is not None else [])]
    key = new_secret()
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {name: stack.enter_context(program(*BACKEND, word="http://")) for name in "ab"}
        for source in wanted:
            async with AsyncExitStack() as serving:
                where = folder / source
                where.mkdir()
                if source == "file":
                    found = await serving.enter_async_context(by_file(where, ports, key, arguments.routes))
                else:
                    if source == "real" and programs is None:
                        raise SystemExit("KUBEBUILDER_ASSETS names no API server: run make kube-assets")
                    api = embedded(where / "api") if source == "embedded" else real(where / "api", programs or where)
                    kubeconfig = serving.enter_context(api).kubeconfig
                    found = await serving.enter_async_context(
                        by_objects(kubeconfig, where, ports, key, arguments.routes)
                    )
                port, write = found
                await answered(port, key)
                changes, seen = await changed(port, key, write, changes=arguments.changes, clients=arguments.clients)
                rows += rows_of(
                    changes,
                    seen,
                    {
                        "source": source,
                        "changes": len(changes),
                        "clients": arguments.clients,
                        "routes": 1 + arguments.routes,
                    },
                )
    report(rows, arguments.json)
    if any(row.value for row in rows if row.name == "failed"):
        raise SystemExit("requests failed")


if __name__ == "__main__":
    uvloop.run(main())
