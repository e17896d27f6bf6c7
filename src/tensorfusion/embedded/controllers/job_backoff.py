"""How long a Job waits before it replaces pods that failed: 10 s, then twice as long each time, up to 10 minutes.

What counts is how many pods have failed since the last one that succeeded. It is learnt from the pods as they are seen,
so after a restart of the process it is as good as the pods that are left.

Source: kube-controller-manager's backoff of Jobs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tensorfusion.embedded.controllers.job_objects import ended_at, tracked
from tensorfusion.model.core import Pod

_FIRST, _LONGEST = 10.0, 600.0


def seconds_left_for(replaced: Pod, failures: int, *, now: datetime) -> float:
    """Until an index may be tried again, of a Job that limits failures per index."""
    at = min(ended_at(replaced) or now, now) if replaced.finished else now
    return max(0.0, min(_LONGEST, _FIRST * 2.0 ** min(failures, 10)) - (now - at).total_seconds())


@dataclass(slots=True)
class Backoff:
    """What one Job's pods have come to."""

    _last_success: datetime | None = None
    _failures: dict[str, datetime] = field(default_factory=dict)
    """Pods that failed after the last success: by uid, when."""

    def learn(self, pods: Iterable[Pod], *, now: datetime) -> None:
        """Take in pods that ended; the same pods may be given again and again."""
        for pod in pods:
            deleted = pod.metadata.deleting and not pod.finished and tracked(pod)
            failed = pod.status.phase == "Failed" or deleted
            if not failed and pod.status.phase != "Succeeded":
                continue
            at = min(ended_at(pod) or now, now) if pod.finished else now
            if not failed:
                self._last_success = max(self._last_success or at, at)
            else:
                self._failures.setdefault(pod.metadata.uid, at)
        if self._last_success is not None:
            since = self._last_success
            self._failures = {uid: at for uid, at in self._failures.items() if at > since}

    def seconds_left(self, *, now: datetime) -> float:
        """Until the next pod may be created; 0 when it may now."""
        if not self._failures:
            return 0.0
        pause = min(_LONGEST, _FIRST * 2.0 ** min(len(self._failures) - 1, 10))
        return max(0.0, pause - (now - max(self._failures.values())).total_seconds())
