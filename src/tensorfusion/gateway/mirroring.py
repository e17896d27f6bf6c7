"""Strategy ``loadtest``: one target answers the client, all others are asked as well, and their answers thrown away.

A mirrored request is nobody's: it is not charged, not waited for, leaves no record, goes on when its client leaves, and
ends when the gateway does. What comes of it is judged as any answer is, and counted. At most so many are under way at
once; further ones are left out and counted, because a test must not become a load of its own.
"""

import asyncio
from time import monotonic
from typing import Final

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.attempts import MOST_ANSWER, Attempt
from tensorfusion.gateway.evidence import Meters
from tensorfusion.gateway.job import Job, Try
from tensorfusion.gateway.listening import Said
from tensorfusion.gateway.outcomes import Broken, of_refusal, of_wire
from tensorfusion.gateway.speech import speech_for
from tensorfusion.gateway.streaming import require_events
from tensorfusion.gateway.whole import judged
from tensorfusion.policy.routing.asks import SUCCESS, Failure, Outcome
from tensorfusion.policy.routing.route import Target
from tensorfusion.wire.errors import WireError
from tensorfusion.wire.exchange import Exchange

MOST_MIRRORED: Final = 256
"""Under way at once, in one process."""


class Mirrors:
    """Of one process. ``close`` ends those that are under way."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, job: Job, answering: Target) -> None:
        """Ask all others but the target that answers the client."""
        for target in job.chooser.mirrors(job.ask, monotonic(), answering):
            if job.upstreams.of(job.route, target).problem:
                continue
            if len(self._tasks) >= MOST_MIRRORED:
                self._meters.mirrored.add((job.route.key, target.name, "left out"))
                continue
            # No group: whoever asked must not wait for what is thrown away. ``close`` ends it.
            task = asyncio.get_running_loop().create_task(self._mirror(job, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _mirror(self, job: Job, target: Target) -> None:
        upstream = job.upstreams.of(job.route, target)
        started = monotonic()
        replica = upstream.pick(started)
        ticket = job.chooser.started(target, started)
        outcome = Outcome(failure=Failure.CANCELLED)
        try:
            speech = speech_for(job.asked, job.call, upstream)
            attempt = Attempt(job, upstream, replica, ticket, Try(target.name, replica.url), speech)
            async with attempt.exchange() as exchange:
                await _heard(attempt, exchange)
            outcome = SUCCESS
        except Broken as broken:
            if upstream.secret:
                broken.hide(upstream.secret)
            outcome = broken.outcome(monotonic() - started)
        except WireError as error:
            outcome = of_wire(error, begun=False).outcome(monotonic() - started)
        finally:
            job.chooser.ended(ticket, monotonic(), outcome)
            what = "answered" if outcome is SUCCESS else str(outcome.failure)
            self._meters.mirrored.add((job.route.key, target.name, what))


async def _heard(attempt: Attempt, exchange: Exchange) -> None:
    """Hear an answer to its end, and keep nothing of it.

    Raises:
        Broken, WireError: it is none.
    """
    job, speech = attempt.job, attempt.speech
    if not 200 <= exchange.status < 300:
        raise of_refusal(await exchange.whole(MOST_ANSWER))
    if job.ask.stream and job.call.api is not Api.VERBATIM:
        require_events(exchange)
        listener = speech.listener(Said(), None)
        while not listener.done and (data := await exchange.read()):
            listener.take(data)
            if listener.failure is not None:
                raise listener.failure
        listener.end()
    elif job.call.api is not Api.VERBATIM:
        judged(speech.call.api, await exchange.whole(MOST_ANSWER), speech.asked)
    else:
        while await exchange.read():
            pass
