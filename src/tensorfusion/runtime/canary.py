"""Read and swap the counters of ``policy.canary`` through the API: admission and the operator do it the same way.

The order of the two reads is the proof: first the controller, then its pods. Both bypass caches, which may be behind.
"""

from collections.abc import Mapping

from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Object
from tensorfusion.policy.canary import Counter, Seen, counter_patch, is_active

_COUNTED_PODS = f"{keys.COMPONENT}=worker"


async def seen_pods(client: Api, owner: Object, namespace: str, *, selector: str = "") -> dict[str, Seen]:
    """The owner's counted pods that exist, by counter. To be called after the owner was read.

    A ``selector`` of all of them keeps the list short.

    Raises:
        ApiError: the server refused or cannot be reached.
    """
    found: dict[str, Seen] = {}
    labels = f"{_COUNTED_PODS},{selector}" if selector else _COUNTED_PODS
    listing = await client.list(r.PODS, Pod, namespace=namespace, labels=labels)
    for pod in listing.items:
        key = pod.metadata.annotations.get(keys.POD_COUNTER_KEY)
        controller = pod.metadata.controller
        if key and controller is not None and controller.uid == owner.metadata.uid:
            seen = found.setdefault(key, Seen())
            seen.ids.add(pod.metadata.annotations.get(keys.POD_COUNTER_ID, ""))
            seen.active += is_active(pod)
    return found


async def swap(client: Api, resource: r.Resource, owner: Object, counters: Mapping[str, Counter]) -> bool:
    """Write counters if the owner is still as it was read; False where there is nothing to write.

    Raises:
        Conflict: the owner was written meanwhile.
        ApiError: the server refused; where the connection broke, the write may have been made.
    """
    changes: dict[str, str | None] = {}
    for key, counter in counters.items():
        changes |= counter_patch(owner.metadata.annotations, key, counter)
    if not changes:
        return False
    metadata = {"annotations": changes, "resourceVersion": owner.metadata.resource_version}
    await client.patch(resource, owner.metadata.name, {"metadata": metadata}, namespace=owner.metadata.namespace)
    return True
