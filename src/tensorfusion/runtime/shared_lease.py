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

from tensorfusion.clock import Clock
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model.core import Lease
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES
from tensorfusion.runtime.lease_claim import LeaseClaim
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
        self._claim = LeaseClaim(namespace, name, group, max(1, math.ceil(duration)), clock)
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
        seen = self._seen if self._seen is not None and self._seen[0] == version else (version, asked)
        known, first = seen is self._seen, self._seen is None
        self._seen = seen
        if spec.holder_identity == self._group:
            if transitions != self._epoch:
                self._valid_until = -math.inf  # what was held in another epoch says nothing of this one
            if known or first or transitions != self._epoch:
                await self._write(self._claim.renewal(lease), transitions)
            else:
                self._hold(looked, transitions)
        elif not spec.holder_identity or self._claim.is_over(lease, seen[1]):
            await self._write(self._claim.takeover(lease), transitions + 1)
        else:
            self._valid_until = -math.inf

    async def _create(self, asked: float) -> None:
        try:
            await self._client.create(LEASES, self._claim.first(), namespace=self._namespace)
        except AlreadyExists:
            return  # somebody was faster; the next round sees who
        self._hold(asked, 0)

    async def _write(self, patch: Raw, transitions: int) -> None:
        sent = self._clock.monotonic()
        try:
            after = await self._client.patch(LEASES, self.name, patch, namespace=self._namespace, type_=Lease)
        except Conflict:
            return  # somebody was faster; the next round sees who
        self._seen = (after.metadata.resource_version, sent)
        self._hold(sent, transitions)

    def _hold(self, since: float, transitions: int) -> None:
        if self._epoch != transitions:
            log.info("holding together", lease=self.name, group=self._group, epoch=transitions)
        self._epoch = transitions
        self._valid_until = self._claim.safe_until(since)
