"""What a scheduler does when it begins or ceases to decide, or decides about other shards than before.

Apart from ``leading`` because that says when decisions may be taken, and this is what follows for what is kept: whoever
ceases gives back what is kept for nominated pods, gangs and moved pods, and whoever begins looks at all of it anew.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.model.core import Pod
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.containment import contained
from tensorfusion.scheduler.defrag import Defragmenter
from tensorfusion.scheduler.gangs import Gangs
from tensorfusion.scheduler.pods import PodBook
from tensorfusion.scheduler.preemptor import Preemptor
from tensorfusion.scheduler.reports import FAILED, Reports
from tensorfusion.scheduler.shards import Shards
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


class Handover:
    """What is kept for pods, given back and taken up again. ``kick`` is for the loop to look."""

    def __init__(
        self,
        state: State,
        book: PodBook,
        preemptor: Preemptor,
        gangs: Gangs,
        defrag: Defragmenter,
        *,
        clock: Clock,
        pods: Cache[Pod],
        reports: Reports,
        kick: Callable[[], None],
    ) -> None:
        self._state = state
        self._book = book
        self._preemptor = preemptor
        self._gangs = gangs
        self._defrag = defrag
        self._clock = clock
        self._pods = pods
        self._reports = reports
        self._kick = kick
        self._stood_down = False
        """It was not decided here for a while: what was promised is given back, and nobody was looked for."""

    def stand_down(self) -> None:
        """It is not decided here now. Called at every step of the loop while that is so."""
        if self._preemptor.nominations:
            contained("give back what is kept for nominated pods", self._preemptor.surrender)
        contained("give up what is kept for gangs", self._gangs.surrender)
        contained("give up what is kept for moved pods", self._defrag.surrender)
        self._stood_down = True

    def resume(self) -> None:
        """It is decided here: where it was not until now, promises come first, then all who were not looked for."""
        if self._stood_down:
            self._stood_down = False
            contained("look for what was promised", self._look_again)

    def _look_again(self) -> None:
        self._preemptor.resume()
        self._wake_all()

    def take_over(self, epoch: int) -> None:
        """From here on this replica decides; what it did not say while it only followed, it says now."""
        self._preemptor.surrender()  # what an earlier epoch nominated is looked at anew
        self._defrag.surrender()
        self._stood_down = True
        self._kick()
        for pod in self._pods.all() if self._book.unreadable else ():
            message = self._book.unreadable.get(pod.metadata.uid)
            if message is not None:
                self._reports.held_back(pod, event=FAILED, message=message)
        log.info("scheduling", epoch=epoch, pods=len(self._state.allocations))

    def regroup(self, shards: Shards) -> None:
        """Decide what is decided here from now on, and nothing else."""
        if shards.changed():
            self._preemptor.surrender()
            self._gangs.surrender()
            self._defrag.hand_over()
            for pod in self._pods.all():
                if not pod.spec.node_name:
                    self._book.observe(pod)
            self._preemptor.resume()
        elif not shards.rested():
            return
        self._wake_all()

    def _wake_all(self) -> None:
        self._book.queue.wake(lambda _: True, now=self._clock.monotonic())
