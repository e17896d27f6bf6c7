"""The limits of a gateway's requests: their keys' and their routes', as its front wants them."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tensorfusion.clock import Clock
from tensorfusion.errors import ConfigError
from tensorfusion.gateway.faults import Fault
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.limits.holding import Reservation
from tensorfusion.gateway.limits.rules import Charges
from tensorfusion.gateway.limits.shared import SharedLimits, default_path
from tensorfusion.gateway.limits.verdict import RateLimited
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.settings import RedisSource
from tensorfusion.policy.routing.route import Route

if TYPE_CHECKING:
    from tensorfusion.gateway.limits.redis import RedisLimits

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

    def __init__(self, host: SharedLimits, cluster: "RedisLimits | None" = None) -> None:
        """``host`` counts, or where there is a ``cluster``, only while that cannot be reached."""
        self._host = host
        self._cluster = cluster
        self._charges = Charges()

    async def reserve(self, key: Key, route: Route, *, tokens: int, guess: int = 0) -> Reservation:
        """As ``seams.Limits.reserve``. Waits only where a cluster counts, and then not for each request.

        A guess never makes a request larger than its limit: that would refuse it for ever by what nobody asked for.

        Raises:
            Fault: 429: a limit has no room.
        """
        own = key.rate_limit if isinstance(key, KeyRecord) else None
        charges = self._charges.of(key, route, own)
        for charge in charges if guess else ():
            if charge.rule.tokens_per_minute:
                guess = max(min(guess, charge.rule.tokens_per_minute - tokens), 0)
        try:
            if self._cluster is not None:
                return await self._cluster.reserve(charges, tokens + guess)
            return self._host.take(charges, tokens + guess)
        except RateLimited as error:
            raise Fault(error.status, error.type, str(error), code=error.code, fields=error.fields()) from error

    @asynccontextmanager
    async def tended(self, clock: Clock) -> AsyncIterator[None]:
        """Inside, what the dead have left is looked for once a second; behind, everything is given back."""
        try:
            async with asyncio.TaskGroup() as group:
                tending = group.create_task(self._tend(clock) if self._cluster is None else self._cluster.run())
                yield
                tending.cancel()
        finally:
            self._host.close()

    async def _tend(self, clock: Clock) -> None:
        while True:
            await clock.sleep(TEND_SECONDS)
            self._host.tend()


def redis_url(source: RedisSource | None, environ: Mapping[str, str] | None = None) -> str:
    """The URL of a cluster's Redis; empty where none is used.

    Raises:
        ConfigError: it is said in two ways or in none, or the variable is unset.
    """
    if source is None:
        return ""
    if bool(source.url) == bool(source.env):
        raise ConfigError(f"limitsRedis: wanted url or env, found {'both' if source.url else 'neither'}")
    if source.url:
        return source.url
    found = (os.environ if environ is None else environ).get(source.env, "")
    if not found:
        raise ConfigError(f"limitsRedis.env: environment variable {source.env} is unset: set it to redis://HOST:PORT")
    return found


def gate_of(configuration: Path, *, file: str = "", redis: str = "") -> Gate:
    """The limits of a gateway by its settings: where its host counts, and the URL of a Redis where a cluster does.

    Raises:
        ConfigError: the file or the URL cannot be used, or the extra ``redis`` is not installed.
    """
    try:
        host = SharedLimits(path_for(configuration, file))
    except ConfigError as error:
        raise ConfigError(f"limits: {error}: limitsFile names another place") from error
    if not redis:
        return Gate(host)
    try:
        from tensorfusion.gateway.limits.redis import RedisLimits
    except ImportError as error:
        raise ConfigError("limitsRedis: wanted the package redis: pip install 'tensorfusion[redis]'") from error
    return Gate(host, RedisLimits(redis, host=host))
