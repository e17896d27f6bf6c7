"""Who hears of a change of a pod: the controller of its owner's kind, told once.

Apart from the controllers because pods change far more often than everything else: one look at the owner here, instead
of one in every controller, keeps the pods of a ReplicaSet from costing the controllers of Jobs anything.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from tensorfusion.embedded.controllers.objects import is_orphan
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import OwnerReference
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager

OwnedHandler = Callable[[OwnerReference, Pod], None]
OrphanHandler = Callable[[Pod], None]


class Owners(Protocol):
    """Where the possible owners of an orphan are; while there are none at all, they are not told."""

    def __len__(self) -> int: ...


class PodRoutes:
    """One subscription to all pods. Handlers only put keys into queues, and do not raise."""

    def __init__(self, manager: Manager) -> None:
        self._owned: dict[str, OwnedHandler] = {}
        self._orphans: list[tuple[Owners, OrphanHandler]] = []
        manager.informer(PODS, Pod).subscribe_batch(self._on_pods)

    def owned(self, kind: str, handler: OwnedHandler) -> None:
        """``handler`` hears of pods whose controller is of a kind: as they are now, or as they were in the end."""
        self._owned[kind] = handler

    def orphans(self, owners: Owners, handler: OrphanHandler) -> None:
        """``handler`` hears of pods without a controller: one of ``owners`` may adopt them, or has left a finalizer."""
        self._orphans.append((owners, handler))

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            old, new = change.old, change.new
            if new is None:
                if old is not None:
                    self._tell_owner(old)
                continue
            if not self._tell_owner(new) and is_orphan(new.metadata):
                for owners, handler in self._orphans:
                    if len(owners) or new.metadata.finalizers:
                        handler(new)
            if old is not None and old.metadata.owner_references != new.metadata.owner_references:
                self._tell_owner(old)

    def _tell_owner(self, pod: Pod) -> bool:
        """Whether the pod has a controller."""
        for owner in pod.metadata.owner_references:
            if owner.controller:
                handler = self._owned.get(owner.kind)
                if handler is not None:
                    handler(owner, pod)
                return True
        return False
