"""Which replica of a target takes a request: the one with the least work, as far as is known.

Work is in tokens. What this process has in flight at a replica is known exactly, and counts at once: so a burst spreads
however old the replica's own figures are. What others have there is told by the replica itself (its requests waiting
and running, less those that are ours), each taken for one like the request at hand. A replica whose cache of keys and
values is nearly full gets less, since what it takes now it will have to put off or throw out. One that tells nothing is
taken at what is known of it here.

Equal replicas take turns; where the turns begin differs from worker to worker, so that gateways that know the same do
not all go to the same one.

Rejected: a weighted sum of figures, each scaled to the largest. One request that waits against none would then count
like a thousand against none, and everybody would run to the same replica until it is asked again.

The seam for prefixes: ``cached`` says how many of the request's tokens a replica need not compute.

Pure. Source: the platform's contract, 1.3; names of metrics: vLLM ("Production metrics") and SGLang.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

LEAST_ROOM: Final = 0.05
"""A replica is never taken for fuller than this leaves."""

_WAITING: Final = (b"vllm:num_requests_waiting", b"sglang:num_queue_reqs")
_RUNNING: Final = (b"vllm:num_requests_running", b"sglang:num_running_reqs")
_FULL: Final = (b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc", b"sglang:token_usage")
_NAMES: Final = (*_WAITING, *_RUNNING, *_FULL)
_LONGEST_LINE: Final = 4096


class Told(NamedTuple):
    """What a replica says of itself: requests of whomever, and the part of its cache that is in use (0 to 1)."""

    requests: int
    full: float = 0.0


def pick(
    tokens: Sequence[int],
    requests: Sequence[int],
    *,
    others: Sequence[int],
    full: Sequence[float],
    allowed: int,
    prompt: int,
    turn: int,
    cached: Sequence[int] | None = None,
) -> int | None:
    """The index of the replica with the least work; None where none is allowed.

    Columns are by replica: ``tokens`` and ``requests`` in flight from here, requests of ``others`` there, how ``full``
    each is. ``allowed`` is a mask; ``prompt`` is in tokens; ``turn`` is where equal ones begin.
    """
    best: int | None = None
    least, fewest = 0.0, 0
    each = prompt or 1
    count = len(tokens)
    index = turn % count if count else 0
    for _ in range(count):
        if allowed >> index & 1:
            work: float = tokens[index] + (others[index] + 1) * each
            if cached is not None:
                work -= min(cached[index], each)
            if full[index]:
                work /= max(1.0 - full[index], LEAST_ROOM)
            if best is None or work < least or (work == least and requests[index] < fewest):
                best, least, fewest = index, work, requests[index]
        index += 1
        if index == count:
            index = 0
    return best


def told_by(metrics: bytes) -> Told | None:
    """What the metrics of a model server say, in the text format of Prometheus; None where they say nothing of it.

    A server of several models says it of each: requests add up, and the fullest cache counts.
    """
    waiting = running = 0.0
    full: float | None = None
    heard = False
    for line in metrics.split(b"\n"):
        if not line.startswith((b"vllm:", b"sglang:")) or not line.startswith(_NAMES) or len(line) > _LONGEST_LINE:
            continue
        name = line.partition(b"{")[0].partition(b" ")[0]
        value = _value(line)
        if value is None:
            continue
        if name in _WAITING:
            waiting, heard = waiting + value, True
        elif name in _RUNNING:
            running, heard = running + value, True
        elif name in _FULL:
            full = max(full or 0.0, min(value, 1.0))
    if not heard and full is None:
        return None
    return Told(int(waiting + running), full or 0.0)


def _value(line: bytes) -> float | None:
    """The number of a line ``name{labels} value [timestamp]``; None where it is none, or less than none."""
    rest = line.rpartition(b"}")[2] if b"}" in line else line.partition(b" ")[2]
    try:
        value = float(rest.split()[0])
    except (ValueError, IndexError):
        return None
    return value if 0 <= value < 1e12 else None
