"""The gangs that the scheduler knows: who their members are, where each of them stands, and what was said of them.

Apart from the decisions (``gangs``) because it is only ever a view of the pods: it is fed by whoever sees a pod, holds
nothing that a successor could not rebuild, and decides nothing.

*Satisfied* is derived, never stored: a gang is satisfied once a member of it is placed, has ended well, or is about to
be bound. From then on its other members are placed singly. So a scheduler that stopped half-way through the Bindings of
a gang leaves one whose rest its successor completes, and a gang whose members are all gone starts as a whole again.
Pods that failed or are being deleted prove nothing: those that replace them all start together.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from tensorfusion.model.core import Pod
from tensorfusion.model.gang import Gang
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import GangUnschedulable


@dataclass(slots=True, eq=False)
class Group:
    """One gang. Pods are by uid: ``pending`` wait for a place, ``held`` are bound, ``done`` have ended well."""

    key: str
    gang: Gang
    stamps: dict[str, tuple[str, str, Gang]] = field(default_factory=dict)
    """Creation time, uid and stamps of each member: what the youngest one's say counts for all."""
    youngest: tuple[str, str] = ("", "")
    pending: dict[str, PodFacts] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    """Bound members and their nodes."""
    done: set[str] = field(default_factory=set)
    elsewhere: dict[str, str] = field(default_factory=dict)
    """Members that wait and that another scheduler places, and their pools: then it has a say about the gang.

    Unless these are not all in one pool with those to place here: such a gang cannot start anywhere.
    """
    failure: GangUnschedulable | None = None
    attempts: int = 0
    retry_at: float = float("-inf")
    """Monotonic seconds before which the gang is not decided again."""
    settled: bool = False
    """It was satisfied when somebody looked last."""
    timed_out: bool = False
    tell_at: float | None = None
    """When its members hear that some are missing; None when they know."""
    weighed_at: float = float("-inf")
    """When it was last looked at whether it may keep younger pods waiting."""

    @property
    def active(self) -> int:
        """Members that run or could."""
        return len(self.pending) + len(self.held)

    @property
    def complete(self) -> bool:
        """Enough members are known to start, and all are for this scheduler to place."""
        return self.active >= self.gang.required and not self.elsewhere

    @property
    def divided(self) -> frozenset[str]:
        """The pools that its members ask for where these are several and not all for this scheduler; else empty."""
        if not self.elsewhere:
            return frozenset()
        pools = {facts.request.pool for facts in self.pending.values() if facts.request is not None}
        pools.update(filter(None, self.elsewhere.values()))  # one that names no pool cannot be read
        return frozenset(pools) if len(pools) > 1 else frozenset()

    @property
    def speaks(self) -> bool:
        """Whether it is for this scheduler to say why its members wait; of several owners each does, to its own."""
        return not self.elsewhere or bool(self.pool and self.divided)

    def follow_youngest(self, uid: str) -> None:
        """A member came or went: the stamps of the youngest one that is there count, and of none that is gone."""
        own = self.stamps.get(uid)
        if own is None and uid == self.youngest[1]:
            own = max(self.stamps.values(), key=lambda one: one[:2], default=None)
        elif own is not None and own[:2] < self.youngest:
            return
        if own is not None:
            self.youngest, self.gang = own[:2], own[2]

    @property
    def is_empty(self) -> bool:
        """Nobody is in it any more."""
        return not (self.pending or self.held or self.done or self.elsewhere)

    @property
    def complete_since(self) -> str:
        """When the last of the required members was created (RFC 3339); empty before."""
        created = sorted(facts.created for facts in self.pending.values())
        return created[self.gang.required - 1] if len(created) >= self.gang.required else ""

    @property
    def waiting_since(self) -> str:
        """When the first of its pending members was created."""
        return min((facts.created for facts in self.pending.values()), default="")

    @property
    def priority(self) -> int:
        """That of its highest member."""
        return max((facts.priority for facts in self.pending.values()), default=0)

    @property
    def pool(self) -> str:
        """The pool that it asks for; empty for pods without shares."""
        for facts in self.pending.values():
            if facts.request is not None:
                return facts.request.pool
        return ""


class GangBook:
    """Groups by key. ``assumed`` are the uids of pods whose Bindings are on their way."""

    def __init__(self, assumed: Collection[str]) -> None:
        self.groups: dict[str, Group] = {}
        self._assumed = assumed
        self.changed: dict[str, None] = {}
        """Keys of groups whose members changed since somebody looked, in that order."""
        self._keys: dict[str, str] = {}
        """The group of each member."""

    def __len__(self) -> int:
        return len(self.groups)

    def observe(self, pod: Pod, gang: Gang | None, facts: PodFacts | None, *, elsewhere: str | None = None) -> None:
        """Take in a view of a pod; ``facts`` where it waits here, ``elsewhere`` its pool where it waits for another."""
        uid = pod.metadata.uid
        if gang is None:
            self.left(uid)
            return
        known = self._keys.get(uid)
        if known is not None and known != gang.key:
            self.left(uid)
        group = self.groups.get(gang.key)
        if group is None:
            group = self.groups[gang.key] = Group(gang.key, gang)
        self._keys[uid] = gang.key
        before = _seat(group, uid)
        _drop(group, uid)
        if pod.finished:
            if pod.spec.node_name and pod.status.phase == "Succeeded":
                group.done.add(uid)
        elif pod.metadata.deleting:
            pass
        elif pod.spec.node_name:
            group.held[uid] = pod.spec.node_name
        elif facts is not None:
            group.pending[uid] = facts
        elif elsewhere is not None:
            group.elsewhere[uid] = elsewhere
        if _seat(group, uid) != _NO_SEAT:
            group.stamps[uid] = (pod.metadata.creation_timestamp or "", uid, gang)
        group.follow_youngest(uid)
        if _seat(group, uid) != before:
            self.changed[gang.key] = None
        if group.is_empty:
            self.left(uid)

    def left(self, uid: str) -> None:
        """The pod is gone; nothing happens for one that is in no gang."""
        key = self._keys.pop(uid, None)
        group = self.groups.get(key) if key is not None else None
        if group is None:
            return
        _drop(group, uid)
        group.follow_youngest(uid)
        self.changed[group.key] = None
        if group.is_empty:
            del self.groups[group.key]

    def of(self, uid: str) -> Group | None:
        """The group of a member."""
        key = self._keys.get(uid)
        return self.groups.get(key) if key is not None else None

    def goes_singly(self, facts: PodFacts) -> bool:
        """Whether any place is as good for the pod as for one of no gang: it is in none, or its gang runs already."""
        if facts.gang is None:
            return True
        group = self.of(facts.uid)
        if group is None or not self.is_satisfied(group):
            return False
        return facts.gang.topology is not GangTopology.REQUIRED

    def is_satisfied(self, group: Group) -> bool:
        """Whether a member has, had or is getting a place: the others are placed singly."""
        return bool(group.held or group.done) or any(uid in self._assumed for uid in group.pending)


_NO_SEAT = (None, None, False, None)


def _seat(group: Group, uid: str) -> tuple[PodFacts | None, str | None, bool, str | None]:
    return group.pending.get(uid), group.held.get(uid), uid in group.done, group.elsewhere.get(uid)


def _drop(group: Group, uid: str) -> None:
    group.pending.pop(uid, None)
    group.held.pop(uid, None)
    group.done.discard(uid)
    group.elsewhere.pop(uid, None)
    group.stamps.pop(uid, None)
