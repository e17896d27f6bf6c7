"""A record of a request as a row of the table ``llm_requests``.

A GreptimeDB replaces rows of equal tags and time, so each row has a time of its own: what a record says to the
millisecond is filled up with a number that goes round. Two workers meet in one row once in a million requests that they
have in the same millisecond with the same tags. The request's id would not do: it is the client's to choose, and a
client that always sends the same one would be billed for one request a millisecond.
"""

import random
from collections.abc import Callable
from typing import Final

import msgspec

from tensorfusion.gateway.evidence import Record
from tensorfusion.timeseries.encoder import compiled
from tensorfusion.timeseries.tables import LLM_REQUESTS

LONGEST_MODEL: Final = 128
"""Characters of a model's name: it is what the client wrote, and a tag."""
_LONGEST_TEXT: Final = 500
_NS_OF_MS: Final = 1_000_000
_STEP: Final = 7919
"""Prime to the number of places, so that all of them come round."""
_row: Final = compiled(LLM_REQUESTS)
_encoder: Final = msgspec.json.Encoder()


def rows(start: int | None = None) -> Callable[[Record], bytes]:
    """What makes a line of each record. ``start`` is the first place within a millisecond; any, where not given."""
    place = random.randrange(_NS_OF_MS) if start is None else start

    def line_of(record: Record) -> bytes:
        nonlocal place
        place = (place + _STEP) % _NS_OF_MS
        tries = record.attempts
        told = len(tries) > 1 or (tries and record.error_type)
        return _row(
            record.namespace,
            record.route,
            record.model[:LONGEST_MODEL],
            record.provider,
            record.target,
            record.key_id,
            request_id=record.request_id,
            requests=record.requests,
            status=record.status,
            stream=record.stream,
            cache_hit=record.cache_hit,
            prompt_tokens=record.prompt_tokens,
            completion_tokens=record.completion_tokens,
            usage_estimated=record.usage_estimated,
            cost_micro_usd=record.cost_microusd,
            latency_ms=record.latency_ms,
            queue_ms=record.queue_ms,
            overhead_ms=record.overhead_ms,
            ttft_ms=record.ttft_ms,
            tpot_ms=record.tpot_ms,
            bytes_in=record.bytes_in,
            bytes_out=record.bytes_out,
            attempts=len(tries),
            attempt_log=_encoder.encode(tries).decode() if told else None,
            finish_reason=record.finish_reason or None,
            user_id=record.user or None,
            error_message=record.error_message[:_LONGEST_TEXT] or None,
            client_ip=None,
            api=record.api or None,
            target_model=record.target_model or None,
            error_type=record.error_type or None,
            time=int(record.timestamp * 1000 + 0.5) * _NS_OF_MS + place,
        )

    return line_of
