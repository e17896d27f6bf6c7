"""Records under a configuration: as the requests they were, for a replay and for a dry run of one."""

from collections.abc import Iterable, Iterator, Mapping

from tensorfusion.gateway.configuring import Configuration
from tensorfusion.gateway.evidence import Record
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.model.request import QoS
from tensorfusion.policy.routing.asks import Ask, Caller
from tensorfusion.policy.routing.replay import Recorded

_OF_ROUTES = ("model_not_found", "no_healthy_target")
_PRIORITIES = {priority.value: priority for priority in QoS}


def keys_of(configuration: Configuration) -> dict[str, KeyRecord]:
    return {key.id: key for key in configuration.keys}


def caller_of(record: Record, keys: Mapping[str, KeyRecord]) -> Caller:
    """Who asked; labels and routes are those that its key has in the configuration."""
    key = keys.get(record.key_id)
    return Caller(
        namespace=record.namespace,
        user=record.user,
        key_id=record.key_id,
        labels=tuple(sorted(key.labels.items())) if key is not None else (),
        routes=key.routes.patterns if key is not None else (),
    )


def ask_of(record: Record) -> Ask:
    """What was asked for, as far as the record tells."""
    return Ask(
        model=record.model,
        prompt_tokens=record.prompt_tokens,
        max_tokens=record.max_tokens,
        priority=_PRIORITIES.get(record.priority, QoS.MEDIUM),
        stream=record.stream,
    )


def recorded(records: Iterable[Record], keys: Mapping[str, KeyRecord]) -> Iterator[Recorded]:
    """The requests of a log. One that its client left or that failed is among them: it asked for the same.

    Of those that were not let in, only those that no route took: limits and bad requests are not for routes to change.
    """
    for record in records:
        if not (record.attempts or record.target or (record.model and record.error_type in _OF_ROUTES)):
            continue
        yield Recorded(
            at=record.timestamp,
            seconds=record.latency_ms / 1000,
            caller=caller_of(record, keys),
            ask=ask_of(record),
            route_name=record.asked_route,
            route=record.route,
            target=record.target,
            completion_tokens=record.completion_tokens,
            cost=record.cost_microusd,
        )
