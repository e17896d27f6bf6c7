"""Send Bindings, and find out what became of those whose fate is unknown.

Apart from the service because a Binding is the one write that must never be wrong: it is sent only while this replica
leads, in the epoch in which it was decided, with the pod's uid as precondition. Three answers are certain (bound,
gone, refused). Every other (a lost reply, a timeout, a conflict) is a *doubt*: the devices stay held, the pod is
read, and the same Binding, never a different one, is sent again if the pod turns out to be unbound. Re-sending the
same placement is what makes a lost request harmless: whether the first one lands late or not, the pod ends on the
devices we hold for it.

Rejected: forgetting at a lost reply. The first request may still be on its way, and by the time it lands the devices
would have been given to somebody else.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.errors import ApiError, Conflict, Forbidden, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.queue import WorkQueue
from tensorfusion.scheduling.wiring import Plan
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

IN_FLIGHT = 64
BACKLOG = 256
"""Decided Bindings that wait for a free slot; the service stops deciding beyond it. A gang's come all at once."""
REFILL = BACKLOG // 2
"""How far the backlog goes down before decisions go on: many at a time cost less than one for every answer."""
CONCLUSIVE_AFTER = 65.0
"""Seconds after which an unanswered request cannot land any more: API servers cut requests off at 60 s."""


class Outcome(StrEnum):
    """What became of a Binding."""

    BOUND = "bound"
    SEEN = "seen"
    """The pod was read and has a node; it may be another than ours."""
    GONE = "gone"
    CONFLICT = "conflict"
    FENCED = "fenced"
    REFUSED = "refused"
    NOT_LEADING = "not-leading"
    EXPIRED = "expired"
    """Unanswered for so long, and the pod still unbound, that it can no longer land."""


class Term(msgspec.Struct, frozen=True, gc=False):
    """A shard, and the epoch of its Lease in which something was decided."""

    shard: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.epoch}/{self.shard}"


class Binding(msgspec.Struct, frozen=True, gc=False):
    """One decision on its way to the API server. ``epoch`` is the leader's at the time of the decision."""

    uid: str
    key: Key
    node: str
    devices: tuple[str, ...]
    annotations: dict[str, str]
    epoch: int
    decided_at: float
    """Seconds of the monotonic clock."""
    plan: Plan | None = None
    """How near its devices are to each other, where that was asked."""
    term: Term | None = None
    """Where several schedulers share the pools: in whose name it was decided."""


class Leadership(Protocol):
    """The part of a leader elector that the scheduler looks at."""

    @property
    def epoch(self) -> int: ...

    def is_leader(self) -> bool: ...


Settle = Callable[[Binding, Outcome, Pod | None, str], None]
"""Called once for every Binding with its outcome, the pod as read (``SEEN`` only) and a line for the log."""


@dataclass(slots=True)
class _Doubt:
    binding: Binding
    last_sent: float
    resend: bool
    """Whether an unbound pod means that the same Binding is sent again; after a conflict it is not."""


