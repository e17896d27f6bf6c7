"""A worker that asks as fast as it can, and writes down what it was let in for. Run by the tests as a process.

hammer.py PAGE LOG REQUESTS
"""

import os
import struct
import sys
import time
from pathlib import Path

from tensorfusion.gateway.limits.rules import Charge, rule_of
from tensorfusion.gateway.limits.shared import SharedLimits
from tensorfusion.gateway.limits.verdict import RateLimited
from tensorfusion.model.llm_route import RateLimit

PER_MINUTE = 60_000
BURST = 400
CONCURRENT = 3
TOKENS_PER_MINUTE = 6_000_000


def main() -> None:
    page, log, requests = sys.argv[1:]
    limits = SharedLimits(Path(page), records=1024)
    rule = rule_of(
        "rule",
        RateLimit(
            requests_per_minute=PER_MINUTE,
            burst=BURST,
            max_concurrent=CONCURRENT,
            tokens_per_minute=TOKENS_PER_MINUTE,
        ),
    )
    assert rule is not None
    charges = (Charge(rule, "everybody"),)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(1, b"r")
    for number in range(int(requests)):
        if number % 100 == 99:
            os.write(1, b".")
        try:
            held = limits.take(charges, 1000)
        except RateLimited:
            continue
        os.write(out, struct.pack("qqq", 1, time.monotonic_ns(), 0))
        os.write(out, struct.pack("qqq", 2, time.monotonic_ns(), 900))
        held.settle(900)
    limits.close()


if __name__ == "__main__":
    main()
