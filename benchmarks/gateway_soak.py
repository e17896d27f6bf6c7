"""Whether the AI gateway keeps anything, or tells anything wrong, over many requests: some fail, and some are left.

Three processes: this one with the clients, ``tensorfusion gateway --config`` with keys, limits, log and metrics, and
``tensorfusion testserver llm`` behind it. One request in a hundred meets a fault there, one in twenty is left by its
client: within its head, within its body, at once behind it, at the first byte of the answer, in the middle of that.
Half of the requests are streams. With ``--changes`` the routes are changed so many times meanwhile.

The script ends with 1 when

- an answer that looks whole is not word by word what the model says, or an error was told without any fault;
- a request has no record, or two, or one that says something else than the client saw;
- a client was told an error that does not follow from the faults that its request met, as the backend remembers them:
  every target was asked, and every attempt met one. So an error that came of a change of routes, of a circuit or a
  budget that one request in a hundred should not touch, is found; what the machine did by standing still - the
  backend itself, asked past the gateway, took longer than a second - is told apart. Where more than one request in
  fifty meets a fault, circuits do open and budgets do end: there one fault is enough;
- requests are counted as under way when none is: in the limits of key and route, or at a target;
- memory has grown since a fifth of the requests, or descriptors are open that were not at the beginning.

A million requests are ``--requests 1000000``; the log they write takes about 700 MB of the temporary folder.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httptools
import msgspec
import numpy as np
import uvloop
import yaml

from _gateway_load import memory_of, processor_seconds, request_of
from _gateway_sides import CORES, Side, backend, gateway, routes_of
from _report import Row, report
from tensorfusion.gateway.limits.page import RECORD_WORDS, RECORDS_AT
from tensorfusion.gateway.limits.table import COUNT, RESERVED

CLIENTS: Final = 64
WORDS: Final = 8
PROMPTS: Final = 16
WARM_SHARE: Final = 0.2
MOST_GROWTH: Final = 1.03
SLACK: Final = 4 << 20
"""Bytes that memory may grow in any case: what an allocator moves about."""
FAULTS: Final = (
    *("reset", "hang", "error", "unavailable", "rate-limit", "slow-head;seconds=0.2", "invalid-json"),
    *("wrong-content-type", "cut;after=3", "cut-reset;after=4", "short-end;after=3", "broken-chunk;after=5"),
    *("stall;after=3", "error-event;after=4", "malformed-event;after=2", "no-done", "slow-drip"),
)
HARMLESS: Final = ("slow-head", "malformed-event", "no-done", "slow-drip")
"""Faults that fail no attempt."""
SILENCES: Final = ("silent", "first-token", "stall", "connect")
"""Outcomes of attempts at a target that does nothing."""
SEEN: Final = 50_000
"""Requests that the backend remembers: those of seconds, between two looks."""
LOOK_SECONDS: Final = 0.25
LATE_SECONDS: Final = 1.0
"""The backend is asked how it is: later than that it stood still, and so did the machine."""
FEW: Final = 0.02
"""Part of the requests whose faults open no circuit, and use up no budget of further attempts."""
LONGEST_SHUT: Final = 65.0
"""Seconds that a circuit may stay open behind failures."""
PHASES: Final = ("head", "body", "sent", "first", "middle")
TARGETS: Final = {"a": "sim-small", "b": "sim-other"}
"""Names of targets, and of their models, which say the same."""
MORE: Final = {
    "timeout": "3s",
    "firstTokenTimeout": "3s",
    "retry": {"maxRetries": 2, "initialDelay": "10ms", "maxDelay": "50ms"},
}
# What a client saw of a request: how many records it must have follows from it.
NOTHING, UNSENT, MAYBE, LEFT, GOOD, FAILED = range(6)


class Client(asyncio.Protocol):
    """One connection. ``whole`` is set when an answer is, ``some`` with its first byte, ``wanted`` bytes or its end."""

    def __init__(self) -> None:
        self.open = True
        self._changed = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.received = 0
        self.whole = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # Any: uvloop's are not of asyncio's class

    async def ask(self, data: bytes, *, most: float = float("inf")) -> int:
        """Send a request and wait for its answer, or for so many bytes of it; its status, 0 for a cut one."""
        self._begin()
        self.transport.write(data)
        while self.open and not self.whole and self.received < most:
            self._changed.clear()
            await self._changed.wait()
        return self._parser.get_status_code() if self.received else 0

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._parser.feed_data(data)
        self._changed.set()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._changed.set()


@dataclass
class Watch:
    """Looks at the backend, past the gateway: which request met which fault, and when the machine stood still."""

    url: str
    few: bool
    """So few requests meet a fault that every target must have been asked."""
    met: dict[int, list[str]] = field(default_factory=dict)
    """Faults by the number of the request, in their order."""
    late: list[tuple[float, float]] = field(default_factory=list)
    """Spans of Unix seconds."""
    _last: int = 0

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        began = time.time()
        told = await asyncio.to_thread(read, f"{self.url}/testserver/seen?since={self._last}&faults=1")
        if time.time() - began > LATE_SECONDS:
            self.late.append((began, time.time()))
        for one in json.loads(told)["seen"]:
            self._last = max(self._last, one["number"])
            self.met.setdefault(number_of(one["headers"].get("x-request-id", "")), []).append(one["fault"])

    def stood_still(self, since: float, until: float) -> bool:
        return any(began <= until and ended >= since for began, ended in self.late)

    def why(self, record: Mapping[str, Any]) -> str:
        """What the error of a request follows from; empty where from nothing that is known."""
        attempts = [(one["target"], one["outcome"].partition(":")[0]) for one in record["attempts"]]
        ended = record["timestamp"] + record["latency_ms"] / 1000
        if not attempts:
            if record["error_type"] != "no_healthy_target":
                return ""
            if self.stood_still(ended - LONGEST_SHUT, ended):
                return "circuits were open behind a standstill of the machine"
            return "" if self.few else "circuits were open"
        met = [fault.partition(";")[0] for fault in self.met.get(number_of(record["request_id"]), ())]
        harmful = [fault for fault in met if fault not in HARMLESS]
        if len(harmful) >= len(attempts) and len({target for target, _ in attempts}) == len(TARGETS):
            return "a fault at every target: " + ", ".join(harmful)
        silent = sum(outcome in SILENCES for _, outcome in attempts)
        if len(harmful) + silent >= len(attempts) and self.stood_still(record["timestamp"], ended):
            return "the machine stood still"
        if harmful and not self.few:
            return "a fault, and no other target that could be asked: " + ", ".join(harmful)
        return ""


@dataclass
class Soak:
    """One run. ``said`` is what the model says to each prompt."""

    side: Side
    said: list[str]
    requests: int
    dice: random.Random
    left_share: float
    seen: bytearray = field(init=False)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    why: Counter[str] = field(default_factory=Counter)
    """What errors of clients follow from."""
    unexplained: int = 0
    begun: int = 0

    def __post_init__(self) -> None:
        self.seen = bytearray(self.requests + 1)

    async def run_to(self, mark: int) -> None:
        """Ask until so many requests are over; all connections are closed then."""
        await asyncio.gather(*(self._client(mark) for _ in range(CLIENTS)))

    async def _client(self, mark: int) -> None:
        loop = asyncio.get_running_loop()
        client: Client | None = None
        while self.begun < mark and len(self.wrong) < 10:
            self.begun += 1
            number = self.begun
            prompt, stream = number % PROMPTS, self.dice.random() < 0.5
            left = self.dice.random() < self.left_share
            if client is None or not client.open:
                _, client = await loop.create_connection(Client, "127.0.0.1", self.side.port)
            fields = [*self.side.fields, f"x-request-id: soak-{number}"]
            data = request_of(self.side.port, fields, body_of(self.side.model, prompt, stream=stream))
            if left:
                await self._leave(client, number, data)
                client = None
                continue
            status = await client.ask(data)
            self._judge(number, client, status, self.said[prompt], stream=stream)
            if self.dice.random() < 0.01:
                client.transport.close()
                client = None
        if client is not None:
            client.transport.close()

    async def _leave(self, client: Client, number: int, data: bytes) -> None:
        """Go within the request, or a moment behind it."""
        phase = self.dice.choice(PHASES)
        self.outcomes[f"left: {phase}"] += 1
        head = data.index(b"\r\n\r\n") + 4
        match phase:
            case "head":
                self.seen[number] = UNSENT
                client.transport.write(data[: self.dice.randrange(1, head)])
                await asyncio.sleep(self.dice.random() * 0.01)
            case "body":
                self.seen[number] = UNSENT
                client.transport.write(data[: self.dice.randrange(head, len(data))])
                await asyncio.sleep(self.dice.random() * 0.01)
            case "sent":
                self.seen[number] = MAYBE
                client.transport.write(data)
                await asyncio.sleep(self.dice.random() * 0.01)
            case _:
                most = 1 if phase == "first" else self.dice.randrange(1, 4000)
                status = await client.ask(data, most=most)
                self.seen[number] = LEFT if status else MAYBE
        if self.dice.random() < 0.5:
            client.transport.abort()
        else:
            client.transport.close()

    def _judge(self, number: int, client: Client, status: int, said: str, *, stream: bool) -> None:
        body, told = client.body, ""
        if status == 200 and client.whole:
            told = text_of(body, stream=stream)
        if told == said:
            self.seen[number] = GOOD
            self.outcomes["good stream" if stream else "good whole"] += 1
        elif client.whole and (status >= 400 or (stream and b'data: {"error"' in body and b"[DONE]" not in body)):
            self.seen[number] = FAILED
            error = json.loads(body if status >= 400 else body.rpartition(b"data: ")[2])["error"]
            self.outcomes[f"failed: {status} {error['type']}"] += 1
        else:
            self.wrong.append(f"request {number} was answered with {status} {body[-300:]!r}, whole={client.whole}")

    def _explain(self, record: Mapping[str, Any], watch: Watch) -> None:
        why = watch.why(record)
        self.unexplained += not why
        how = "a stream" if record["stream"] else "a whole answer"
        self.why[f"{how}, {record['status']} {record['error_type']}: {why or 'not explained'}"] += 1
        if not why:
            met = watch.met.get(number_of(record["request_id"]), [])
            self.wrong.append(f"request {record['request_id']} failed, and it met {met}: {record}")

    def check_records(self, log: Path, watch: Watch) -> None:
        """Each request has one record, and that says what its client saw."""
        counts, beyond = bytearray(self.requests + 1), 0
        with log.open("rb") as lines:
            for line in lines:
                record = msgspec.json.decode(line)
                if not record["request_id"]:  # of those that were left before they were whole, too many for one each
                    beyond += record["requests"]
                    continue
                number = number_of(record["request_id"])
                counts[number] += 1
                good = record["status"] == 200 and not record["error_type"]
                seen = self.seen[number]
                let_in = bool(record["route"])
                if seen == FAILED:
                    self._explain(record, watch)
                if (
                    (seen == GOOD and not good)
                    or (seen == FAILED and good)
                    or seen == NOTHING
                    or (seen == UNSENT and let_in)
                ):
                    self.wrong.append(f"request {number} ({seen}) has the record {line!r}")
        for number in range(1, self.begun + 1):
            least = 0 if self.seen[number] in (UNSENT, MAYBE) else 1
            if not least <= counts[number] <= 1:
                self.wrong.append(f"request {number} ({self.seen[number]}) has {counts[number]} records")
        without = self.begun - sum(counts)
        if beyond > without:
            self.wrong.append(f"{beyond} requests are told of together, and {without} have no record of their own")
        self.outcomes["records"] = sum(counts)
        self.outcomes["told of together"] = beyond


def number_of(request_id: str) -> int:
    """Of a request; -1 of one that is none of these."""
    return int(request_id.removeprefix("soak-")) if request_id.startswith("soak-") else -1


def body_of(model: str, prompt: int, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": f"Say number {prompt}. " + "z" * 500}]
    return msgspec.json.encode({"model": model, "messages": messages, **({"stream": True} if stream else {})})


def text_of(body: bytes, *, stream: bool) -> str:
    """What an answer says; nothing where it does not end."""
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    if events[-1:] != [b"[DONE]"]:
        return ""
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]
    ended = choices and choices[-1]["finish_reason"]
    return "".join(choice["delta"].get("content") or "" for choice in choices) if ended else ""


def under_way(limits: Path) -> tuple[int, int]:
    """Requests, and tokens reserved for them, that all counters hold together."""
    records = np.fromfile(limits, np.int64)[RECORDS_AT:].reshape(-1, RECORD_WORDS)
    return int(records[:, COUNT].sum()), int(records[:, RESERVED].sum())


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def get(side: Side, path: str) -> bytes:
    """A page of the gateway."""
    name, _, value = side.fields[0].partition(": ")
    return await asyncio.to_thread(read, f"http://127.0.0.1:{side.port}{path}", {name: value})


def read(url: str, fields: Mapping[str, str] | None = None, body: object = None) -> bytes:
    """What is there; a ``body`` is posted."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(fields or {})}
    with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=60) as answer:
        return bytes(answer.read())


