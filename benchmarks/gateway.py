"""What the AI gateway costs beside no gateway at all, and beside LiteLLM's proxy and Portkey's gateway.

All in one run on one box: each gateway in turn is pinned to one core, the test backend (``tensorfusion testserver
llm``) and the load to another. Ours runs as ``tensorfusion gateway --config`` with key, limits of the key and of the
route, a route matched by the model's name, prices, request log and metrics; one process. Peers are found where they
were installed, and left out otherwise:

    python -m venv litellm && litellm/bin/pip install 'litellm[proxy]'       --litellm litellm/bin/litellm
    npm install @portkey-ai/gateway                                          --portkey node_modules/@portkey-ai/gateway

(Portkey 1.15.2 answers every stream with 500 beside a newer @hono/node-server than 1.13.8: name that one under
"overrides" in package.json.)

Rows: requests a second with 32 in flight, whole answers and streams of 64 events (which the backend writes in one go
where it does not pause); the same for each second of the gateway's own processor time (which other work on the box does
not change much); what is added at one request at a time, to a whole answer and to the first word of a stream, measured
request by request beside the backend itself, also of ours with ``busyPollMicros: 0`` and of a relay that only hands
bytes on (what the way through any process adds here); 1, 32 and 512 streams of 64 events 20 ms apart; memory. How long
an event was on its way is told by the backend's own stamp in it (``--stamps``), so that its timers do not count; a gap
is how much longer that was than for the event before. Of several rounds the best one counts, for every side. ``added``
is the difference of two sides' percentiles.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import msgspec
import uvloop
import yaml

from _gateway_load import Answer, Asking, ask, at, memory_of, processor_seconds, request_of
from _gateway_sides import CORES, Side, backend, gateway, litellm, portkey, portkey_fields, relay, routes_of
from _report import Row, report

OURS = "gateway"
SLEEPING = "sleeping"
"""Ours, told never to look for what comes next instead of sleeping."""
RELAY = "relay"
ALONE = 8
"""Streams one behind the other."""
IN_FLIGHT = 32
GOAL_RATE = 4000.0
EVENTS = 64
WARM_SECONDS = 6.0
EVENT_SECONDS = 0.02
FEW = 2
"""Words of a stream of which only the first one counts; the other comes ``EVENT_SECONDS`` later."""
PACED = "bench-paced"
_US = 1e3
_PROMPT = "Tell me of the gateway. " * 25


@dataclass
class Found:
    """Of one side, over all rounds."""

    rates: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    """Requests a second, whole answers and streams."""
    processor: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    """Seconds of its processor time a request."""
    idle: int = 0
    loaded: int = 0
    latency: list[tuple[float, float]] = field(default_factory=list)
    """Microseconds that are added to a whole answer with nothing else under way: p50 and p99 of each round."""
    first_word: list[tuple[float, float]] = field(default_factory=list)
    """The same for the first word of a stream."""


def asking(side: Side, *, stream: bool, stamped: bool = False, tokens: int = EVENTS) -> Asking:
    body = {
        "model": side.model,
        "messages": [{"role": "user", "content": _PROMPT}],
        "max_tokens": tokens,
        **({"stream": True} if stream else {}),
    }
    return Asking(side.port, request_of(side.port, side.fields, msgspec.json.encode(body)), stream, stamped)


async def rate(side: Side, found: Found, *, stream: bool, seconds: float) -> None:
    """Requests a second with so many in flight, and processor time a request."""
    what = asking(side, stream=stream)
    if not found.rates[stream]:
        await ask(what, clients=IN_FLIGHT, seconds=WARM_SECONDS)  # what compiles as it runs has to have run
    cpu = processor_seconds(side.pid)
    answers = await ask(what, clients=IN_FLIGHT, seconds=seconds)
    cpu = processor_seconds(side.pid) - cpu
    require_whole(side, answers, stream=stream)
    took = (max(one.ended for one in answers) - min(one.asked for one in answers)) / 1e9
    found.rates[stream].append(len(answers) / took)
    found.processor[stream].append(cpu / len(answers))


async def added(side: Side, direct: Side, *, stream: bool, requests: int) -> tuple[float, float]:
    """Microseconds p50 and p99 that one side adds to the other, to a whole answer or to a stream's first word; they are
    asked in turns, so that both meet the same."""
    times: dict[str, list[float]] = {side.name: [], direct.name: []}
    tokens = FEW if stream else EVENTS
    whats = {one.name: asking(one, stream=stream, tokens=tokens) for one in (side, direct)}
    for what in whats.values():
        await ask(what, clients=1, each=10)
    for _ in range(max(requests // 25, 1)):
        for name, what in whats.items():
            answers = await ask(what, clients=1, each=26)
            ends = ((one.first_word if stream else one.ended) - one.asked for one in answers[1:])  # the first connects
            times[name] += [end / _US for end in ends]
    mine, theirs = times[side.name], times[direct.name]
    return at(0.5, mine) - at(0.5, theirs), at(0.99, mine) - at(0.99, theirs)


@dataclass
class Streamed:
    """Paced streams at once: the answers, how long each word was on its way, how much longer than the one before it
    (both in microseconds), seconds of a stream, and the side's processor seconds."""

    answers: list[Answer]
    delays: list[float]
    gaps: list[float]
    seconds: float
    processor: float


