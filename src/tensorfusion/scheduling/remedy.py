"""One thing that would help a pod that fits nowhere, and how it is tried out.

Apart from what proposes remedies because all of it is proven the same way: the changed question is decided as any
other, in a world that is as before afterwards. Classes of the try-outs are their own, so that they push none out that
placing uses.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.scheduling.classes import Classes
from tensorfusion.scheduling.cycle import Decision, decide
from tensorfusion.scheduling.facts import NodeFacts, PodFacts, QuotaFacts
from tensorfusion.scheduling.state import State

_CLASSES = 8


@dataclass(frozen=True, slots=True)
class Remedy:
    """A sentence, and what would have to change for the pod to fit; everything else stays as it is.

    ``pod``: the pod as it would have to be. ``quota``, ``node``: as they would have to be. ``leaving``: uids of pods
    that would have to be gone. ``at``: when that is the case, in Unix seconds; 0 where nobody knows.
    """

    words: str
    change: Mapping[str, object] = field(default_factory=dict)
    """The same for programs."""
    pod: PodFacts | None = None
    quota: QuotaFacts | None = None
    node: NodeFacts | None = None
    leaving: tuple[str, ...] = ()
    at: int = 0
    members: tuple[PodFacts, ...] = ()
    """A gang as it would have to be, and how many of it have to start."""
    needed: int = 0


@contextmanager
def aside(state: State) -> Iterator[None]:
    """Decisions within are about the whole fleet, and do not touch what is kept for those that count."""
    kept = state.classes
    state.classes = Classes(_CLASSES, foresights=kept.foresights)
    try:
        with state.everywhere():
            yield
    finally:
        state.classes = kept


def tried(state: State, pod: PodFacts) -> Decision | None:
    """The decision on a pod as things are; None where it fits nowhere. Changes nothing."""
    with aside(state):
        try:
            return decide(state, pod)
        except (NotFit, QuotaExceeded):
            return None


def tried_with_quota(state: State, pod: PodFacts, quota: QuotaFacts | None) -> Decision | None:
    """The decision if this were the quota of the pod's namespace; None stands for no quota at all."""
    before = state.quotas.ceiling(pod.namespace)
    try:
        if quota is None:
            state.quotas.remove(pod.namespace)
        else:
            state.quotas.set(quota)
        return tried(state, pod)
    finally:
        if before is None:
            state.quotas.remove(pod.namespace)
        else:
            state.quotas.set(before)


def tried_without(state: State, pod: PodFacts, uids: tuple[str, ...]) -> Decision | None:
    """The decision once these pods are gone."""
    mark = state.checkpoint()
    try:
        for uid in uids:
            state.release(uid)
        return tried(state, pod)
    finally:
        state.rollback(mark)
