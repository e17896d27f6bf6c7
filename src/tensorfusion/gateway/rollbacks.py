"""Rollouts of the routes in force, and that a rollback of one worker is one of all.

Each worker counts what it sees, so the one that meets the failures first ends the rollout. The others learn of it
within a second: those of the same port, or of the same host and cluster, by a file in the folder where they meet, those
of other hosts by the route's status. It holds for all whatever step they are at; nothing but a rollback is shared.

Rejected: adding up what the workers counted for one verdict. Who fails fast would still be noticed by one first, and a
verdict that waits for the sum lets the others go on until then.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tensorfusion.gateway.state import no_progress
from tensorfusion.model.llm_route import RolloutPhase
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.rollout import Progress
from tensorfusion.telemetry.logs import get_logger

_SUFFIX: Final = ".rollback"

log = get_logger(__name__)


class Rollbacks:
    """``folder`` is where workers meet, those of one port or of a host; None: there are no others. ``written`` tells
    how far the rollout of a route (``namespace/name``) is, as its object says.
    """

    def __init__(self, folder: Path | None, *, written: Callable[[str], Progress | None] = no_progress) -> None:
        self._folder = folder
        self._written = written

    def look(self, choosers: Mapping[str, Chooser], wall: float) -> None:
        """Go on with every rollout (``wall`` in Unix seconds), or back where another worker has gone back."""
        for route, chooser in choosers.items():
            plan, before = chooser.route.rollout, chooser.progress
            if plan is None or before is None or before.phase is RolloutPhase.ROLLED_BACK:
                continue
            told = self._heard(route, plan.id) or self._written(route)
            if told is not None and chooser.roll_back(told):
                log.warning("a rollout was rolled back by another worker", route=route, reason=told.message)
                continue
            found = chooser.roll(wall)
            if found is not None and found.phase is RolloutPhase.ROLLED_BACK:
                log.warning("a rollout is rolled back", route=route, reason=found.message)
                self._tell(route, found)

    def _heard(self, route: str, id_: str) -> Progress | None:
        """What is said of this very rollout. What was said of a former one is forgotten: it may be tried again."""
        if self._folder is None:
            return None
        path = self._path(self._folder, route)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found = msgspec.json.decode(path.read_bytes(), type=Progress)
            if found.id == id_:
                return found
            path.unlink()
        return None

    def _tell(self, route: str, progress: Progress) -> None:
        """What cannot be written is this worker's alone: the others count for themselves."""
        if self._folder is None:
            return
        path = self._path(self._folder, route)
        draft = path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            draft.write_bytes(msgspec.json.encode(progress))
            draft.replace(path)

    @staticmethod
    def _path(folder: Path, route: str) -> Path:
        return folder / (hashlib.blake2b(route.encode(), digest_size=16).hexdigest() + _SUFFIX)
