"""What a recorder has to know of the scheduler around it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.catalogue import lookup
from tensorfusion.model.core import Namespace, Pod
from tensorfusion.model.meta import Key
from tensorfusion.model.providers import Providers
from tensorfusion.runtime.cache import Cache
from tensorfusion.scheduler.shards import Shards
from tensorfusion.units import to_units

_KEY_NAMESPACE = "kube-system"
"""Whose uid is a cluster's identity, by custom."""
_MICRO = 1_000_000


class Deciding(Protocol):
    """The scheduler."""

    @property
    def deciding(self) -> bool:
        """Decisions are taken here."""
        ...

    @property
    def synced(self) -> bool:
        """Everything that the watch brought so far is in the books."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The scheduler, and what it knows of the cluster."""

    scheduler: Deciding
    namespaces: Cache[Namespace]
    providers: Callable[[], Providers]
    shards: Shards | None

    def serves(self, pod: Pod) -> bool:
        """Whether the pod is for this scheduler to record."""
        return self.shards is None or self.shards.serves(pod)

    @property
    def pools(self) -> tuple[str, ...] | None:
        """The pools that are decided about here, ``""`` for what belongs to none; None: all of them."""
        return None if self.shards is None else tuple(self.shards.mine)

    def cluster_key(self) -> bytes:
        """The cluster's identity; empty while it is not known."""
        found = self.namespaces.get(Key("", _KEY_NAMESPACE))
        return b"" if found is None else found.metadata.uid.encode()

    def price(self, model: str) -> int:
        """Millionths of a dollar for an hour of a device: a ProviderConfig's, else the catalogue's; 0 where unknown."""
        known = self.providers().model(model)
        if known is not None and known.cost_per_hour:
            try:
                return to_units(known.cost_per_hour.lstrip("$"), _MICRO)
            except InvalidQuantity:
                pass
        listed = lookup(model)
        return listed.micro_usd_per_hour if listed is not None else 0
