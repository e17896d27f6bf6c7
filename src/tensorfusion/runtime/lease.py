"""Leadership by a Lease: at most one replica acts, and it stops before another may start.

The holder counts its time from the moment *before* its last successful renewal was sent, on the monotonic clock, and
for two thirds of the Lease's duration only, so it takes itself for deposed well before anybody else can take over.
``is_leader`` looks at the clock every time: a process that was stopped (SIGSTOP) and goes on finds out at its first
look. The epoch is the Lease's number of transitions: whatever a stalled leader believes, what it writes under an older
epoch is refused by admission (the fence). A process that lost the Lease to silence but finds it untouched goes on in
the same epoch; one that was started anew never does, even under the same name.

Renewal is a task of its own with two small requests every few seconds, and the rest of the process yields to the event
loop between slices of work (informers after 500 objects, the scheduler after each batch of events), so renewal is not
starved. Rejected: a thread with its own loop. It would keep a hung process in office, and that is the one thing that
a Lease is there to prevent.

Source: coordination.k8s.io/v1 Lease as client-go's leader election uses it (observed time on the own clock, optimistic
concurrency by resourceVersion, transitions counted at every change of holder).
"""

import asyncio
import contextlib
import math
from collections.abc import Callable

from tensorfusion.clock import Clock
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Lease
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES
from tensorfusion.runtime.lease_claim import LeaseClaim
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import LEADER

_RELEASE_SECONDS = 3.0

log = get_logger(__name__)


def _nothing() -> None:
    pass


class LeaderElector:
    """Tries to hold one Lease. ``run`` until cancelled; ask ``is_leader`` right before every act.

    ``identity`` must differ between any two processes. Seconds: ``duration`` is how long others wait for a silent
    holder; it acts at most two thirds of that after its last renewal. ``metadata`` is what a Lease made here has beside
    its name.
    """

    def __init__(
        self,
        client: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        duration: float = 15.0,
        renew_every: float = 3.0,
        retry_every: float = 2.0,
        metadata: Raw | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._claim = LeaseClaim(namespace, name, identity, max(1, math.ceil(duration)), clock, metadata or {})
        self._renew_every = renew_every
        self._retry_every = retry_every
        self._valid_until = -math.inf
        self._epoch = -1
        self._claimed = -1
        """The transitions of the last takeover that was sent, answered or not."""
        self._seen: tuple[str, float] | None = None
        """The resource version of somebody else's Lease, and when this process first saw it."""
        self._told = False
        self._held = asyncio.Event()

    @property
    def name(self) -> str:
        """The Lease that is held or wanted."""
        return self._name

    @property
    def epoch(self) -> int:
        """The transitions of the Lease when this process last held it; -1 before it ever did."""
        return self._epoch

    def is_leader(self) -> bool:
        """Whether this process may act now. Never true once another process could have taken over."""
        return self._clock.monotonic() < self._valid_until

    def watched(self, version: str, since: float) -> None:
        """Somebody else's Lease has been at this version since then, on this clock: its time counts from there."""
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, since)

    def lapse(self) -> None:
        """Act no more, and leave the Lease to run out: what was sent may still be on its way."""
        self._valid_until = -math.inf

    async def run(self, on_started: Callable[[], None] = _nothing, on_stopped: Callable[[], None] = _nothing) -> None:
        """Try, hold, renew, try again, until cancelled; then give the Lease up, so that a successor need not wait.

        ``on_started`` and ``on_stopped`` tell of each change, in turns.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew(on_started, on_stopped))
                group.create_task(self._expire(on_started, on_stopped))
        finally:
            held = self.is_leader()
            self._valid_until = -math.inf
            self._tell(on_started, on_stopped)
            if held:
                await self._release()

    async def _renew(self, on_started: Callable[[], None], on_stopped: Callable[[], None]) -> None:
        while True:
            try:
                await self._try()
            except ApiError as error:
                log.warning("lease not renewed", lease=self._name, leading=self.is_leader(), error=error)
            self._tell(on_started, on_stopped)
            await self._clock.sleep(self._renew_every if self.is_leader() else self._retry_every)

    async def _expire(self, on_started: Callable[[], None], on_stopped: Callable[[], None]) -> None:
        """Tell of the end in time, also while a renewal waits for an answer that does not come."""
        while True:
            await self._held.wait()
            await self._clock.sleep(max(0.0, self._valid_until - self._clock.monotonic()))
            if not self.is_leader():
                self._tell(on_started, on_stopped)

    def _tell(self, on_started: Callable[[], None], on_stopped: Callable[[], None]) -> None:
        leading = self.is_leader()
        if leading:
            self._held.set()
        else:
            self._held.clear()
        if leading == self._told:
            return
        self._told = leading
        LEADER.labels(self._name).set(int(leading))
        log.info("leading" if leading else "not leading", lease=self._name, epoch=self._epoch)
        (on_started if leading else on_stopped)()

    async def _try(self) -> None:
        """One round: look, then create, renew or take over, or leave it to its holder."""
        asked = self._clock.monotonic()
        try:
            lease = await self._client.get(LEASES, Lease, self._name, namespace=self._namespace)
        except NotFound:
            await self._create(asked)
            return
        spec = lease.spec
        transitions = spec.lease_transitions or 0
        if spec.holder_identity == self._identity and transitions in (self._epoch, self._claimed):
            await self._write(self._claim.renewal(lease), transitions)
        elif not spec.holder_identity or self._expired(lease):
            await self._write(self._claim.takeover(lease), transitions + 1)
        else:
            self._valid_until = -math.inf

    async def _create(self, asked: float) -> None:
        self._claimed = 0
        with contextlib.suppress(AlreadyExists):  # somebody was faster; the next round sees who
            await self._client.create(LEASES, self._claim.first(), namespace=self._namespace)
            self._hold(asked, 0)

    async def _write(self, patch: Raw, transitions: int) -> None:
        self._claimed = transitions
        sent = self._clock.monotonic()
        with contextlib.suppress(Conflict):  # somebody was faster; the next round sees who
            await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)
            self._hold(sent, transitions)

    async def _release(self) -> None:
        """Empty the Lease if it is still ours. Best effort: without it, a successor waits for the expiry."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._client.get(LEASES, Lease, self._name, namespace=self._namespace)
                if (lease.spec.holder_identity, lease.spec.lease_transitions) != (self._identity, self._epoch):
                    return
                spec = {"holderIdentity": "", "leaseDurationSeconds": 1}
                patch = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
                await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)
        except (ApiError, TimeoutError) as error:
            log.warning("lease not released", lease=self._name, error=error)

    def _hold(self, since: float, transitions: int) -> None:
        self._epoch = transitions
        self._valid_until = self._claim.safe_until(since)

    def _expired(self, lease: Lease) -> bool:
        """The Lease has stayed unchanged for its whole duration, on this process's own clock."""
        version = lease.metadata.resource_version
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock.monotonic())
            return False
        return self._claim.is_over(lease, self._seen[1])