class Binder:
    """Bindings in flight (at most 64) and in doubt."""

    def __init__(
        self,
        api: Api,
        leadership: Leadership,
        *,
        clock: Clock,
        settle: Settle,
        holds: Callable[[Term], bool] = lambda _: True,
    ) -> None:
        self._api = api
        self._holds = holds
        self._leadership = leadership
        self._clock = clock
        self._settle = settle
        self._ready: asyncio.Queue[Binding] = asyncio.Queue()
        self._doubts: dict[str, _Doubt] = {}
        self._reads: WorkQueue[str] = WorkQueue(clock, name="binder-reads", base_delay=1.0, max_delay=10.0)

    @property
    def backlog(self) -> int:
        """Decided Bindings not sent yet."""
        return self._ready.qsize()

    @property
    def has_room(self) -> bool:
        return self._ready.qsize() < BACKLOG

    @property
    def in_doubt(self) -> int:
        return len(self._doubts)

    def submit(self, binding: Binding) -> None:
        """Queue a Binding; the caller looks at ``has_room`` first."""
        self._ready.put_nowait(binding)

    def doubt(self, binding: Binding) -> None:
        """A Binding was answered with success but the watch does not show it: read the pod."""
        self._question(binding, resend=False)

    async def run(self) -> None:
        """Send and read until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(self._sender())
            for _ in range(4):
                group.create_task(self._reader())

    async def _sender(self) -> None:
        while True:
            binding = await self._ready.get()
            await self._send(binding)

    async def _send(self, binding: Binding) -> None:
        if not self._leads(binding):
            self._settle(binding, Outcome.NOT_LEADING, None, "leadership ended between decision and Binding")
            return
        try:
            await self._api.bind(
                binding.key.namespace,
                binding.key.name,
                uid=binding.uid,
                node=binding.node,
                annotations=binding.annotations,
            )
        except NotFound as error:
            self._settled(binding, Outcome.GONE, str(error))
        except (ServerError, TimeoutError, OSError) as error:
            log.warning("binding unanswered", pod=binding.key, node=binding.node, error=error)
            self._question(binding, resend=True)
        except ApiError as error:
            if _is_fence(error):
                self._declined(binding, Outcome.FENCED, str(error))
            elif isinstance(error, Conflict):
                self._question(binding, resend=False)
            else:
                self._declined(binding, Outcome.REFUSED, str(error))
        else:
            self._settled(binding, Outcome.BOUND, "")

    def _leads(self, binding: Binding) -> bool:
        leads = self._leadership.is_leader() and self._leadership.epoch == binding.epoch
        return leads and (binding.term is None or self._holds(binding.term))

    def _declined(self, binding: Binding, outcome: Outcome, why: str) -> None:
        """The server said no to this request; an earlier one that was never answered may have passed all the same."""
        doubt = self._doubts.get(binding.uid)
        if doubt is None or self._clock.monotonic() - doubt.last_sent >= CONCLUSIVE_AFTER:
            self._settled(binding, outcome, why)

    def _settled(self, binding: Binding, outcome: Outcome, why: str, *, pod: Pod | None = None) -> None:
        if self._doubts.pop(binding.uid, None) is not None:
            self._reads.forget(binding.uid)
        self._settle(binding, outcome, pod, why)

    def _question(self, binding: Binding, *, resend: bool) -> None:
        now = self._clock.monotonic()
        doubt = self._doubts.get(binding.uid)
        if doubt is None:
            self._doubts[binding.uid] = _Doubt(binding, now, resend)
            self._reads.add(binding.uid)
            return
        doubt.resend = resend
        if resend:
            doubt.last_sent = now

    async def _reader(self) -> None:
        while True:
            uid = await self._reads.get()
            try:
                again = await self._read(uid)
            finally:
                self._reads.done(uid)
            if again:
                self._reads.retry(uid)

    async def _read(self, uid: str) -> bool:
        """Ask the API server what became of one doubt; answers whether to ask again later."""
        doubt = self._doubts.get(uid)
        if doubt is None:
            return False
        binding = doubt.binding
        try:
            pod = await self._api.get(PODS, Pod, binding.key.name, namespace=binding.key.namespace)
        except NotFound as error:
            self._settled(binding, Outcome.GONE, str(error))
            return False
        except (ApiError, TimeoutError, OSError) as error:
            log.warning("pod unreadable", pod=binding.key, error=error)
            return True
        if pod.metadata.uid != uid:
            self._settled(binding, Outcome.GONE, "another pod has its name now")
        elif pod.spec.node_name:
            self._settled(binding, Outcome.SEEN, "", pod=pod)
        elif not doubt.resend:
            self._settled(binding, Outcome.CONFLICT, "the pod is not bound")
        elif self._leads(binding):
            await self._send(binding)
            return uid in self._doubts
        elif self._clock.monotonic() - doubt.last_sent >= CONCLUSIVE_AFTER:
            self._settled(binding, Outcome.EXPIRED, "not bound long after an unanswered Binding")
        else:
            return True
        return False


def _is_fence(error: ApiError) -> bool:
    """Admission refused the Binding because a later leader exists. Webhooks cannot give their denials a reason."""
    return isinstance(error, Conflict | Forbidden) and "no longer the leader" in str(error)
