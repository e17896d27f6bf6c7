"""The limits of a gateway's requests: their keys' and their routes', as its front wants them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tensorfusion.clock import Clock
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.limits.holding import Reservation
from tensorfusion.gateway.limits.rules import Charges
from tensorfusion.gateway.limits.shared import SharedLimits, default_path
from tensorfusion.gateway.limits.verdict import RateLimited
from tensorfusion.gateway.seams import Key
from tensorfusion.policy.routing.route import Route

TEND_SECONDS: Final = 1.0


def path_for(configuration: Path, chosen: str = "") -> Path:
    """Where the counters of a gateway lie: where its settings say, or one place for each configuration.

    So all workers of a gateway count together, and so does another one beside it that was given the same file.
    """
    if chosen:
        return Path(chosen)
    name = hashlib.blake2b(str(configuration.resolve()).encode(), digest_size=6).hexdigest()
    return default_path(name)


class Gate:
    """Satisfies ``seams.Limits``."""

    def __init__(self, limits: SharedLimits) -> None:
        self._limits = limits
        self._charges = Charges()

    def reserve(self, key: Key, route: Route, *, tokens: int) -> Reservation:
        """As ``seams.Limits.reserve``.

        Raises:
            Fault: 429: a limit has no room.
        """
        own = key.rate_limit if isinstance(key, KeyRecord) else None
        charges = self._charges.of(key, route, own)
        try:
            return self._limits.take(charges, tokens)
        except RateLimited as error:
            raise Fault(error.status, error.type, str(error), code=error.code, fields=error.fields()) from error

    @asynccontextmanager
    async def tended(self, clock: Clock) -> AsyncIterator[None]:
        """Inside, what the dead have left is looked for once a second; behind, everything is given back."""
        try:
            async with asyncio.TaskGroup() as group:
                tending = group.create_task(self._tend(clock))
                yield
                tending.cancel()
        finally:
            self._limits.close()

    async def _tend(self, clock: Clock) -> None:
        while True:
            await clock.sleep(TEND_SECONDS)
            self._limits.tend()
