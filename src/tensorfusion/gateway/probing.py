"""Finding out that a target is back, without a client's request being the one to find out.

A circuit that opened waits longer each time, up to a minute. Where it opened because nobody answered at all - no
connection, or one that was reset - an answer to ``GET .../models`` says that somebody does again, and closes it. Where
it opened because of answers (errors, stalls, broken streams), only a real request can tell, and none is asked here.

Source: the platform's contract, 3.6 (circuit breaker); vLLM and OpenAI ("List models").
"""

import asyncio
from typing import Final

from tensorfusion.gateway.apis import Api, Call
from tensorfusion.gateway.faults import Words
from tensorfusion.gateway.state import State
from tensorfusion.gateway.upstreams import Upstream
from tensorfusion.model.llm_route import Circuit
from tensorfusion.policy.routing.asks import Failure
from tensorfusion.policy.routing.state import TargetReport
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.wire.errors import WireError
from tensorfusion.wire.exchange import Patience

EVERY_SECONDS: Final = 2.0
_PATIENCE: Final = Patience(connect=2.0, head=2.0, silence=2.0, total=4.0)
_MOST: Final = 4 << 20
_AT_ONCE: Final = 16
_MODELS: Final = Call(Api.VERBATIM, "models", Words.OPENAI)
_NOBODY: Final = (Failure.CONNECT.value, Failure.RESET.value)
log = get_logger(__name__)


async def probe(state: State) -> None:
    """Ask once every target of the state whose circuit opened because nobody answered."""
    loop = asyncio.get_running_loop()
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(route: str, upstream: Upstream) -> None:
        async with places:
            if await _answers(upstream):
                state.choosers[route].healthy(upstream.target, loop.time())
                log.info("a target answers again", route=route, target=upstream.target.name)

    async with asyncio.TaskGroup() as group:
        for key, route in state.routes.by_key.items():
            reports = state.choosers[key].status(loop.time())
            for target, report in zip(route.targets, reports, strict=True):
                upstream = state.upstreams.of(route, target)
                if _may_be_back(report) and not upstream.problem:
                    group.create_task(ask(key, upstream))


def _may_be_back(report: TargetReport) -> bool:
    return report.circuit is not Circuit.CLOSED and report.last_error.partition(":")[0] in _NOBODY


async def _answers(upstream: Upstream) -> bool:
    replica = upstream.pick(asyncio.get_running_loop().time())
    try:
        async with replica.pool.exchange(
            b"GET", upstream.path_of(_MODELS), upstream.credential, patience=_PATIENCE
        ) as exchange:
            await exchange.whole(_MOST)
            return exchange.status < 500
    except WireError:
        return False
