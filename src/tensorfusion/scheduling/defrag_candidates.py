"""Which nodes may be emptied at all, and why the others may not.

Apart from the plan because nothing is tried out here: each rule looks at a node and its pods as they are. A node stays
as it is for the first rule that keeps it, in the order of ``Why``.

Source: TensorFusion's defragmentation: cordon, native pods, age, disruption budgets. Ours: gangs, pods that nobody
makes anew, protection from eviction and do-not-disrupt keep a node too, and a budget has to let all of its pods go at
once that are on the node, so that no node is left half emptied.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.residents import unix_seconds
from tensorfusion.scheduling.state import State
from tensorfusion.scheduling.victims import Budgets, no_budgets


class Why(StrEnum):
    """Why a node is not emptied."""

    DO_NOT_DISRUPT = "do not disrupt"
    SKIPPED = "a pod could not be evicted from it in this campaign"
    LEAVING = "it is being emptied or removed already"
    CORDONED = "cordoned or not ready"
    NATIVE = "pods have devices from their maker's own device plugin"
    PROMISED = "a place on it is kept for a pod that waits"
    ARRIVING = "a pod is on its way to it"
    OTHER_POOL = "a pod has shares of devices of another pool, too"
    GANG = "a pod is a member of a gang"
    BARE = "nobody would make the pod anew"
    PROTECTED = "a pod is protected from eviction"
    YOUNG = "a pod is younger than a campaign may last"
    MISSING_PDB = "no disruption budget covers a pod"
    PDB_BLOCKED = "a disruption budget does not let its pods go"
    UNSCHEDULABLE = "a pod fits nowhere else"
    NO_GAIN = "moving its pods would break into more devices than it frees"


@dataclass(frozen=True, slots=True)
class Kept:
    """Why a node stays as it is, and the first pod that it is about."""

    why: Why
    pod: PodFacts | None = None

    def __str__(self) -> str:
        return self.why if self.pod is None else f"{self.why}: {self.pod.namespace}/{self.pod.name}"


def nobody(_: PodFacts) -> Why | None:
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan has to respect. ``now`` in Unix seconds, ``min_age`` in seconds, ``threshold`` in percent.

    ``closed`` are nodes that are not emptied, ``barred`` those that take nobody. ``veto`` says why a pod may not be
    moved, as far as its facts do not say it.
    """

    pool: str
    now: int
    threshold: int = 40
    min_age: int = 7200
    budgets: Budgets = no_budgets
    veto: Callable[[PodFacts], Why | None] = nobody
    closed: Mapping[str, Why] = field(default_factory=lambda: MappingProxyType({}))
    barred: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that might be emptied. ``pods`` have to move; ``ending`` leave anyway."""

    node: str
    row: int
    pods: tuple[Allocation, ...]
    ending: tuple[Allocation, ...]
    bound: Fraction
    """Whole devices for each pod, at best."""
    work: int

    @staticmethod
    def work_of(one: Allocation, now: int) -> int:
        """What a pod loses that starts anew, in seconds times devices."""
        return max(0, now - unix_seconds(one.pod.created)) * max(1, len(one.devices))


def candidate_of(state: State, pool: PoolColumns, row: int, terms: Terms, *, used: int) -> Candidate | Kept | None:
    """The node of a row of which ``used`` devices are in use, by itself; None where nobody has to move.

    What its pods say is left to ``kept_by_pods``: asking about them costs more, and few are ever looked at closely.
    """
    record = pool.records[row]
    closed = terms.closed.get(record.name)
    if closed is not None:
        return Kept(closed)
    if record.facts is None or not record.facts.ready or record.facts.unschedulable:
        return Kept(Why.CORDONED)
    if record.native or record.foreign or any(device.facts and not device.facts.ours for device in pool.devices[row]):
        return Kept(Why.NATIVE)
    uids = dict.fromkeys(uid for device in pool.devices[row] for uid in device.holders)
    held = [state.allocations[uid] for uid in sorted(uids)]
    ending = tuple(one for one in held if state.residents.is_ending(one.pod.uid))
    pods = [one for one in held if not state.residents.is_ending(one.pod.uid)]
    if not pods:
        return None
    work = sum(Candidate.work_of(one, terms.now) for one in pods)
    left = len({device.name for one in ending for device in one.devices}.difference(*_names(pods))) if ending else 0
    return Candidate(record.name, row, tuple(pods), ending, Fraction(used - left, len(pods)), work)


def kept_by_pods(candidate: Candidate, pool: PoolColumns, terms: Terms) -> Kept | None:
    """Why the pods of a node keep it as it is."""
    return _kept_by_pods(candidate.pods, pool, terms) or _kept_by_budgets(candidate.pods, terms)


def largest_first(pods: Iterable[Allocation]) -> list[Allocation]:
    """In the order in which places are looked for."""
    return sorted(pods, key=lambda one: (-_size(one), one.pod.uid))


def _names(pods: Iterable[Allocation]) -> list[set[str]]:
    return [{device.name for device in one.devices} for one in pods]


def _size(one: Allocation) -> int:
    """How much of devices a pod takes, in thousandths of a device."""
    size = 0
    for device, compute, vram in one.amounts():
        size += max(1000 * compute // (device.compute or 1), 1000 * vram // (device.vram or 1))
    return size


def _kept_by_pods(pods: Iterable[Allocation], pool: PoolColumns, terms: Terms) -> Kept | None:
    for one in pods:
        pod = one.pod
        why = terms.veto(pod)
        if one.nominated:
            why = Why.PROMISED
        elif not one.confirmed:
            why = Why.ARRIVING
        elif any(device.facts is None or device.facts.pool != pool.name for device in one.devices):
            why = Why.OTHER_POOL
        elif pod.gang is not None:
            why = Why.GANG
        elif pod.protected_until > terms.now:
            why = Why.PROTECTED
        elif why is None and terms.now - unix_seconds(pod.created) <= terms.min_age:
            why = Why.YOUNG
        if why is not None:
            return Kept(why, pod)
    return None


def _kept_by_budgets(pods: Iterable[Allocation], terms: Terms) -> Kept | None:
    wanted: Counter[str] = Counter()
    for one in pods:
        budgets = terms.budgets(one.pod)
        if not budgets:
            return Kept(Why.MISSING_PDB, one.pod)
        wanted.update(budgets.keys())
        # the server evicts no pod that two budgets cover
        if len(budgets) > 1 or any(wanted[name] > allowed for name, allowed in budgets.items()):
            return Kept(Why.PDB_BLOCKED, one.pod)
    return None
