"""Cluster addresses of Services: given out at creation, kept for life, never twice.

Nothing routes to them in the embedded cluster; they are there because clients and manifests expect them.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from tensorfusion.embedded.kinds import Kind
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.statuses import invalid_object
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent
from tensorfusion.errors import FieldCause, ServerError
from tensorfusion.model.resources import SERVICES

_NETWORK = ipaddress.ip_network("10.96.0.0/16")
_RESERVED = 10
"""The first addresses are for services with fixed ones (the API itself, name resolution)."""


class ServiceAddresses:
    """Completes Services. Follows those of one store."""

    def __init__(self, store: Store) -> None:
        self._used: dict[str, str] = {}
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
        if not isinstance(spec, dict) or spec.get("type") == "ExternalName":
            return
        before = ((old or {}).get("spec") or {}).get("clusterIP")
        wanted = spec.get("clusterIP")
        if not wanted:
            wanted = before or self._free()
        elif wanted not in ("None", before):
            self._check(kind, service["metadata"].get("name", ""), wanted)
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = [wanted]

    def _check(self, kind: Kind, name: str, wanted: object) -> None:
        try:
            inside = isinstance(wanted, str) and ipaddress.ip_address(wanted) in _NETWORK
        except ValueError:
            inside = False
        why = ""
        if not inside:
            why = f"failed to allocate IP {wanted}: the provided IP is not in the valid range {_NETWORK}"
        elif str(wanted) in self._used.values():
            why = f"failed to allocate IP {wanted}: provided IP is already allocated"
        if why:
            cause = FieldCause("spec.clusterIPs", f'Invalid value: ["{wanted}"]: {why}')
            raise invalid_object(kind.resource, name, cause)

    def _free(self) -> str:
        used = set(self._used.values())
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
                else:
                    self._put(event.record)

    def _put(self, record: Record) -> None:
        address = (decode_object(record.data).get("spec") or {}).get("clusterIP")
        if address and address != "None":
            self._used[record.uid] = address
