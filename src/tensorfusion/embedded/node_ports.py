"""Node ports of Services: given out for the ports of those that are reached from outside, kept for life, never twice.

Those of a write under way are held (``holds``).

Nothing listens on them in the embedded cluster; they are there because clients and manifests expect them. A Service
that stops being reached from outside gives its ports back; one that comes again gets others.

Source: kubernetes pkg/registry/core/service, by behaviour.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from tensorfusion.embedded.calls import Asked
from tensorfusion.embedded.holds import Holds
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.statuses import invalid_object
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent
from tensorfusion.errors import BadRequest, FieldCause, Invalid, ServerError
from tensorfusion.model.resources import SERVICES

_FIRST, _LAST = 30000, 32767
_TAKEN = "provided port is already allocated"
_OUTSIDE = f"provided port is not in the valid range. The range of valid ports is {_FIRST}-{_LAST}"


class NodePorts:
    """Completes Services. Follows those of one store."""

    def __init__(self, store: Store) -> None:
        self._of: dict[str, frozenset[int]] = {}
        self._used: Counter[int] = Counter()  # Services of an earlier version may share one
        self._held: Holds[frozenset[int]] = Holds()
        self._next = _candidates()
        for record in store.scan(SERVICES.id):
            self._put(record)
        store.on_commit(self._follow)

    def complete(self, kind: Kind, service: JsonObject, old: JsonObject | None) -> None:
        """Give a Service the ports that it lacks, or keep those that it has.

        Raises:
            Invalid, BadRequest: a port that it asks for is another's, or none of those that are given out.
        """
        spec, before = service.get("spec"), (old or {}).get("spec") or {}
        if not isinstance(spec, dict):
            return
        own, uid = _ports_of(before), service["metadata"].get("uid", "")
        _drop_what_ends(spec, before)
        if _needs_ports(spec):
            self._give(kind, service["metadata"], spec, before if _needs_ports(before) else {}, own)
        elif _needs_ports(before) and spec.get("type") != "LoadBalancer" and _ports_of(spec) <= own:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
        self._check_health(uid, spec, before, own)

    def hold(self, asked: Asked) -> None:
        """Keep the new ports of a write that is ready for the store until it is over.

        Raises:
            Invalid, BadRequest: somebody was faster since they were given out.
        """
        metadata, spec = asked.wanted["metadata"], asked.wanted.get("spec") or {}
        uid, new = metadata["uid"], _ports_of(spec) - _ports_of((asked.old or {}).get("spec") or {})
        if not new:
            return
        for index, port in enumerate(spec.get("ports") or ()):
            number = port.get("nodePort") or 0
            if number in new and self._is_taken(number, uid):
                raise _refused(asked.kind, metadata, index, number, _TAKEN)
        number = spec.get("healthCheckNodePort") or 0
        if number in new and self._is_taken(number, uid):
            raise _refused_health(number, _TAKEN)
        asked.settle.append(self._held.add(uid, new))

    def _is_taken(self, number: int, uid: str) -> bool:
        """Whether another Service than that of ``uid`` has a port, or is about to."""
        if self._used[number] > (number in self._of.get(uid, ())):
            return True
        return any(number in ports for ports in self._held.of_others(uid))

    def _give(
        self, kind: Kind, metadata: JsonObject, spec: JsonObject, before: JsonObject, own: frozenset[int]
    ) -> None:
        uid = metadata.get("uid", "")
        ports: list[JsonObject] = spec.get("ports") or []
        _carry(ports, before)
        taken: dict[tuple[int, str], int] = {}
        given: dict[object, int] = {}
        for index, port in enumerate(ports):
            number, protocol = port.get("nodePort") or 0, port.get("protocol") or "TCP"
            if not number:
                number = given.get(port.get("port"), 0)
                if not number or (number, protocol) in taken:
                    number = self._free()
                port["nodePort"] = number
            elif number not in own:
                same = any(found == number and of != index for (found, _), of in taken.items())
                why = _TAKEN if self._is_taken(number, uid) or (same and given.get(port.get("port")) != number) else ""
                why = why if _FIRST <= number <= _LAST else _OUTSIDE
                if why:
                    raise _refused(kind, metadata, index, number, why)
            taken[number, protocol] = index
            given.setdefault(port.get("port"), number)

    def _check_health(self, uid: str, spec: JsonObject, before: JsonObject, own: frozenset[int]) -> None:
        """A balancer that keeps to the nodes with endpoints asks these for their health at a port of its own."""
        if spec.get("type") != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
            if spec.get("healthCheckNodePort") == before.get("healthCheckNodePort"):
                spec.pop("healthCheckNodePort", None)
            return
        number = spec.get("healthCheckNodePort") or before.get("healthCheckNodePort") or 0
        if not number:
            spec["healthCheckNodePort"] = self._free()
            return
        spec["healthCheckNodePort"] = number
        taken = number not in own and self._is_taken(number, uid)
        if taken or (number not in own and not _FIRST <= number <= _LAST):
            raise _refused_health(number, _TAKEN if taken else _OUTSIDE)

    def _free(self) -> int:
        for _ in range(_LAST - _FIRST + 1):
            number = next(self._next)
            if not self._is_taken(number, uid=""):
                return number
        raise ServerError(f"Internal error occurred: no port of {_FIRST} to {_LAST} is free: delete Services")

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.record.key.resource == SERVICES.id:
                if event.kind is EventKind.DELETED:
                    self._drop(event.record.uid)
                    self._held.drop(event.record.uid)
                else:
                    self._put(event.record)

    def _drop(self, uid: str) -> None:
        for number in self._of.pop(uid, ()):
            self._used[number] -= 1

    def _put(self, record: Record) -> None:
        uid = record.uid
        self._drop(uid)
        found = self._of[uid] = _ports_of(decode_object(record.data).get("spec") or {})
        self._used.update(found)
        self._held.stored(uid, lambda ports: ports <= found)


def _refused(kind: Kind, metadata: JsonObject, index: int, number: int, why: str) -> Invalid:
    cause = FieldCause(f"spec.ports[{index}].nodePort", f"Invalid value: {number}: {why}")
    return invalid_object(kind.resource, metadata.get("name", ""), cause)


def _refused_health(number: int, why: str) -> BadRequest:
    return BadRequest(f"failed to allocate requested HealthCheck NodePort {number}: {why}")


def _candidates() -> Iterator[int]:
    """All ports in an order of chance, over and over: what was just given out does not come again soon."""
    numbers = list(range(_FIRST, _LAST + 1))
    random.shuffle(numbers)
    while True:
        yield from numbers


def _needs_ports(spec: JsonObject) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return spec.get("type") == "NodePort"


def _drop_what_ends(spec: JsonObject, before: JsonObject) -> None:
    """A Service that is no longer reached from outside keeps nothing of that, unless its author changed it, too."""
    ended = []
    if _is_outside(before) and not _is_outside(spec):
        ended.append("externalTrafficPolicy")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        ended += ["allocateLoadBalancerNodePorts", "loadBalancerClass"]
    for field in ended:
        if field in spec and spec[field] == before.get(field):
            del spec[field]


def _is_outside(spec: JsonObject) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer") or (
        spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def _ports_of(spec: JsonObject) -> frozenset[int]:
    found = {port.get("nodePort") or 0 for port in spec.get("ports") or () if isinstance(port, dict)}
    return frozenset(found | {spec.get("healthCheckNodePort") or 0}) - {0}


def _carry(ports: Sequence[JsonObject], before: JsonObject) -> None:
    """Ports that say no number keep the one that they had by their name, unless another port has it now."""
    had = {port.get("name"): port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
    stated = {port.get("nodePort") for port in ports}
    for port in ports:
        number = had.get(port.get("name"))
        if not port.get("nodePort") and number and number not in stated:
            port["nodePort"] = number
            stated.add(number)
