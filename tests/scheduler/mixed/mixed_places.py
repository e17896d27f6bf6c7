"""Whether places are kept for anybody without an end: how often each pod or gang is nominated at one moment."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tensorfusion.model.core import Pod
from tensorfusion.scheduler.evictions import Fate
from tensorfusion.scheduler.nominations import Nomination, Party
from tensorfusion.scheduler.preemptor import Preemptor
from tensorfusion.scheduler.search_line import LOSSES_IN_A_ROW


class PlaceEye:
    """Looks over the shoulder of one preemptor. A victim that may not be evicted allows for one search more.

    Raises:
        AssertionError: within a search, where a moment would not end; the search is given up, and ``wrong`` says so.
    """

    def __init__(self, preemptor: Preemptor, now: Callable[[], float]) -> None:
        self.wrong: list[str] = []
        self._now = now
        self._moment = float("-inf")
        self._nominated: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._nominate, self._evicted = preemptor.nominate, preemptor.evicted
        preemptor.nominate = self._on_nominate  # type: ignore[method-assign]
        preemptor.evicted = self._on_evicted  # type: ignore[method-assign]

    def _on_nominate(self, nominees: Sequence[Any], plan: Any, party: Party | None = None) -> None:
        self._begin_moment()
        owner = nominees[0][1].uid if party is None else party.key
        self._nominated[owner] += 1
        if self._nominated[owner] > LOSSES_IN_A_ROW + 1 + self._kept[owner]:
            self.wrong.append(f"{owner} is nominated {self._nominated[owner]} times at {self._moment}")
            raise AssertionError(self.wrong[-1])
        self._nominate(nominees, plan, party)

    def _on_evicted(self, nomination: Nomination, victim: Pod, fate: Fate, why: str) -> None:
        self._begin_moment()
        self._kept[nomination.owner] += fate is Fate.KEPT
        self._evicted(nomination, victim, fate, why)

    def _begin_moment(self) -> None:
        if self._now() != self._moment:
            self._moment = self._now()
            self._nominated.clear()
            self._kept.clear()
