"""Who holds what is another namespace's own: of whom a pod that stays within its namespace's own may ask it back.

Apart from the search for victims because that knows nodes and ranks, and this knows trees of quotas. A namespace *owes*
in a dimension while it holds more of it than its own, and so does every cohort between it and the one in which it meets
the asking namespace: what is lent inside a cohort that stays within its own is no business of other cohorts. A pod may
be asked for while its namespace owes in a dimension of which the pod holds some, the pods that go before it counted as
gone. So nobody comes to hold less than its own by more than a part of one pod, and any part of those that may go
together may go.

Only dimensions count that the asking namespace shares and of which its pods take any.

Those who hold the largest share above their own give back first, compared from the root down; of one namespace's pods
the cheapest victims.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS, Node, Sums
from tensorfusion.scheduling.cohorts import policy_between
from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.quota import asked_of_shares, within_own
from tensorfusion.scheduling.state import State

Turn: TypeAlias = tuple[tuple[int, str], ...]
BAND: Final = 1 << 36
"""Added to ranks, times the place of the namespace in the order of shares: above every difference of ranks."""


class Debtor:
    """A namespace that holds more than its own, seen from the one that asks."""

    __slots__ = ("below", "lower_only", "node", "path")

    def __init__(self, node: Node, meeting: Node, policy: ReclaimPolicy) -> None:
        self.node = node
        self.path = node.path[1:]
        """From below the root to the namespace."""
        self.below = [one for one in self.path if one not in meeting.path]
        """From below where both meet to the namespace: each of these has to hold more than its own."""
        self.lower_only = policy is ReclaimPolicy.LOWER_PRIORITY


class Owing:
    """The debtors of a tree by namespace, and what they hold as pods go one after the other.

    ``fork`` makes another one to try things out in. ``shields``: nobody is asked because of a debt, but of a debtor's
    pods only those may go, for whatever reason, without which it still holds its own.
    """

    def __init__(
        self,
        debtors: Mapping[str, Debtor],
        parts: Collection[int] = DIMENSIONS,
        *,
        below: "Owing | None" = None,
        shields: bool = False,
    ) -> None:
        self.debtors = debtors
        self.parts = parts
        """The dimensions in which a debt counts."""
        self.shields = shields
        self._sums: Sums = Sums(None if below is None else below._sums)
        if below is None:  # the books change while things are tried out in them
            for debtor in debtors.values():
                for node in (debtor.node.root, *debtor.path):
                    self._sums.own(node)

    def fork(self) -> "Owing":
        """The same, to go on from without changing this one."""
        return Owing(self.debtors, self.parts, below=self, shields=self.shields)

    def release(self, allocations: Iterable[Allocation], sign: int = 1) -> None:
        """These pods go (or, with -1, stay after all)."""
        for one in allocations:
            debtor = self.debtors.get(one.pod.namespace)
            if debtor is not None and one.pod.request is not None:
                self._sums.release(debtor.node, debtor.node.of_it(one.usage.shared), sign)

    def may_go(self, allocations: Iterable[Allocation]) -> bool:
        """Whether all of these, of one namespace, may be asked for as one, as things are here."""
        total, debtor = [0, 0, 0], None
        for one in allocations:
            debtor = self.debtors.get(one.pod.namespace)
            for part, amount in zip(DIMENSIONS, one.usage.shared, strict=True):
                total[part] += amount
        if debtor is None:
            return False
        own = debtor.node.own
        return any(
            total[part] > 0
            and own[part] is not None
            and all(self._sums.of(one)[part] > one.quota[part] for one in debtor.below)
            for part in self.parts
        )

    def bounds(self, namespace: str, *, owed: bool) -> bool:
        """Whether a pod of the namespace may go only while that holds more than its own."""
        return namespace in self.debtors if self.shields else owed

    def places(self) -> dict[str, int]:
        """By namespace its place in the order in which they give back; 0 is the first."""
        return {name: place for place, name in enumerate(sorted(self.debtors, key=self.turn))}

    def turn(self, namespace: str) -> Turn:
        """The smaller one gives back first."""
        return tuple((-one.standing(held=self._sums.of(one)), one.name) for one in self.debtors[namespace].path)


def owed_to(
    state: State, pods: Iterable[PodFacts], spared: AbstractSet[str] = frozenset(), *, charged: bool = False
) -> Owing | None:
    """Of whom these pods of one namespace, which are to be placed, may ask back what is its own.

    None where nobody owes it anything, or the namespace would hold more than its own with them. The end of the
    ``spared`` is not counted on. ``charged``: what the pods ask for counts as held already, and pods of their namespace
    that go as gone. The columns of residents have to be up to date.
    """
    asking = list(pods)
    cohorts = state.quotas.cohorts
    node = cohorts.member(asking[0].namespace) if cohorts.active else None
    if node is None or not node.root.borrowers:
        return None
    if charged:
        less = [one.usage.shared for one in _those_that_go(state, spared) if one.pod.namespace == node.name]
        more = -sum(part[0] for part in less), -sum(part[1] for part in less), -sum(part[2] for part in less)
    else:
        more = asked_of_shares(pod.request for pod in asking if pod.request is not None)
    if not within_own(node, more, node.held if charged else None):
        return None
    parts = _asked_and_shared(node, asking)
    debtors = {}
    for name in node.root.borrowers - {node.name}:
        other = cohorts.member(name)
        if other is None:
            continue
        meeting, policy = policy_between(node, other)
        debtor = Debtor(other, meeting, policy)
        if policy is not ReclaimPolicy.NEVER and _owes(debtor, parts):
            debtors[name] = debtor
    if not debtors:
        return None
    owing = Owing(debtors, parts)
    owing.release(_those_that_go(state, spared))
    return owing


def still_owed(state: State, pods: Sequence[PodFacts], rest: Iterable[Sequence[Allocation]]) -> bool:
    """Whether what is left to be asked for may still go for these pods, which are charged as nominated.

    ``rest`` are the pods that are still to be evicted, those of a gang as one; all others that are waited for count as
    gone. Nothing but what is in the books now is asked: the policy, the sums, and what is the namespace's own.
    """
    left = [unit for unit in rest if unit]
    if not left:
        return True
    uids = {one.pod.uid for unit in left for one in unit}
    owing = owed_to(state, pods, uids, charged=True)
    if owing is None:
        return False
    rank = min(pod.rank for pod in pods)
    for unit in left:
        debtor = owing.debtors.get(unit[0].pod.namespace)
        if debtor is None or (debtor.lower_only and any(one.pod.rank >= rank for one in unit)):
            return False
        owing.release(unit)
    while (
        left
    ):  # some order in which each is owed when it goes: whoever may be the last of all may be so in one of those
        for unit in left:
            owing.release(unit, -1)
            if owing.may_go(unit):
                left.remove(unit)
                break
            owing.release(unit)
        else:
            return False
    return True


def given_back(state: State, pods: Sequence[PodFacts], ending: Iterable[str]) -> frozenset[str]:
    """Which of these pods, that end anyway, give back by it what is the own of these pods' namespace.

    Nobody remembers why a pod ends: a predecessor may have asked it to, or its owner. Whichever it was, what its
    namespace held too much of goes back to whom it belongs.
    """
    uids = frozenset(ending)
    state.residents.sync()
    owing = owed_to(state, pods, uids) if uids and state.quotas.cohorts.active else None
    found: set[str] = set()
    if owing is None:
        return frozenset()
    rank = min(pod.rank for pod in pods)
    for uid in sorted(uids & state.allocations.keys()):
        one = state.allocations[uid]
        debtor = owing.debtors.get(one.pod.namespace)
        if debtor is not None and not (debtor.lower_only and one.pod.rank >= rank) and owing.may_go((one,)):
            owing.release((one,))
            found.add(uid)
    return frozenset(found)


def shield_from(state: State, pods: Iterable[PodFacts], spared: AbstractSet[str] = frozenset()) -> Owing | None:
    """Who of its tree keeps its own from these pods of one namespace, however important they are.

    None where the namespace is in no cohort or would hold no more than its own with them.
    """
    asking = list(pods)
    cohorts = state.quotas.cohorts
    node = cohorts.member(asking[0].namespace) if cohorts.active else None
    if node is None or state.quotas.stay_within_own(node.name, [pod.request for pod in asking]):
        return None
    debtors = {}
    for name in cohorts.together(node.name):
        other = cohorts.member(name)
        if other is not None and other.parent is not None and other is not node:
            debtors[name] = Debtor(other, other.parent, ReclaimPolicy.ANY)
    shield = Owing(debtors, shields=True)
    shield.release(_those_that_go(state, spared))
    return shield


def _those_that_go(state: State, spared: AbstractSet[str]) -> Iterator[Allocation]:
    """They go already: nobody has to go instead of them."""
    for uid in (state.residents.ending | state.awaited) - spared:
        one = state.allocations.get(uid)
        if one is not None and not one.nominated:
            yield one


def stays_within(state: State, places: Iterable[tuple[PodFacts, Placement]]) -> bool:
    """Whether the namespace holds no more than its own with these pods in these places."""
    more, node = [0, 0, 0], None
    for pod, placement in places:
        node = state.quotas.cohorts.member(pod.namespace)
        if pod.request is None:
            continue
        devices = tuple(state.fleet.devices[name] for name in placement.devices)
        amounts = Allocation(pod, placement, confirmed=False, devices=devices).usage.shared
        more = [held + amount for held, amount in zip(more, amounts, strict=True)]
    return node is not None and within_own(node, (more[0], more[1], more[2]))


def _asked_and_shared(node: Node, pods: Iterable[PodFacts]) -> list[int]:
    """The dimensions of which these pods take any and which their namespace shares."""
    asked = [False, False, False]
    for pod in pods:
        request = pod.request
        if request is not None:
            asked[0] |= request.compute > 0 or request.percent > 0
            asked[1] |= request.vram > 0
            asked[2] |= request.count > 0
    return [part for part in DIMENSIONS if asked[part] and node.own[part] is not None]


def _owes(debtor: Debtor, parts: Iterable[int]) -> bool:
    return any(all(one.above(part) for one in debtor.below) for part in parts)
