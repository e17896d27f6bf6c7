"""What belongs to which shard: nodes by the pool of their devices, namespaces by the pools of their pods.

Both follow the watch directly, ahead of the columns: whoever looks here before deciding knows at least what the
decision knows.

A node that changes its shard *rests*: its new owner places nothing on it for a while, because the former one may not
have seen the change yet. Every replica keeps this for itself, from when it saw the change.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from tensorfusion.clock import Clock
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import GPUS, PODS
from tensorfusion.policy.shards import COMMON
from tensorfusion.runtime.informer import Change, Informer
from tensorfusion.runtime.manager import Manager


def pool_of(pod: Pod) -> str | None:
    """The pool of a pod that takes a share; None of any other."""
    labels = pod.metadata.labels
    if labels.get(keys.COMPONENT) != "worker":
        return None
    return pod.metadata.annotations.get(keys.GPU_POOL) or labels.get(keys.GPU_POOL) or COMMON


class Territory:
    """Which shard each node is in. ``changed`` is called when an answer may be another one; ``rest`` is in seconds."""

    def __init__(self, manager: Manager, *, clock: Clock, rest: float, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._rest = rest
        self._changed = changed
        self._devices: dict[Key, tuple[str, str]] = {}
        """Node and pool of each device."""
        self._pools: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Devices by pool, of each node."""
        self._resting: dict[str, float] = {}
        manager.informer(GPUS, GPU).subscribe(self._follow)

    def shard_of(self, node: str) -> str:
        """The shard of a node: of several pools on it the first by name, which owns them all in time."""
        pools = self._pools.get(node)
        return min(pools) if pools else COMMON

    def rests(self, node: str) -> bool:
        """Whether the node has changed its shard a short time ago."""
        until = self._resting.get(node)
        return until is not None and self._clock.monotonic() < until

    def ties(self) -> Iterator[AbstractSet[str]]:
        """The pools of each node that has devices of several."""
        return (pools.keys() for pools in self._pools.values() if len(pools) > 1)

    def tick(self) -> bool:
        """End the rests that are over; answers whether there were any."""
        now = self._clock.monotonic()
        over = [node for node, until in self._resting.items() if until <= now]
        for node in over:
            del self._resting[node]
        if over:
            self._changed()
        return bool(over)

    def _follow(self, change: Change[GPU]) -> None:
        before = self._devices.pop(change.key, None)
        after = None
        if change.new is not None:
            node = change.new.status.node_selector.get(keys.HOSTNAME_LABEL, "")
            after = (node, change.new.metadata.labels.get(keys.GPU_POOL, COMMON)) if node else None
        if after is not None:
            self._devices[change.key] = after
        if before == after:
            return
        shards = {node: self.shard_of(node) for node, _ in filter(None, (before, after))}
        if before is not None:
            self._count(*before, -1)
        if after is not None:
            self._count(*after, 1)
        for node, shard in shards.items():
            if self.shard_of(node) != shard:
                self._resting[node] = self._clock.monotonic() + self._rest
        self._changed()

    def _count(self, node: str, pool: str, number: int) -> None:
        pools = self._pools[node]
        pools[pool] += number
        if not pools[pool]:
            del pools[pool]
        if not pools:
            del self._pools[node]


class Spans:
    """In which pools each namespace has pods that take shares and are not over, placed or not."""

    def __init__(self, manager: Manager) -> None:
        self._pods: dict[str, tuple[str, str]] = {}
        """Namespace and pool by uid."""
        self._pools: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._informer: Informer[Pod] = manager.informer(PODS, Pod)
        self._informer.subscribe(self._follow)

    @property
    def certain(self) -> bool:
        """Whoever sees a pod here sees all that were created before it."""
        return not self._informer.listing

    def of(self, namespace: str) -> AbstractSet[str]:
        pools = self._pools.get(namespace)
        return pools.keys() if pools is not None else frozenset()

    def of_all(self, namespaces: Iterable[str]) -> AbstractSet[str]:
        """The pools of several namespaces."""
        return frozenset().union(*map(self.of, namespaces))

    def _follow(self, change: Change[Pod]) -> None:
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._leave(old.metadata.uid)
        if new is None:
            return
        pool = None if new.finished else pool_of(new)
        entry = None if pool is None else (new.metadata.namespace, pool)
        if self._pods.get(new.metadata.uid) != entry:
            self._leave(new.metadata.uid)
            if entry is not None:
                self._pods[new.metadata.uid] = entry
                self._pools[entry[0]][entry[1]] += 1

    def _leave(self, uid: str) -> None:
        entry = self._pods.pop(uid, None)
        if entry is None:
            return
        namespace, pool = entry
        pools = self._pools[namespace]
        pools[pool] -= 1
        if not pools[pool]:
            del pools[pool]
        if not pools:
            del self._pools[namespace]
