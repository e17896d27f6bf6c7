"""Aggregated ClusterRoles say what they gather: their rules are those of all roles that their selectors choose.

Decisions do not wait for this, ``access.rbac`` gathers by itself; it is for those who read the roles.

Source: the ClusterRole aggregation controller of kube-controller-manager 1.34, by behaviour.
"""

from collections.abc import Sequence

from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.selectors import from_object
from tensorfusion.embedded.store import ObjectKey, StoreEvent
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import NotFound
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import CLUSTER_ROLES
from tensorfusion.runtime.controller import DONE, Controller, Result

_MANAGER = "clusterrole-aggregation-controller"


class RoleAggregation:
    """Runs beside the API in the same process, until cancelled."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._store = operations.store
        self._controller = Controller("role-aggregation", self, clock=operations.clock)
        self._gathering: set[str] = set()
        for record in self._store.scan(CLUSTER_ROLES.id):
            self._note(record.key.name, record.data)
        self._store.on_commit(self._committed)

    async def run(self) -> None:
        """See to the roles until cancelled."""
        for name in sorted(self._gathering):
            self._controller.queue.add(Key("", name))
        await self._controller.run()

    def _committed(self, events: Sequence[StoreEvent]) -> None:
        """Any ClusterRole may be one that others gather. On the path of every write: it must stay this short."""
        for event in events:
            if event.record.key.resource == CLUSTER_ROLES.id:
                self._note(event.record.key.name, event.record.data)
                for name in self._gathering:
                    self._controller.queue.add(Key("", name))

    def _note(self, name: str, data: bytes) -> None:
        if b'"aggregationRule"' in data:
            self._gathering.add(name)
        else:
            self._gathering.discard(name)

    async def reconcile(self, key: Key) -> Result:
        """Write the rules of one aggregated role, if they are not what they should be."""
        record = self._store.get(ObjectKey(CLUSTER_ROLES.id, "", key.name))
        if record is None:
            self._gathering.discard(key.name)
            return DONE
        role = decode_object(record.data)
        wanted = self._gathered(role)
        if not role.get("aggregationRule") or (role.get("rules") or []) == wanted:
            return DONE

        def change(current: JsonObject) -> JsonObject:
            return {**current, "rules": wanted}

        kind = self._operations.kinds.by_id(CLUSTER_ROLES.id)
        try:
            await modify(self._operations, kind, "", key.name, change, Call.system(_MANAGER))
        except NotFound:
            return DONE
        return DONE

    def _gathered(self, role: JsonObject) -> list[JsonObject]:
        """The rules of the chosen roles, by the order of their names, each once."""
        found: list[JsonObject] = []
        for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
            terms = from_object(selector)
            for record in self._store.scan(CLUSTER_ROLES.id):
                if record.key.name != role["metadata"]["name"] and terms.matches(record.labels):
                    rules = decode_object(record.data).get("rules") or ()
                    found += [rule for rule in rules if rule not in found]
        return found
