"""Pods that ask for the same, and what the columns say to them: computed once, then corrected row by row.

A *class* is everything that a decision looks at in a pod: amounts, device wishes, the rules for nodes, the needs of the
node. Two pods of one class get the same answer from the same fleet, so the answer of every device and node and the
ranking key of every row are kept with the class (``rated``). When the class is used again it reads the logs of what
changed since and looks at those rows anew; where that is too much, at all of them. The counts per reason are corrected
with the codes, so they are always those of the moment.

The classes kept are bounded in number and in bytes; the one that was not used for longest goes.

Where a pool looks ahead, what a class finds out at its use is worth milliseconds. Whoever has nothing to decide has the
classes of such pools brought up to date meanwhile (``catch_up_one``), so that the next decision finds it done.

Rejected: correcting every class whenever a row changes. It costs the same for classes that no pod asks for any more.
"""

from operator import itemgetter
from typing import Final, TypeAlias, TypeVar

from tensorfusion.scheduling.ahead_class import AheadClass
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.foresight import Foresights, Mark, looks_ahead, mark_of
from tensorfusion.scheduling.nodes import NodeColumns
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import Room
from tensorfusion.scheduling.rated import PlainClass, Rated, ShareClass
from tensorfusion.scheduling.shapes import rules_of

ClassKey: TypeAlias = tuple[object, ...]

KEPT_CLASSES: Final = 512
KEPT_BYTES: Final = 64 << 20

_Rated = TypeVar("_Rated", bound=Rated)


class Classes:
    """The classes that were used last."""

    def __init__(
        self, limit: int = KEPT_CLASSES, most_bytes: int = KEPT_BYTES, *, foresights: Foresights | None = None
    ) -> None:
        self.foresights = foresights or Foresights()
        self._limit = limit
        self._most_bytes = most_bytes
        self._kept: dict[ClassKey, Rated] = {}
        self._uses = 0
        self.bytes = 0
        """Memory that all of them take."""
        self._moment: tuple[int, dict[PoolColumns, Mark]] | None = None
        """Uses so far, and what the pools that look ahead were like, when ``_behind`` was written."""
        self._behind: list[ClassKey] = []
        """Classes that may be behind, the one used last at the end."""

    def shares(self, pool: PoolColumns, nodes: NodeColumns, pod: PodFacts) -> ShareClass:
        """The pod's class, up to date."""
        pool.follow_wirings()
        if looks_ahead(pool):
            self.foresights.of(pool)
        key = key_of(pod)
        known = self._known(key)
        if isinstance(known, ShareClass) and known.pool is pool:
            return known
        return self._keep(key, self.fresh(pool, nodes, pod))

    def fresh(self, pool: PoolColumns, nodes: NodeColumns, pod: PodFacts, room: Room | None = None) -> ShareClass:
        """The pod's class as of now; with ``room`` it is the answer of one moment, and must not be caught up."""
        if looks_ahead(pool):
            return AheadClass(pool, nodes, pod, self.foresights.of(pool), room)
        return ShareClass(pool, nodes, pod, room)

    def plain(self, nodes: NodeColumns, pod: PodFacts) -> PlainClass:
        """The class of a pod without shares, up to date."""
        key = key_of(pod)
        known = self._known(key)
        if isinstance(known, PlainClass):
            return known
        return self._keep(key, PlainClass(nodes, pod))

    def catch_up_one(self) -> bool:
        """Bring one class of the pools that look ahead up to date, of those that are behind the one used last.

        For moments in which nothing is to be decided, outside of statements: no answer is another one for it, no class
        comes or goes, and none counts as used. False where none is behind.
        """
        marks = self.foresights.marks()
        if not marks:
            return False
        moment = self._uses, marks
        if moment != self._moment:
            self._moment = moment
            ahead = [(one.used_at, key) for key, one in self._kept.items() if isinstance(one, AheadClass)]
            self._behind = [key for _, key in sorted(ahead, key=itemgetter(0))]
        while self._behind:
            key = self._behind.pop()
            known = self._kept.get(key)
            if not isinstance(known, AheadClass):
                continue
            mark = marks.get(known.pool)
            if mark is not None and mark != known.rested_at and self._rest(key, known):
                return True
        return False

    def _rest(self, key: ClassKey, known: AheadClass) -> bool:
        """Answers whether the class is up to date then; otherwise its next use starts anew."""
        pool = known.pool
        pool.follow_wirings()
        self.foresights.of(pool)
        if not known.rest():
            fresh = known.anew()
            if fresh is None or self.bytes - known.bytes + fresh.bytes > self._most_bytes:
                return False
            fresh.rest()
            fresh.used_at = known.used_at
            self.bytes += fresh.bytes - known.bytes
            self._kept[key] = known = fresh
        known.rested_at = mark_of(pool)
        return True

    def __len__(self) -> int:
        return len(self._kept)

    def _known(self, key: ClassKey) -> Rated | None:
        known = self._kept.get(key)
        if known is not None:
            if known.catch_up():
                self._uses += 1
                known.used_at = self._uses
                return known
            del self._kept[key]
            self.bytes -= known.bytes
        return None

    def _keep(self, key: ClassKey, fresh: _Rated) -> _Rated:
        replaced = self._kept.pop(key, None)
        if replaced is not None:
            self.bytes -= replaced.bytes
        self._kept[key] = fresh
        self._uses += 1
        fresh.used_at = self._uses
        self.bytes += fresh.bytes
        if len(self._kept) > self._limit or self.bytes > self._most_bytes:
            self._make_room()
        return fresh

    def _make_room(self) -> None:
        """Forget classes in the order of their last use: looking for it here spares every use its writing down."""
        for key in sorted(self._kept, key=lambda key: self._kept[key].used_at):
            within = len(self._kept) <= self._limit - self._limit // 16 and self.bytes <= self._most_bytes
            if within or len(self._kept) == 1:
                break
            self.bytes -= self._kept.pop(key).bytes


def key_of(pod: PodFacts) -> ClassKey:
    """Everything that a decision looks at in a pod, but its namespace's quota."""
    extended = tuple(sorted(pod.extended.items())) if pod.extended else ()
    needs = (pod.cpu, pod.memory, pod.native, extended, rules_of(pod))
    request = pod.request
    if request is None:
        return needs
    return (
        request.pool,
        request.isolation,
        request.count,
        request.compute,
        request.percent,
        request.vram,
        request.model,
        request.vendor,
        request.indices,
        request.partition,
        pod.topology,
        needs,
    )
