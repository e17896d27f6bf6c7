"""What a holder writes into a Lease, for how long that counts for itself, and when others take it for silent.

Apart from those who hold one, alone (``lease``) or together (``shared_lease``): both have to mean the same by it, or
one would act while the other takes over.

Source: coordination.k8s.io/v1 Lease as client-go's leader election uses it.
"""

from dataclasses import dataclass, field

from tensorfusion.clock import Clock, micro_timestamp
from tensorfusion.model.core import Lease
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import LEASES


@dataclass(frozen=True, slots=True)
class LeaseClaim:
    """One holder's claim to one Lease. ``duration`` is in whole seconds."""

    namespace: str
    name: str
    holder: str
    duration: int
    clock: Clock
    metadata: Raw = field(default_factory=dict)
    """What a Lease made here has beside its name."""

    def first(self) -> Raw:
        """The Lease as it is made where there is none."""
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {**self.metadata, "name": self.name, "namespace": self.namespace},
            "spec": {**self._spec(0), "acquireTime": micro_timestamp(self.clock.now())},
        }

    def renewal(self, lease: Lease) -> Raw:
        """A patch of this very version: held on, in the same epoch."""
        return _patch(lease, self._spec(lease.spec.lease_transitions or 0))

    def takeover(self, lease: Lease) -> Raw:
        """A patch of this very version: held from now on, in the next epoch."""
        spec = self._spec((lease.spec.lease_transitions or 0) + 1)
        return _patch(lease, {**spec, "acquireTime": micro_timestamp(self.clock.now())})

    def safe_until(self, sent: float) -> float:
        """Until when the holder may act whose claim was sent at that monotonic time: well before others take over."""
        return sent + self.duration * 2 / 3

    def is_over(self, lease: Lease, since: float) -> bool:
        """Whether the Lease, unchanged since that monotonic time, has stayed so for its whole duration."""
        return self.clock.monotonic() - since >= (lease.spec.lease_duration_seconds or self.duration)

    def _spec(self, transitions: int) -> Raw:
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration,
            "renewTime": micro_timestamp(self.clock.now()),
            "leaseTransitions": transitions,
        }


def _patch(lease: Lease, spec: Raw) -> Raw:
    return {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
