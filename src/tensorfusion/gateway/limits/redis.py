"""The counters of a cluster, in Redis: gateways on many hosts keep one limit.

A worker takes in advance: half of what it was asked for lately (at least one request, at most 64, and a quarter of what
is left), so that a busy key costs a call for some dozens of requests and a quiet one a call for each. Twice a second it
gives back what it holds and does not use; places in flight at once, where few are left.

**Bounds**, of any stretch of time ``t``: at most ``depth + rate * (t + 1 s)`` requests, for what is taken in advance is
used within a second or lost; tokens and requests in flight as in ``table``. A worker that dies loses what it had taken
in advance; what it held is given back within ``HOLD_SECONDS``, its tokens counted as used. A worker that cannot reach
Redis for longer than that may have as many requests in flight beyond the limit as it had.

Without Redis, each host keeps the limits by itself (``shared``): then as many times the limit is let in as there are
hosts. Answers that were lost count as if what they gave had been used.

Of one Redis, or its replicas behind Sentinel; not Redis Cluster, where the counters of a request lie in several places.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.limits.holding import MOST_TOKENS, Reservation
from tensorfusion.gateway.limits.lease import Lease
from tensorfusion.gateway.limits.redis_script import ANSWERS, TAKE
from tensorfusion.gateway.limits.rules import TICKS_PER_NS, Charge
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.gateway.limits.verdict import Verdict, What, refusal
from tensorfusion.telemetry.logs import get_logger

HOLD_SECONDS: Final = 5.0
BEAT_SECONDS: Final = 0.5
_RETURN_SECONDS: Final = 0.01
"""Before places are given back that somebody may wait for: all that become free meanwhile go in one call."""
_TIMEOUT_SECONDS: Final = 0.5
_APART_SECONDS: Final = 1.0
_TRIES: Final = 4
_MOST_AT_ONCE: Final = 256
_TICKS_PER_US: Final = 1000 * TICKS_PER_NS

log = get_logger(__name__)


class RedisLimits:
    """Satisfies ``Limits``. ``run`` has to run beside it."""

    def __init__(
        self,
        url: str,
        *,
        host: SharedLimits,
        clock: Callable[[], float] = time.monotonic,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        """``url`` is ``redis://``, ``rediss://`` or ``unix://``; ``host`` counts while Redis cannot be reached.

        Raises:
            ConfigError: the URL is none.
        """
        try:
            self._redis = Redis.from_url(
                url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS, retry=None
            )
        except ValueError as error:  # its message may hold the password
            raise ConfigError("limits: wanted a URL redis://, rediss:// or unix://, found another one") from error
        self._script = self._redis.register_script(TAKE)
        self._host = host
        self._clock = clock
        self._hold_us = int(hold_seconds * 1_000_000)
        self._worker = f"{os.getpid()}-{os.urandom(6).hex()}"
        self._leases: dict[tuple[int, int], Lease] = {}
        self._apart_until = 0.0
        """0 while Redis answers."""
        self._failures = 0
        self._asking: set[asyncio.Future[None]] = set()
        self._tight: set[Lease] = set()
        self._hurry = asyncio.Event()

    def __repr__(self) -> str:
        return f"RedisLimits({self._worker})"  # a URL may hold a password

    async def reserve(self, charges: Sequence[Charge], tokens: int) -> Reservation:
        """As ``Limits.reserve``. Where what was taken in advance covers it, nothing is waited for."""
        tokens = min(max(tokens, 0), MOST_TOKENS)
        if not charges:
            return Reservation(self, charges, tokens, Verdict())
        if self._apart_until:
            now = self._clock()
            if now < self._apart_until:
                return self._host.take(charges, tokens)
            self._apart_until = now + _APART_SECONDS  # who comes next need not wait to hear whether it is back
        leases = [self._lease(charge) for charge in charges]
        for _ in range(_TRIES):
            now = self._clock()
            if all(lease.covers(tokens, now) for lease in leases):
                for lease in leases:
                    lease.use(tokens)
                return Reservation(self, charges, tokens, Verdict([lease.step(now) for lease in leases]))
            try:
                await self._heard_out(self._ask(leases, tokens))
            except (RedisError, OSError) as error:
                self._part(error)
                return self._host.take(charges, tokens)
        # Others were quicker each time: then there is not enough for all of them.
        lease = next((each for each in leases if not each.covers(tokens, self._clock())), leases[0])
        verdict = Verdict((lease.step(self._clock()),))
        raise refusal(What.REQUESTS, lease.charge, tokens, verdict, wait=lease.charge.rule.request_unit)

    def settle(self, charges: Sequence[Charge], reserved: int, tokens: int) -> None:
        """As ``Counters.settle``. The cluster hears of it in a moment."""
        for charge in charges:
            lease = self._lease(charge)
            lease.settle(reserved, tokens)
            if lease.is_tight:
                self._tight.add(lease)
                self._hurry.set()

    async def run(self) -> None:
        """Tell the cluster what is held and what was used, until cancelled; then for the last time."""
        next_beat = self._clock() + BEAT_SECONDS
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(next_beat - self._clock(), 0)):  # wait_for may lose a cancellation
                        await self._hurry.wait()
                if self._clock() >= next_beat:
                    next_beat = self._clock() + BEAT_SECONDS
                    await self.beat()
                    continue
                await asyncio.sleep(_RETURN_SECONDS)
                await self._tell(self._take_tight())
        finally:
            await self.close()

    async def beat(self) -> None:
        """Tell the cluster now."""
        self._host.tend()
        self._take_tight()
        if not await self._tell([lease for lease in self._leases.values() if not lease.idle]):
            return
        now = self._clock()
        for lease in list(self._leases.values()):
            lease.lately = 0
            if lease.idle and now >= lease.until and not lease.lock.locked():
                del self._leases[lease.charge.high, lease.charge.low]

    def _take_tight(self) -> list[Lease]:
        tight, self._tight = list(self._tight), set()
        self._hurry.clear()
        return tight

    async def _tell(self, leases: Sequence[Lease]) -> bool:
        """Tell the cluster what these hold, which is from now on what they use; whether it answered."""
        try:
            for start in range(0, len(leases), _MOST_AT_ONCE):
                async with AsyncExitStack() as stack:
                    some = sorted(leases[start : start + _MOST_AT_ONCE], key=_key)
                    for lease in some:
                        await stack.enter_async_context(lease.lock)
                        lease.shrink()
                    await self._call(some, None)
        except (RedisError, OSError) as error:
            self._part(error)
            return False
        return True

    async def close(self) -> None:
        """Give everything back that can be, and end the connections."""
        if self._asking:
            await asyncio.wait(self._asking)
        await self.beat()
        await self._redis.aclose()

    async def _heard_out(self, asking: Coroutine[None, None, None]) -> None:
        """Wait for a call that is carried through even if who waits for it leaves.

        What Redis gave would otherwise be held for somebody who never heard of it.
        """
        task = asyncio.ensure_future(asking)
        self._asking.add(task)
        task.add_done_callback(self._done)
        await asyncio.shield(task)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # whoever is still there was told; nobody else wants to know

    async def _ask(self, leases: Sequence[Lease], tokens: int) -> None:
        """Take what is lacking, a little more than that.

        Raises:
            RateLimited: there is none.
            RedisError, OSError: nobody answers.
        """
        failures = self._failures
        async with AsyncExitStack() as stack:
            for lease in sorted(leases, key=_key):
                await stack.enter_async_context(lease.lock)
            if self._failures != failures:
                raise ConnectionError("somebody has waited in vain meanwhile")
            now = self._clock()
            lacking = [lease for lease in leases if not lease.covers(tokens, now)]
            if lacking:  # somebody may have asked for more while we waited
                await self._call(lacking, tokens)

    async def _call(self, leases: Sequence[Lease], tokens: int | None) -> None:
        """Run the script for counters whose locks are held."""
        told = [lease.used for lease in leases]
        numbers = [number for lease in leases for number in lease.arguments(tokens)]
        answer = await self._script(
            keys=[lease.key for lease in leases],
            args=[self._worker, self._hold_us, *numbers],
        )
        now = self._clock()
        if self._apart_until:
            self._apart_until = 0.0
            log.info("the limits of all hosts are counted together again")
        refused, what, wait, *given = answer
        for number, lease in enumerate(leases):
            lease.hear(given[number * ANSWERS : (number + 1) * ANSWERS], now, used=told[number])
        if refused:
            lease = leases[refused - 1]
            verdict = Verdict((lease.step(now),))
            found = What(what.decode() if isinstance(what, bytes) else what)
            raise refusal(found, lease.charge, tokens or 0, verdict, wait=wait * _TICKS_PER_US)

    def _lease(self, charge: Charge) -> Lease:
        which = charge.high, charge.low
        lease = self._leases.get(which)
        if lease is None:
            lease = self._leases[which] = Lease(charge)
        elif lease.charge.rule is not charge.rule:
            lease.charge = charge  # the same counter with other figures: a reload
        return lease

    def _part(self, error: Exception) -> None:
        """Go on by what this host counts, for a while."""
        self._failures += 1
        if not self._apart_until:
            log.warning("Redis does not answer: each host counts by itself", error=type(error).__name__)
        self._apart_until = self._clock() + _APART_SECONDS


def _key(lease: Lease) -> str:
    return lease.key