async def streams(side: Side, count: int) -> Streamed:
    """So many beside each other, begun one after the other within a pause, as by clients that know nothing of each
    other. One alone comes several times: its words are too few for a percentile.
    """
    cpu = processor_seconds(side.pid)
    each = ALONE if count == 1 else 1
    answers = await ask(asking(side, stream=True, stamped=True), clients=count, each=each, spread=EVENT_SECONDS)
    cpu = processor_seconds(side.pid) - cpu
    words = [one.delays[1 : EVENTS + 1] for one in answers]  # behind the event that says who speaks: it waits for one
    delays = [delay / _US for one in words for delay in one]
    gaps = [(behind - before) / _US for one in words for before, behind in pairwise(one)]
    took = (max(one.ended for one in answers) - min(one.asked for one in answers)) / 1e9
    return Streamed(answers, delays, gaps, took / each, cpu)


def file_of(backend: Side, folder: Path, *, sleeping: bool = False) -> Path:
    """A configuration of ours for a backend."""
    name = f"{backend.port}-{SLEEPING}" if sleeping else str(backend.port)
    file = folder / f"routes-{name}.yaml"
    settings = {"busyPollMicros": 0} if sleeping else {}
    file.write_text(yaml.safe_dump_all(routes_of(backend.port, folder / f"requests-{name}.jsonl", settings=settings)))
    return file


def require_whole(side: Side, answers: list[Answer], *, stream: bool) -> None:
    broken = [one for one in answers if not one.whole or (stream and one.words != EVENTS)]
    if broken:
        one = broken[0]
        raise SystemExit(
            f"{side.name}: {len(broken)} of {len(answers)} answers are not whole: "
            f"status {one.status}, {one.words} words"
        )


# --- rows ---


def rows_of_rates(found: dict[str, Found]) -> Iterator[Row]:
    ours = found[OURS]
    for stream in (False, True):
        what = "streams" if stream else "requests"
        goals = {"direct": None, "portkey": 4.0, "litellm": 50.0}
        mine, mine_cpu = max(ours.rates[stream]), 1 / min(ours.processor[stream])
        if not stream:
            yield Row(what, mine, "1/s", "goal", GOAL_RATE, {"in_flight": IN_FLIGHT})
        for name, goal in goals.items():
            if name not in found:
                continue
            theirs = found[name]
            told = {"in_flight": IN_FLIGHT, **({"goal_ratio": goal} if goal else {})}
            yield Row(what, mine, "1/s", name, max(theirs.rates[stream]), told)
            yield Row(f"{what}_per_cpu_second", mine_cpu, "1/s", name, 1 / min(theirs.processor[stream]), told)


def rows_of_times(found: dict[str, Found]) -> Iterator[Row]:
    for name, column, kind, goal in (
        ("added_p50", 0, "latency", 200.0),
        ("added_p99", 1, "latency", 1000.0),
        ("added_first_word_p50", 0, "first_word", None),
        ("added_first_word_p99", 1, "first_word", 1000.0),
    ):
        values = {
            peer: min(times[column] for times in getattr(one, kind)) for peer, one in found.items() if one.latency
        }
        for ours, more in ((OURS, {}), (SLEEPING, {"busy_poll_us": 0})):
            mine, told = values[ours], {"in_flight": 1, **more}
            if goal is not None:
                yield Row(name, mine, "us", "goal", goal, told)
            for peer, theirs in values.items():
                if peer not in (OURS, SLEEPING):
                    yield Row(name, mine, "us", peer, theirs, told)


def rows_of_memory(found: dict[str, Found]) -> Iterator[Row]:
    ours = found[OURS]
    yield Row("memory_idle", ours.idle / 1e6, "MB", "goal", 90.0, {})
    for name in ("portkey", "litellm"):
        if name in found:
            yield Row("memory_idle", ours.idle / 1e6, "MB", name, found[name].idle / 1e6, {})
            yield Row("memory_loaded", ours.loaded / 1e6, "MB", name, found[name].loaded / 1e6, {})


