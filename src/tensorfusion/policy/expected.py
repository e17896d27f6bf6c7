"""What a controller has asked for on behalf of one owner of pods and its cache does not show yet. Plain state.

A pod's name is chosen before it is created, and remembered until the cache shows the pod: so neither a lagging cache
nor a lost reply makes a second one. An entry is *confirmed* (the server said yes, the watch has not yet) or *in doubt*
(no answer came). A doubt is settled by asking again for the same thing: the same name cannot be created twice, and a
deletion by uid cannot hit another pod. A confirmation that the cache does not show for long falls back to a doubt.

Rejected: counting expected events, as kube-controller-manager does. A count cannot tell which reply was lost, so after
its timeout it starts over and may create too many.
"""

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field

_PATIENCE = 30.0
"""Seconds until a confirmation that the cache does not show is asked for again."""


@dataclass(slots=True)
class Expected:
    """One owner's wishes under way. Moments are monotonic seconds; None marks a doubt."""

    creating: dict[str, float | None] = field(default_factory=dict)
    """Pod name -> when its creation was confirmed."""
    deleting: dict[str, tuple[str, float | None]] = field(default_factory=dict)
    """Pod uid -> its name, and when its deletion was confirmed."""
    purposes: dict[str, str] = field(default_factory=dict)
    """What a pod that is being created is for (a node, an index), where the owner's pods differ: by its name."""
    failures: int = 0
    """Passes in a row that the server refused."""

    def observe(self, *, known: Iterable[str], active: Container[str], now: float) -> None:
        """Forget what the cache shows by now: names that exist, uids that are no longer active."""
        for name in known:
            self.forget(name)
        for uid in [uid for uid in self.deleting if uid not in active]:
            del self.deleting[uid]
        for name, at in self.creating.items():
            if at is not None and now - at > _PATIENCE:
                self.creating[name] = None
        for uid, (name, at) in self.deleting.items():
            if at is not None and now - at > _PATIENCE:
                self.deleting[uid] = (name, None)

    def seen(self, name: str) -> None:
        """The watch showed a pod of this name, even if it is gone again by now."""
        self.forget(name)

    def forget(self, name: str) -> None:
        """The creation is not under way (any more)."""
        self.creating.pop(name, None)
        self.purposes.pop(name, None)

    def tidy(self) -> None:
        """Forget the purposes of pods that were not asked for after all."""
        self.purposes = {name: purpose for name, purpose in self.purposes.items() if name in self.creating}

    def doubted_names(self) -> list[str]:
        """Creations to ask for again."""
        return sorted(name for name, at in self.creating.items() if at is None)

    def doubted_uids(self) -> list[tuple[str, str]]:
        """Deletions to ask for again: uid and name."""
        return sorted((uid, name) for uid, (name, at) in self.deleting.items() if at is None)

    def live(self, active: Collection[str]) -> int:
        """How many pods there will be when all that was asked for has come true."""
        return len(active) - len(self.deleting) + len(self.creating)
