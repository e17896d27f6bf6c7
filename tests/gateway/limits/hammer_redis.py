"""As ``hammer``, for the counters of a cluster.

hammer_redis.py URL LOG REQUESTS
"""

import asyncio
import os
import struct
import sys
import time

from tensorfusion.gateway.limits import redis
from tensorfusion.gateway.limits.redis import RedisLimits
from tensorfusion.gateway.limits.rules import Charge, rule_of
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.gateway.limits.verdict import RateLimited
from tensorfusion.model.llm_route import RateLimit

PER_MINUTE = 6000
BURST = 200


async def main() -> None:
    url, log, requests = sys.argv[1:]
    redis._TIMEOUT_SECONDS = 20  # who hears nothing of it counts by itself, which is not what is looked at
    host = SharedLimits(None, records=64)
    limits = RedisLimits(url, host=host)
    running = asyncio.create_task(limits.run())
    rule = rule_of("rule", RateLimit(requests_per_minute=PER_MINUTE, burst=BURST))
    assert rule is not None
    charges = (Charge(rule, "everybody"),)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(1, b"r")
    for number in range(int(requests)):
        if number % 100 == 99:
            os.write(1, b".")
        try:
            (await limits.reserve(charges, 0)).settle(0)
        except RateLimited:
            continue
        os.write(out, struct.pack("q", time.monotonic_ns()))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
