"""Whether a gang starts as a whole: what each replica was told of its members, and what it sent at which moment.

Judged by what a replica sends, not by what arrives: a network may lose half of it, and a successor completes what is
half done. Apart from the scheduler's own book of gangs, with a reading of the pods of its own.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tensorfusion.errors import Forbidden, NotFound, TooManyRequests
from tensorfusion.model import keys
from tensorfusion.model.core import Pod
from tensorfusion.runtime.informer import Change
from tensorfusion.testing.network import Network

PENDING, PLACED, OTHER = "pending", "placed", "other"


class WatchedNetwork(Network):
    """A network that tells somebody which Bindings were sent, before anything can happen to them."""

    sent: Callable[[str, Mapping[str, str]], None] = staticmethod(lambda *_: None)
    refused: Callable[[str], None] = staticmethod(lambda *_: None)

    async def bind(self, namespace: str, name: str, *, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        self.sent(uid, annotations)
        try:
            await super().bind(namespace, name, uid=uid, node=node, annotations=annotations)
        except (Forbidden, NotFound, TooManyRequests):
            self.refused(uid)
            raise


@dataclass(slots=True)
class _Member:
    required: int
    state: str


@dataclass(slots=True)
class _Start:
    """Bindings with which a gang started, all of one moment."""

    at: float
    needed: int
    notes: Mapping[str, str]
    pods: set[str] = field(default_factory=set)


class GangEye:
    """Looks over the shoulder of one replica. ``leads`` says whether what a Binding was decided in still holds."""

    def __init__(
        self, network: WatchedNetwork, now: Callable[[], float], leads: Callable[[Mapping[str, str]], bool]
    ) -> None:
        self._now, self._leads = now, leads
        self._gangs: dict[str, dict[str, _Member]] = defaultdict(dict)
        self._of: dict[str, str] = {}
        """The gang of every pod that was ever told of, by uid."""
        self._satisfied_at: dict[str, float] = {}
        self._sent: dict[str, float] = {}
        self._starts: dict[str, _Start] = {}
        network.sent, network.refused = self._send, self._refuse

    def hear(self, change: Change[Pod]) -> None:
        """What the watch tells the replica, one by one."""
        old, new = change.old, change.new
        for pod in (old, new):
            if pod is not None and (key := self._key(pod)) and self._is_satisfied(key):
                self._satisfied_at[key] = self._now()
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._gangs.get(self._of.get(old.metadata.uid, ""), {}).pop(old.metadata.uid, None)
        if new is None or not (key := self._key(new)):
            return
        required = int(new.metadata.annotations[keys.GANG_REQUIRED_MEMBERS])
        self._of[new.metadata.uid] = key
        self._gangs[key][new.metadata.uid] = _Member(required, _state(new))

    def wrong(self) -> list[str]:
        """Gangs that started with too few members at a moment that is over."""
        found = []
        for key, start in list(self._starts.items()):
            if start.at < self._now():
                del self._starts[key]
                if len(start.pods) < start.needed and self._leads(start.notes):
                    found.append(f"gang {key} started with {len(start.pods)} of {start.needed} members at {start.at}")
        return found

    def _send(self, uid: str, notes: Mapping[str, str]) -> None:
        key, now = self._of.get(uid), self._now()
        if key is None or uid in self._sent:  # in no gang, or sent once more
            return
        start = self._starts.get(key)
        if start is not None and start.at == now:
            start.pods.add(uid)
        elif not self._is_satisfied(key) and self._satisfied_at.get(key) != now:
            needed = min(one.required for one in self._gangs[key].values()) if self._gangs[key] else 0
            self._starts[key] = _Start(now, needed, notes, {uid})
        self._sent[uid] = now

    def _refuse(self, uid: str) -> None:
        """It is certain that this one was not bound."""
        if (key := self._of.get(uid)) is not None:
            self._satisfied_at[key] = self._now()
            self._sent.pop(uid, None)

    def _is_satisfied(self, key: str) -> bool:
        """Whether a member has a place, as far as this replica was told, or may be getting one from it."""
        members = self._gangs.get(key, {})
        return any(one.state == PLACED or uid in self._sent for uid, one in members.items())

    @staticmethod
    def _key(pod: Pod) -> str:
        notes = pod.metadata.annotations
        return f"{pod.metadata.namespace}:{notes[keys.GANG_GROUP_KEY]}" if keys.GANG_GROUP_KEY in notes else ""


def _state(pod: Pod) -> str:
    if pod.status.phase == "Succeeded" and pod.spec.node_name:
        return PLACED
    if pod.status.phase in ("Succeeded", "Failed") or pod.metadata.deleting:
        return OTHER
    return PLACED if pod.spec.node_name else PENDING