async def until(true: Callable[[], bool], *, seconds: float) -> bool:
    """Wait for it, so long."""
    by = asyncio.get_running_loop().time() + seconds
    while not (found := true()) and asyncio.get_running_loop().time() < by:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.1)
    return found


async def change(file: Path, soak: Soak, count: int) -> None:
    """Write the routes anew, spread over the requests: each change is another timeout, and another order."""
    settings, route = yaml.safe_load_all(file.read_text())  # noqa: ASYNC240 - small, and nobody waits
    for number in range(count):
        mark = soak.requests * number // count
        while soak.begun < mark and not soak.wrong:  # noqa: ASYNC110 - clients tell nobody
            await asyncio.sleep(0.005)
        route["spec"]["timeout"] = f"{3000 + number}ms"
        route["spec"]["targets"].reverse()
        new = file.with_suffix(".new")
        new.write_text(yaml.safe_dump_all([settings, route]))
        new.replace(file)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--faults", type=float, default=0.01, help="part of the requests that meets one")
    parser.add_argument("--left", type=float, default=0.05, help="part of the requests that is left")
    parser.add_argument("--changes", type=int, default=0, help="of the routes meanwhile")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    here, there = CORES[0], CORES[-1]
    os.sched_setaffinity(0, {here})
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        words = ("--answer-tokens", str(WORDS), "--tpot", "0.002", "--seen", str(SEEN))
        models = ("--model", "sim-small=w", "--model", "sim-other=w")
        server = stack.enter_context(backend(*words, *models, core=here))
        url = f"http://127.0.0.1:{server.port}"
        chat = f"{url}/v1/chat/completions"
        said = [
            text_of(read(chat, body=json.loads(body_of("sim-small", prompt, stream=False))), stream=False)
            for prompt in range(PROMPTS)
        ]
        share = arguments.faults / len(FAULTS)
        rules = [{"fault": fault, "probability": share, "seed": place} for place, fault in enumerate(FAULTS)]
        if share:
            read(f"{url}/testserver/faults", body={"rules": rules})
        file, limits, log = folder / "routes.yaml", folder / "limits", folder / "requests.jsonl"
        settings, route = routes_of(server.port, log, more=MORE)
        settings["limitsFile"] = str(limits)
        first = route["spec"]["targets"][0]
        route["spec"]["targets"] = [{**first, "name": name, "model": model} for name, model in TARGETS.items()]
        file.write_text(yaml.safe_dump_all([settings, route]))
        side = stack.enter_context(gateway(file, core=there))
        soak = Soak(side, said, arguments.requests, random.Random(arguments.seed), arguments.left)
        await get(side, "/health")
        before, cpu = descriptors(side.pid), processor_seconds(side.pid)
        changing = asyncio.ensure_future(change(file, soak, arguments.changes))
        watch = Watch(url, few=arguments.faults <= FEW)
        watching = asyncio.ensure_future(watch.run())
        heights = []
        steps = [arguments.requests * step // 20 for step in range(1, 21)]
        for mark in steps:
            await soak.run_to(mark)
            heights.append(memory_of(side.pid))
            print(
                f"{mark:>9} requests  {heights[-1] / 2**20:6.1f} MiB  {descriptors(side.pid):4} descriptors  "
                f"{under_way(limits)[0]} under way",
                flush=True,
            )
        cpu = processor_seconds(side.pid) - cpu
        await changing
        watching.cancel()
        wrong = soak.wrong
        if not await until(lambda: under_way(limits) == (0, 0), seconds=20):
            wrong.append(f"{under_way(limits)} requests and tokens are counted as under way, and none is")
        for target in json.loads(await get(side, "/routes"))["data"][0]["targets"]:
            if target["inFlight"]:
                wrong.append(f"target {target['name']} has {target['inFlight']} requests in flight, and none is")
        warm, last = max(heights[: int(len(heights) * WARM_SHARE)]), heights[-1]
        if last > warm * MOST_GROWTH + SLACK:
            wrong.append(f"memory grew from {warm >> 10} to {last >> 10} KiB")
        if not await until(lambda: descriptors(side.pid) <= before, seconds=80):  # idle connections close behind 60 s
            wrong.append(f"{descriptors(side.pid)} descriptors: wanted the {before} of the beginning")
        await watch.look()
        soak.check_records(log, watch)
        met = json.loads(await asyncio.to_thread(read, f"{url}/testserver/faults"))["rules"]
        soak.outcomes["faults met"] = sum(rule["failed"] for rule in met)
        failed = sum(count for name, count in soak.outcomes.items() if name.startswith("failed"))
        if failed and not share:
            wrong.append(f"{failed} requests were answered with an error, and there was no fault")
    print("  ".join(f"{name}: {count}" for name, count in sorted(soak.outcomes.items())))
    for why, count in soak.why.most_common():
        print(f"{count:>9} {why}")
    stood = sum(ended - began for began, ended in watch.late)
    print(f"the machine stood still {len(watch.late)} times, {stood:.1f} s")
    print(f"errors of neither: {soak.unexplained}, so no more came of the {arguments.changes} changes of routes")
    told = {"requests": arguments.requests, "clients": CLIENTS, "changes": arguments.changes, "seed": arguments.seed}
    rows = [
        Row("memory", last / 2**20, "MiB", "when warm", warm / 2**20, told),
        Row("failed", failed, "of all", "requests", arguments.requests, told),
        Row("unexplained", soak.unexplained, "of them", "", None, told),
        Row("request_cpu", cpu / arguments.requests * 1e6, "us", "", None, told),
    ]
    report(rows, arguments.json)
    if wrong:
        print(*wrong[:10], sep="\n", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    uvloop.run(main())
