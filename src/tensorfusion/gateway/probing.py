"""Finding out that a target is back, without a client's request being the one to find out.

A circuit that opened waits longer each time, up to a minute. Meanwhile its target is asked on the side for its models
(``GET .../models``). Where the circuit opened because nobody answered at all - no connection, or one that was reset -
any answer says that somebody does again. Where it opened because of silence or of 5xx, an answer says so only if the
same question had none, or a 5xx, before: a server whose models are listed while it fails requests proves nothing by
listing them, and is left to the next real request, as is one that breaks its answers or refuses ours (401, 429).

Source: the platform's contract, 3.6 (circuit breaker) and 10 (back in rotation within 10 s); vLLM and OpenAI ("List
models").
"""

import asyncio
from time import monotonic
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
_AT_ONCE: Final = 64
_MODELS: Final = Call(Api.VERBATIM, "models", Words.OPENAI)
_NOBODY: Final = (Failure.CONNECT.value, Failure.RESET.value)
_PERHAPS_NOBODY: Final = (Failure.SILENT.value, f"{Failure.STATUS} 5")
log = get_logger(__name__)


class Probes:
    """Of one process."""

    def __init__(self) -> None:
        self._silent: set[tuple[str, str]] = set()
        """Route and name of targets whose models could not be asked for."""

    async def look(self, state: State) -> None:
        """Ask once every target of the state whose circuit is not closed, where its answer can say something."""
        places = asyncio.Semaphore(_AT_ONCE)
        silent: set[tuple[str, str]] = set()

        async def ask(route: str, upstream: Upstream, report: TargetReport) -> None:
            which = route, report.name
            async with places:
                if not await _answers(upstream):
                    silent.add(which)
                elif which in self._silent or (
                    report.circuit is Circuit.OPEN and report.last_error.startswith(_NOBODY)
                ):
                    state.choosers[route].healthy(upstream.target, monotonic())
                    log.info("a target answers again", route=route, target=report.name)

        async with asyncio.TaskGroup() as group:
            for key, route in state.routes.by_key.items():
                reports = state.choosers[key].status(monotonic())
                for target, report in zip(route.targets, reports, strict=True):
                    upstream = state.upstreams.of(route, target)
                    if _may_be_back(report) and not upstream.problem:
                        group.create_task(ask(key, upstream, report))
        self._silent = silent


def _may_be_back(report: TargetReport) -> bool:
    return report.circuit is not Circuit.CLOSED and report.last_error.startswith(_NOBODY + _PERHAPS_NOBODY)


async def _answers(upstream: Upstream) -> bool:
    replica = upstream.pick(monotonic())
    try:
        async with replica.pool.exchange(
            b"GET", upstream.path_of(_MODELS), upstream.credential, patience=_PATIENCE
        ) as exchange:
            await exchange.whole(_MOST)
            return exchange.status < 500
    except WireError:
        return False
