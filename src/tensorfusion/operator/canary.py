"""Keep the counters of canaries equal to the pods that are there. Admission counts up, this counts down.

Level-based: a pass reads the controller and lists its pods, and may be run at any time beside any number of
admissions: ``policy.canary`` says why that never lets in too many. Pods of canaries ask for a pass when they come, end
or go; a reservation asks for one when it expires; and now and then all controllers are looked through, for counters
whose last pod went while nobody watched.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Object
from tensorfusion.policy.canary import EXPIRY, OWNERS, Counter, Seen, counters, is_active, selector_of
from tensorfusion.runtime.canary import seen_pods, swap
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.informer import Change

ALL = Key("", "all")
"""The key that looks through all controllers."""
_LOOK_THROUGH = 600.0
_MOST_GONE = 10_000

_KINDS = {resource.kind: resource for resource in OWNERS.values()}


class CanaryReconciler:
    """Key: namespace and ``Kind/name`` of a controller. ``ask`` is called with each one that may be out of date."""

    def __init__(self, client: Api, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._ask: Callable[[Key], None] = lambda _: None
        self._gone: dict[Key, set[str]] = {}
        """Pods that were seen to go since their controller was counted: a list does not show them any more."""

    def asking(self, ask: Callable[[Key], None]) -> None:
        """Name the queue that hears of counters to look at."""
        self._ask = ask

    def on_pod(self, change: Change[Pod]) -> None:
        """Ask about the controller of a counted pod that came, ended or went."""
        pod = change.new or change.old
        if pod is None or keys.POD_COUNTER_KEY not in pod.metadata.annotations:
            return
        old, new = change.old, change.new
        if old is not None and new is not None and is_active(old) == is_active(new):
            return
        owner = pod.metadata.controller
        if owner is None or owner.kind not in _KINDS:
            return
        key = Key(pod.metadata.namespace, f"{owner.kind}/{owner.name}")
        if new is None:
            if len(self._gone) >= _MOST_GONE:  # nobody asks for them: this process does not lead
                self._gone.clear()
            self._gone.setdefault(key, set()).add(pod.metadata.annotations.get(keys.POD_COUNTER_ID, ""))
        self._ask(key)

    async def reconcile(self, key: Key) -> Result:
        if key == ALL:
            return await self._look_through()
        kind, _, name = key.name.partition("/")
        resource = _KINDS[kind]
        try:
            owner = await self._client.get(resource, Object, name, namespace=key.namespace)
        except NotFound:
            self._gone.pop(key, None)
            return DONE
        gone = frozenset(self._gone.get(key, ()))
        pods = await seen_pods(self._client, owner, key.namespace, selector=_selector(owner))
        now = int(self._clock.now().timestamp())
        found = counters(owner.metadata.annotations)
        wanted = {}
        for one in found.keys() | pods.keys():
            seen = pods.get(one, Seen())
            seen.ids |= gone
            wanted[one] = found.get(one, Counter()).recounted(seen, now)
        await swap(self._client, resource, owner, wanted)
        self._gone[key] = self._gone.get(key, set()) - gone
        if not self._gone[key]:
            del self._gone[key]
        waiting = [at for counter in wanted.values() for at in counter.reserved.values()]
        return Result(requeue_after=max(1.0, min(waiting) + EXPIRY - now)) if waiting else DONE

    async def _look_through(self) -> Result:
        for resource in _KINDS.values():
            try:
                listing = await self._client.list(resource, Object)
            except NotFound:  # not every API has all of these kinds
                continue
            for owner in listing.items:
                if counters(owner.metadata.annotations):
                    self._ask(Key(owner.metadata.namespace, f"{resource.kind}/{owner.metadata.name}"))
        return Result(requeue_after=_LOOK_THROUGH)


def _selector(owner: Object) -> str:
    """Only a Deployment's ReplicaSet is known to have the label of its pods."""
    above = owner.metadata.controller
    return selector_of(owner.metadata.labels) if above is not None and above.kind == "Deployment" else ""
