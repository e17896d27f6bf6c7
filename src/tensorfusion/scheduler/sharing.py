"""What it changes for a single pod that several schedulers share the pools: who decides, who waits, who says why.

Apart from the service because nothing of it happens where one scheduler has everything, and apart from ``shards``
because that knows Leases and no queue.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.errors import NotFit
from tensorfusion.model.core import Pod
from tensorfusion.policy.shards import COMMON
from tensorfusion.scheduler.binder import Term
from tensorfusion.scheduler.pods import Failure, Pending, PodBook
from tensorfusion.scheduler.shards import Scope, Shards, WaitsForOwner
from tensorfusion.scheduler.territory import pool_of
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.scheduling.state import State


class Sharing:
    """The questions that a scheduler's loop asks of its shards. ``told`` hears why a pod waits for other owners."""

    def __init__(
        self,
        shards: Shards,
        state: State,
        book: PodBook,
        *,
        clock: Clock,
        told: Callable[[Pod, str], None],
        idle: Callable[[], bool],
        kick: Callable[[], None],
    ) -> None:
        self._shards = shards
        self._book = book
        self._clock = clock
        self._told = told
        self._idle = idle
        state.domain = shards.domain
        quotas = state.quotas
        shards.serve(
            Scope(
                pools=lambda: state.fleet.pools,
                has_ceiling=lambda namespace: quotas.ceiling(namespace) is not None,
                together=quotas.cohorts.together,
                capped=lambda: quotas.capped,
                drained=self._drained,
                kick=kick,
            )
        )

    def is_elsewhere(self, pending: Pending, pod: Pod) -> bool:
        """A pod with shares waits while others would have a say about it; a quota is the reason that lasts."""
        obstacle = self._shards.obstacle(pending.facts)
        if obstacle is None:
            return False
        pending.attempts -= 1
        if obstacle.lasts:
            self._told(pod, str(obstacle))
        self._wait(pending, obstacle)
        return True

    def yields(self, pending: Pending, decision: Decision) -> bool:
        """A pod without shares that would fit on nodes of others, too, waits while it is the turn of those."""
        if pending.facts.request is not None or NodeReason.OTHER_OWNER not in decision.counts:
            return False
        if pending.attempts > self._shards.turn(pending.uid):
            return False
        self._book.queue.retry(pending.uid, now=self._clock.monotonic())
        return True

    def leaves(self, pending: Pending, failure: Failure) -> bool:
        """A pod that others place, or that others say why it waits."""
        if isinstance(failure, WaitsForOwner):
            self._wait(pending, failure)
            return True
        if pending.facts.request is not None:
            return False
        fits_elsewhere = isinstance(failure, NotFit) and NodeReason.OTHER_OWNER in failure.reasons
        speaks = self._shards.decides(COMMON)
        if speaks and not fits_elsewhere:
            return False
        if speaks:  # nothing tells when the nodes of others are full, and then somebody has to say so
            self._book.queue.retry(pending.uid, now=self._clock.monotonic())
        else:
            self._wait(pending, failure)
        return True

    def tells(self, pod: Pod) -> bool:
        """Whether it is this scheduler that says why the pod waits."""
        return pool_of(pod) is not None or self._shards.decides(COMMON)

    def term(self, facts: PodFacts, node: str) -> Term:
        """In whose name a pod is placed on a node.

        Raises:
            WaitsForOwner: the shard is not this replica's any more.
        """
        shard = self._shards.shard_of(facts, node)
        if not self._shards.decides(shard):
            raise WaitsForOwner(facts)
        return self._shards.term(shard)

    def _wait(self, pending: Pending, failure: Failure) -> None:
        failure.__traceback__ = None  # kept while the pod waits, and its frames with it
        self._book.queue.failed(pending, failure, now=self._clock.monotonic())

    def _drained(self, shard: str) -> bool:
        """Whether nothing that was decided in the name of a shard, or that goes to its nodes, is on its way."""
        shard_of = self._shards.territory.shard_of
        return self._idle() and not any(
            one.answered_at is None
            and one.binding.term is not None
            and shard in (one.binding.term.shard, shard_of(one.binding.node))
            for one in self._book.assumed.values()
        )
