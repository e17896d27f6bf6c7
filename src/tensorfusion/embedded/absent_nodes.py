"""A cluster that was once started with a process node and now is not: its Node must not look ready."""

from tensorfusion.clock import Clock, timestamp
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Node
from tensorfusion.model.keys import RUN, RUN_PROCESS
from tensorfusion.model.resources import NODES


async def mark_absent(client: Api, *, clock: Clock) -> None:
    """Make every process node not ready; there is no process behind any of them."""
    found = await client.list(NODES, Node, labels=f"{RUN}={RUN_PROCESS}")
    now = timestamp(clock.now())
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "KubeletStopped",
        "message": "the cluster was started without --run-processes",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    for node in found.items:
        if node.ready:
            await client.patch(NODES, node.metadata.name, {"status": {"conditions": [condition]}}, subresource="status")
