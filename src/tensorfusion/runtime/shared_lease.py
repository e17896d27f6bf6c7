"""A Lease that several replicas hold together, under one name: whoever does not take part is kept out.

Replicas that divide work among themselves (a Lease for each part) must never act beside a replica that takes all of the
work for its own. That one holds the Lease of the whole as ``runtime.lease`` says; the others hold the same Lease
together. While any of them renews it the single one waits, and the other way round; whoever takes it over counts a
transition, so that the epoch fences those who have not noticed.

Whoever finds that the Lease was renewed by another of the group since its own last look need not renew it itself: it
has been in force since that look. So a group of any size writes about as often as a single holder.

Nobody gives it up at the end: the others may still be at work. A single holder waits for the expiry.
"""

import math
from typing import Final

from tensorfusion.clock import Clock, micro_timestamp
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Lease
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


class SharedLease:
    """Takes part in holding one Lease. ``run`` until cancelled; ask ``is_leader`` right before every act."""

    def __init__(
        self,
        client: Api,
        *,
        namespace: str,
        name: str,
        group: str,
        clock: Clock,
        duration: float = 15.0,
        renew_every: float = 3.0,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self.name: Final = name
        self._group = group
        self._clock = clock
        self._duration = max(1, math.ceil(duration))
        self._renew_every = renew_every
        self._valid_until = -math.inf
        self._epoch = -1
        self._seen: tuple[str, float] | None = None
        """The last version seen, and when it was first seen."""
        self._looked = -math.inf
        """When the last look that succeeded began."""

    @property
    def epoch(self) -> int:
        """The transitions of the Lease when the group was last seen to hold it; -1 before it ever did."""
        return self._epoch

    def is_leader(self) -> bool:
        """Whether the group holds the Lease for certain, in ``epoch``."""
        return self._clock.monotonic() < self._valid_until

    async def run(self) -> None:
        """Look, and renew or take over, until cancelled."""
        while True:
            try:
                await self._try()
            except ApiError as error:
                log.warning("shared lease not renewed", lease=self.name, leading=self.is_leader(), error=error)
            await self._clock.sleep(self._renew_every)

    async def _try(self) -> None:
        asked, looked = self._clock.monotonic(), self._looked
        try:
            lease = await self._client.get(LEASES, Lease, self.name, namespace=self._namespace)
        except NotFound:
            await self._create(asked)
            return
        self._looked = asked
        version, spec = lease.metadata.resource_version, lease.spec
        transitions = spec.lease_transitions or 0
        known = self._seen is not None and self._seen[0] == version
        first = self._seen is None
        if not known:
            self._seen = (version, asked)
        if spec.holder_identity == self._group:
            if transitions != self._epoch:
                self._valid_until = -math.inf  # what was held in another epoch says nothing of this one
            if known or first or transitions != self._epoch:
                await self._write(lease, transitions, {})
            else:
                self._hold(looked, transitions)
        elif not spec.holder_identity or self._expired(lease):
            await self._write(lease, transitions + 1, {"acquireTime": micro_timestamp(self._clock.now())})
        else:
            self._valid_until = -math.inf

    async def _create(self, asked: float) -> None:
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self.name, "namespace": self._namespace},
            "spec": {**self._spec(), "acquireTime": micro_timestamp(self._clock.now()), "leaseTransitions": 0},
        }
        try:
            await self._client.create(LEASES, body, namespace=self._namespace)
        except AlreadyExists:
            return  # somebody was faster; the next round sees who
        self._hold(asked, 0)

    async def _write(self, lease: Lease, transitions: int, extra: Raw) -> None:
        sent = self._clock.monotonic()
        spec: Raw = {**self._spec(), "leaseTransitions": transitions, **extra}
        patch = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        try:
            after = await self._client.patch(LEASES, self.name, patch, namespace=self._namespace, type_=Lease)
        except Conflict:
            return  # somebody was faster; the next round sees who
        self._seen = (after.metadata.resource_version, sent)
        self._hold(sent, transitions)

    def _spec(self) -> Raw:
        return {
            "holderIdentity": self._group,
            "leaseDurationSeconds": self._duration,
            "renewTime": micro_timestamp(self._clock.now()),
        }

    def _hold(self, since: float, transitions: int) -> None:
        if self._epoch != transitions:
            log.info("holding together", lease=self.name, group=self._group, epoch=transitions)
        self._epoch = transitions
        self._valid_until = since + self._duration * 2 / 3

    def _expired(self, lease: Lease) -> bool:
        """The Lease has stayed unchanged for its whole duration, on this process's own clock."""
        since = self._clock.monotonic() if self._seen is None else self._seen[1]
        return self._clock.monotonic() - since >= (lease.spec.lease_duration_seconds or self._duration)