async def rows_of_streams(side: Side, direct: Side, counts: Sequence[int], rounds: int) -> list[Row]:
    """What is added to events, and completion, of so many paced streams at once."""
    rows = []
    for number in counts:
        found: dict[str, list[Streamed]] = {}
        for _ in range(rounds):
            for one in (direct, side):
                found.setdefault(one.name, []).append(await streams(one, number))
        mine, theirs = found[side.name], found[direct.name]
        told: dict[str, object] = {"streams": number}
        if side.name == SLEEPING:
            told["busy_poll_us"] = 0
        answers = [answer for each in mine for answer in each.answers]
        whole = sum(answer.whole and answer.words == EVENTS for answer in answers)
        rows.append(Row("clean_streams", whole, "of all", "all", len(answers), told))
        rows.append(Row("completion", min(one.seconds for one in mine), "s", "pauses", EVENTS * EVENT_SECONDS, told))
        rows.append(
            Row("completion", min(one.seconds for one in mine), "s", "direct", min(one.seconds for one in theirs), told)
        )
        cpu = min(one.processor / (len(one.answers) * EVENTS) for one in mine)
        rows.append(Row("event_cpu", cpu * 1e6, "us", "", None, told))
        for share, name, goal in ((0.5, "gap_p50", None), (0.99, "gap_p99", 100.0)):
            ours, without = (min(at(share, one.gaps) for one in each) for each in (mine, theirs))
            rows.append(Row(f"added_{name}", ours - without, "us", "goal" if goal else "", goal, told))
            rows.append(Row(name, ours, "us", "direct", without, told))
        for share, name in ((0.5, "event_p50"), (0.99, "event_p99")):
            ours, without = (min(at(share, one.delays) for one in each) for each in (mine, theirs))
            rows.append(Row(name, ours, "us", "direct", without, told))
    return rows


# --- the run ---


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, help="program of LiteLLM's proxy")
    parser.add_argument("--portkey", type=Path, help="folder of the package @portkey-ai/gateway")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--requests", type=int, default=500, help="one at a time, for what is added")
    parser.add_argument("--streams", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    here, there = CORES[0], CORES[-1]
    os.sched_setaffinity(0, {here})
    tokens = ("--answer-tokens", str(EVENTS))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        direct = stack.enter_context(backend(*tokens, core=here))
        paced = stack.enter_context(backend(*tokens, "--tpot", str(EVENT_SECONDS), "--stamps", core=here))
        starts: dict[str, Callable[[], AbstractContextManager[Side]]] = {
            OURS: lambda: gateway(file_of(direct, folder), core=there)
        }
        if arguments.portkey is not None:
            starts["portkey"] = lambda: portkey(arguments.portkey, direct.port, there)
        if arguments.litellm is not None:
            ports = {"bench-model": direct.port, PACED: paced.port}
            starts["litellm"] = lambda: litellm(arguments.litellm, ports, folder, there)
        for peer in ("portkey", "litellm"):
            if peer not in starts:
                print(f"{peer} is left out: --{peer} does not say where it is")
        found = {name: Found() for name in ("direct", *starts)}
        sides = {"direct": direct, **{name: stack.enter_context(start()) for name, start in starts.items()}}
        sleeping = file_of(direct, folder, sleeping=True)
        alone = {
            SLEEPING: stack.enter_context(gateway(sleeping, core=there, name=SLEEPING)),
            RELAY: stack.enter_context(relay(direct, core=there)),
        }
        ours = stack.enter_context(gateway(file_of(paced, folder), core=there))
        asleep = stack.enter_context(gateway(file_of(paced, folder, sleeping=True), core=there, name=SLEEPING))
        firsts = {OURS: ours, SLEEPING: asleep, RELAY: stack.enter_context(relay(paced, core=there))}
        if "portkey" in sides:
            firsts["portkey"] = replace(sides["portkey"], fields=portkey_fields(paced.port))
        if "litellm" in sides:
            firsts["litellm"] = replace(sides["litellm"], model=PACED)
        found |= {name: Found() for name in alone}
        for name, side in sides.items():
            found[name].idle = memory_of(side.pid)
        for _ in range(arguments.rounds):
            for name, side in sides.items():
                for stream in (False, True):
                    await rate(side, found[name], stream=stream, seconds=arguments.seconds)
                if side is not direct:
                    times = arguments.requests // (10 if name == "litellm" else 1)
                    found[name].latency.append(await added(side, direct, stream=False, requests=times))
                    found[name].first_word.append(await added(firsts[name], paced, stream=True, requests=times))
                found[name].loaded = memory_of(side.pid)
            for name, side in alone.items():
                found[name].latency.append(await added(side, direct, stream=False, requests=arguments.requests))
                found[name].first_word.append(
                    await added(firsts[name], paced, stream=True, requests=arguments.requests)
                )
        rows = [*rows_of_rates(found), *rows_of_times(found), *rows_of_memory(found)]
        rows += await rows_of_streams(ours, paced, (1, IN_FLIGHT, arguments.streams), arguments.rounds)
        rows += await rows_of_streams(asleep, paced, (1, IN_FLIGHT), arguments.rounds)
    report(rows, arguments.json)


if __name__ == "__main__":
    uvloop.run(main())
