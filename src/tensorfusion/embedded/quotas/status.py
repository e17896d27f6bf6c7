"""Write what the accounts say into the quotas' statuses, at most a few times a second for each.

Nothing depends on it: admission asks the accounts.
"""

from tensorfusion.embedded.calls import Call
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.quotas.quotas import Quotas
from tensorfusion.embedded.store import ObjectKey
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import NotFound
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import RESOURCE_QUOTAS
from tensorfusion.runtime.controller import DONE, Controller, Result

_SETTLE = 0.2
"""Seconds in which changes gather: a burst of pods is worth one write."""


class QuotaStatus:
    """Runs beside the API in the same process until cancelled."""

    def __init__(self, operations: Operations, quotas: Quotas) -> None:
        self._operations = operations
        self._quotas = quotas
        self._controller = Controller("quotas", self, clock=operations.clock)
        quotas.on_new = self._controller.queue.add
        quotas.on_change = self._changed
        for record in operations.store.scan(RESOURCE_QUOTAS.id):
            self._controller.queue.add(Key(record.key.namespace, record.key.name))

    async def run(self) -> None:
        await self._controller.run()

    def _changed(self, key: Key) -> None:
        self._controller.queue.add(key, after=_SETTLE)

    async def reconcile(self, key: Key) -> Result:
        account = self._quotas.account(key.namespace, key.name)
        record = self._operations.store.get(ObjectKey(RESOURCE_QUOTAS.id, key.namespace, key.name))
        if account is None or record is None:
            return DONE
        status = account.status()
        if (decode_object(record.data).get("status") or {}) == status:
            return DONE

        def change(current: JsonObject) -> JsonObject:
            return {**current, "status": status}

        kind = self._operations.kinds.by_id(RESOURCE_QUOTAS.id)
        try:
            await modify(self._operations, kind, key.namespace, key.name, change, Call.system(), subresource="status")
        except NotFound:
            return DONE
        return DONE
