"""Cluster addresses of Services: given out at creation, kept for life, never twice.

Those of a write under way are held (``holds``).

Nothing routes to them in the embedded cluster; they are there because clients and manifests expect them.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from tensorfusion.embedded.calls import Asked
from tensorfusion.embedded.holds import Holds
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.statuses import invalid_object
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent
from tensorfusion.errors import FieldCause, Invalid, ServerError
from tensorfusion.model.resources import SERVICES

_FAMILIES = ("IPv4", "IPv6")
_TWO_FAMILIES = "RequireDualStack"
_ADDRESSED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
"""What a Service without an address has no use for."""
_NETWORK = ipaddress.ip_network("10.96.0.0/16")
_RESERVED = 10
"""The first addresses are for services with fixed ones (the API itself, name resolution)."""


class ServiceAddresses:
    """Completes Services. Follows those of one store."""

    def __init__(self, store: Store) -> None:
        self._used: dict[str, str] = {}
        self._held: Holds[str] = Holds()
        self._next = self._candidates()
        for record in store.scan(SERVICES.id):
            self._put(record)
        store.on_commit(self._follow)

    def complete(self, kind: Kind, service: JsonObject, old: JsonObject | None) -> None:
        """Give a Service its address, or keep the one it has.

        Raises:
            Invalid: the address it asks for is another's, or is outside the network.
        """
        spec = service.get("spec")
        if not isinstance(spec, dict):
            return
        before = (old or {}).get("spec") or {}
        if spec.get("type") == "ExternalName":
            _drop_addresses(spec, before)
            return
        name = service["metadata"].get("name", "")
        _choose_families(kind, name, spec, before)
        address = before.get("clusterIP")
        wanted = spec.get("clusterIP")
        if not before and (spec.get("clusterIPs") or [wanted])[0] != wanted:
            return  # one of them is wrong, which is said by who checks
        if not wanted:
            wanted = address or self._free()
        elif wanted not in ("None", address) and (not address or before.get("type") == "ExternalName"):
            self._check(kind, service["metadata"], wanted)  # else it may not change, which is said by who checks
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = [wanted]

    def hold(self, asked: Asked) -> None:
        """Keep the new address of a write that is ready for the store until it is over.

        Raises:
            Invalid: somebody was faster since it was given out.
        """
        metadata, spec = asked.wanted["metadata"], asked.wanted.get("spec") or {}
        address, before = spec.get("clusterIP"), ((asked.old or {}).get("spec") or {}).get("clusterIP")
        if address in (None, "", "None", before):
            return
        uid = metadata["uid"]
        if self._is_taken(address, uid):
            raise _refused(asked.kind, metadata, address, _taken(address))
        asked.settle.append(self._held.add(uid, address))

    def _is_taken(self, address: str, uid: str) -> bool:
        """Whether another Service than that of ``uid`` has an address, or is about to."""
        if any(found == address for other, found in self._used.items() if other != uid):
            return True
        return address in self._held.of_others(uid)

    def _check(self, kind: Kind, metadata: JsonObject, wanted: object) -> None:
        try:
            inside = isinstance(wanted, str) and ipaddress.ip_address(wanted) in _NETWORK
        except ValueError:
            return  # no address at all, which is said by who checks
        why = ""
        if not inside:
            why = (
                f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {_NETWORK}"
            )
        elif self._is_taken(str(wanted), metadata.get("uid", "")):
            why = _taken(wanted)
        if why:
            raise _refused(kind, metadata, wanted, why)

    def _free(self) -> str:
        used = {*self._used.values(), *self._held.of_others("")}
        for _ in range(_NETWORK.num_addresses):
            address = next(self._next)
            if address not in used:
                return address
        raise ServerError(f"Internal error occurred: no address of {_NETWORK} is free: delete Services")

    def _candidates(self) -> Iterator[str]:
        while True:
            for number in range(_RESERVED + 1, _NETWORK.num_addresses - 1):
                yield str(_NETWORK[number])

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.record.key.resource == SERVICES.id:
                if event.kind is EventKind.DELETED:
                    self._used.pop(event.record.uid, None)
                    self._held.drop(event.record.uid)
                else:
                    self._put(event.record)

    def _put(self, record: Record) -> None:
        address = (decode_object(record.data).get("spec") or {}).get("clusterIP")
        self._used.pop(record.uid, None)
        if address and address != "None":
            self._used[record.uid] = address
            self._held.stored(record.uid, lambda given: given == address)


def _taken(wanted: object) -> str:
    return f"failed to allocate IP {wanted}: provided IP is already allocated"


def _refused(kind: Kind, metadata: JsonObject, wanted: object, why: str) -> Invalid:
    cause = FieldCause("spec.clusterIPs", f'Invalid value: ["{wanted}"]: {why}')
    return invalid_object(kind.resource, metadata.get("name", ""), cause)


def _drop_addresses(spec: JsonObject, before: JsonObject) -> None:
    """A Service that became a name keeps nothing of its addresses, unless its author changed that, too."""
    if before.get("type") not in (None, "ExternalName"):
        for field in _ADDRESSED:
            if field in spec and spec[field] == before.get(field):
                del spec[field]


def _choose_families(kind: Kind, name: str, spec: JsonObject, before: JsonObject) -> None:
    """Which families of addresses a Service has: the cluster has one, only what has no addresses may name both.

    Raises:
        Invalid: it asks for the other family.
    """
    if not spec.get("ipFamilies") and before.get("ipFamilies"):
        spec["ipFamilies"] = before["ipFamilies"]
    spec.setdefault("ipFamilyPolicy", before.get("ipFamilyPolicy"))  # an empty one is refused later
    families, policy = spec.get("ipFamilies") or [], spec.get("ipFamilyPolicy")
    if spec.get("clusterIP") == "None" and not spec.get("selector"):
        spec["ipFamilyPolicy"] = _TWO_FAMILIES if policy is None else policy
        families = families or [_FAMILIES[0]]
        if spec["ipFamilyPolicy"] != "SingleStack":
            families = [*families, *(one for one in _FAMILIES if len(families) == 1 and one not in families)]
        spec["ipFamilies"] = families
        return
    causes = [
        FieldCause(f"spec.ipFamilies[{index}]", f'Invalid value: "{family}": not configured on this cluster')
        for index, family in enumerate(families)
        if family == _FAMILIES[1]
    ]
    if policy == _TWO_FAMILIES:
        why = "this cluster is not configured for dual-stack services"
        causes.insert(0, FieldCause("spec.ipFamilyPolicy", f'Invalid value: "{policy}": {why}'))
    if causes:
        raise invalid_object(kind.resource, name, *causes)
    spec["ipFamilyPolicy"] = "SingleStack" if policy is None else policy
    spec["ipFamilies"] = families or [_FAMILIES[0]]
