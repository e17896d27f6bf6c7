"""Leadership by a Lease: at most one replica acts, and it stops before another may start.

The holder counts its time from the moment *before* its last successful renewal was sent, on the monotonic clock, so it
considers itself deposed earlier than anybody else can take over. ``is_leader`` looks at the clock every time: a process
that was stopped (SIGSTOP) and goes on finds out at its first look. The epoch is the Lease's number of transitions; what is
written under an older epoch is refused by admission (the fence), whatever a stalled leader believes.

Renewal runs as its own task with one small request; the scheduler yields to the event loop between slices of work, so
renewal is not starved. Rejected: a thread with its own loop, which would keep a hung process in office.

Source: coordination.k8s.io/v1 Lease as client-go's leader election uses it.
"""

from collections.abc import Callable

from tensorfusion.clock import Clock, micro_timestamp
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Lease
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import LEADER

log = get_logger(__name__)


class LeaderElector:
    """Tries to hold one Lease. ``run`` until cancelled; ask ``is_leader`` right before every act."""

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
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._duration = duration
        self._renew_every = renew_every
        self._retry_every = retry_every
        self._valid_until = float("-inf")
        self._epoch = -1
        self._observed: tuple[str, float] | None = None
        """What the Lease said last (holder and renewal), and when this process first saw it say so."""

    @property
    def epoch(self) -> int:
        """The transitions of the Lease when this process last held it; -1 before it ever did."""
        return self._epoch

    def is_leader(self) -> bool:
        """Whether this process may act now. Never true once another process could have taken over."""
        return self._clock.monotonic() < self._valid_until

    async def run(
        self, on_started: Callable[[], None] = lambda: None, on_stopped: Callable[[], None] = lambda: None
    ) -> None:
        """Try, hold, renew, try again. ``on_started`` and ``on_stopped`` tell of each change."""
        leading = False
        try:
            while True:
                try:
                    await self._try()
                except ApiError as error:
                    log.warning("lease not renewed", lease=self._name, error=error)
                if self.is_leader() != leading:
                    leading = not leading
                    LEADER.labels(self._name).set(int(leading))
                    log.info("leading" if leading else "not leading", lease=self._name, epoch=self._epoch)
                    (on_started if leading else on_stopped)()
                await self._clock.sleep(self._renew_every if leading else self._retry_every)
        finally:
            self._valid_until = float("-inf")
            if leading:
                on_stopped()

    async def release(self) -> None:
        """Give the Lease up, so that a successor need not wait for it to expire."""
        if not self.is_leader():
            return
        self._valid_until = float("-inf")
        lease = await self._client.get(LEASES, Lease, self._name, namespace=self._namespace)
        if lease.spec.holder_identity == self._identity:
            patch: Raw = {
                "metadata": {"resourceVersion": lease.metadata.resource_version},
                "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
            }
            await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)

    async def _try(self) -> None:
        asked = self._clock.monotonic()
        try:
            lease = await self._client.get(LEASES, Lease, self._name, namespace=self._namespace)
        except NotFound:
            await self._create(asked)
            return
        spec = lease.spec
        mine = spec.holder_identity == self._identity and self._epoch == (spec.lease_transitions or 0)
        if not mine and spec.holder_identity and not self._expired(lease):
            self._valid_until = float("-inf")
            return
        transitions = (spec.lease_transitions or 0) + (0 if mine else 1)
        await self._take(lease, transitions, renewal=mine)

    async def _create(self, asked: float) -> None:
        now = micro_timestamp(self._clock.now())
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**self._spec(now), "acquireTime": now, "leaseTransitions": 0},
        }
        try:
            await self._client.create(LEASES, body, namespace=self._namespace)
        except AlreadyExists:
            return
        self._hold(asked, 0)

    async def _take(self, lease: Lease, transitions: int, *, renewal: bool) -> None:
        sent = self._clock.monotonic()
        now = micro_timestamp(self._clock.now())
        spec: Raw = {**self._spec(now), "leaseTransitions": transitions}
        if not renewal:
            spec["acquireTime"] = now
        patch = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        try:
            await self._client.patch(LEASES, self._name, patch, namespace=self._namespace)
        except Conflict:
            return  # somebody was faster; the next round sees who
        self._hold(sent, transitions)

    def _spec(self, now: str) -> Raw:
        return {"holderIdentity": self._identity, "leaseDurationSeconds": int(self._duration), "renewTime": now}

    def _hold(self, since: float, transitions: int) -> None:
        self._epoch = transitions
        # two thirds of the duration: deposed in our own eyes well before the Lease expires for others
        self._valid_until = since + self._duration * 2 / 3

    def _expired(self, lease: Lease) -> bool:
        """The Lease has said the same thing for its whole duration, on this process's own clock."""
        spec = lease.spec
        said = f"{spec.holder_identity}/{spec.renew_time}/{lease.metadata.resource_version}"
        now = self._clock.monotonic()
        if self._observed is None or self._observed[0] != said:
            self._observed = (said, now)
            return False
        return now - self._observed[1] > float(spec.lease_duration_seconds or self._duration)
