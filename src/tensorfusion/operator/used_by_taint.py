"""Under progressive migration: a taint on nodes that hold shares, so that other schedulers rather look elsewhere.

``PreferNoSchedule``: it keeps nobody off whom only this node can take. The taints of a Node are one list, so it is read
anew, changed, and written under its version.

Source: TensorFusion's key ``used-by`` on nodes; an older ``NoSchedule`` taint of the same key goes.
"""

from tensorfusion.errors import NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Key, Raw
from tensorfusion.operator.fleet import Fleet
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.telemetry.logs import get_logger

KEY = f"{keys.DOMAIN}/used-by"
TAINT: Raw = {"key": KEY, "value": "tensor-fusion", "effect": "PreferNoSchedule"}

log = get_logger(__name__)


class UsedByTaint:
    """Key: the name of a Node."""

    def __init__(self, fleet: Fleet, client: Api) -> None:
        self._fleet = fleet
        self._client = client

    async def reconcile(self, key: Key) -> Result:
        node = self._fleet.nodes.get(key)
        if node is None or node.metadata.deleting:
            return DONE
        wanted = self._fleet.holds_shares(key.name)
        found = [(taint.value, taint.effect) for taint in node.spec.taints if taint.key == KEY]
        if found == ([(TAINT["value"], TAINT["effect"])] if wanted else []):
            return DONE
        try:
            current = await self._client.get(r.NODES, dict, key.name)
        except NotFound:
            return DONE
        taints = [taint for taint in (current.get("spec") or {}).get("taints") or () if taint.get("key") != KEY]
        patch = {
            "metadata": {"resourceVersion": current["metadata"]["resourceVersion"]},
            "spec": {"taints": [*taints, TAINT] if wanted else taints or None},
        }
        await self._client.patch(r.NODES, key.name, patch)
        log.info("node is used" if wanted else "node is idle", node=key.name)
        return DONE
