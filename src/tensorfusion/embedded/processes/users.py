"""Under which user of this machine a pod runs, and what its security settings may ask.

As root the node process gives each pod a number of its own from a range that no convention hands to people or
services; otherwise every pod runs as the user of the cluster. Policy: a pod gets its own number, or one of that range
that it names; it never becomes root or another user of this machine.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tensorfusion.embedded.processes.blocks import BLOCKS
from tensorfusion.embedded.processes.leftovers import OWN_USER
from tensorfusion.embedded.processes.waiting import CONFIG_ERROR, Waiting
from tensorfusion.model.meta import Raw

FIRST, COUNT = 70_000, 10_000
_SLOTS = COUNT // BLOCKS
"""Slots of one node."""
_PER_BLOCK = 250


@dataclass(frozen=True, slots=True)
class PodUser:
    """``uid`` is None when pods run as the cluster's user. ``address`` is the pod's own loopback address."""

    slot: int
    uid: int | None

    @property
    def address(self) -> str:
        return f"127.77.{self.slot // _PER_BLOCK}.{self.slot % _PER_BLOCK + 1}"


def can_switch() -> bool:
    """Whether this process can run programs as users of the range."""
    if os.geteuid() != 0:
        return False
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
        ranges = [tuple(map(int, line.split())) for line in lines]
    except (OSError, ValueError):
        return False
    return any(inside <= FIRST and inside + length >= FIRST + COUNT for inside, _, length in ranges)


class Users:
    """Gives out slots of a block, one for each pod; they are kept in the pods' state folders, and so outlive us."""

    def __init__(self, *, own: bool, block: int = 0) -> None:
        self.own = own
        self._used: set[int] = set()
        self._first = block * _SLOTS
        self._next = 0

    def of(self, state: Path) -> PodUser:
        """The user of the pod with this state folder; the same on every call."""
        kept = state / "slot"
        try:
            slot = int(kept.read_text())
        except (OSError, ValueError):
            slot = self._free()
            kept.write_text(str(slot))
        self._used.add(slot)
        uid = FIRST + slot if self.own else None
        if uid is not None:
            (state / OWN_USER).write_text(str(uid))
        return PodUser(slot, uid)

    def release(self, user: PodUser) -> None:
        self._used.discard(user.slot)

    def _free(self) -> int:
        for _ in range(_SLOTS):
            slot, self._next = self._first + self._next, (self._next + 1) % _SLOTS
            if slot not in self._used:
                return slot
        raise Waiting(CONFIG_ERROR, f"all {_SLOTS} users of this node are taken: delete pods")


def check_security(pod: Raw, container: Raw, user: PodUser) -> int | None:
    """The user number to run a container as; None for the cluster's own user.

    Raises:
        Waiting: the pod asks for something that no process on this machine is given; the message says what to change.
    """
    own: Raw = container.get("securityContext") or {}
    shared: Raw = pod["spec"].get("securityContext") or {}
    if own.get("privileged"):
        raise _refused(container, "privileged: a process pod gets no privileges: leave it out")
    if (own.get("capabilities") or {}).get("add"):
        raise _refused(container, "capabilities.add: a process pod gets no capabilities: leave it out")
    for field in ("runAsUser", "runAsGroup"):
        wanted = own.get(field, shared.get(field))
        if wanted is None:
            continue
        if user.uid is None:
            if wanted != (os.geteuid() if field == "runAsUser" else os.getegid()):
                raise _refused(container, f"{field} {wanted}: this node runs every pod as user {os.geteuid()}")
        elif not (first := _first_of(user)) <= wanted < first + _SLOTS:
            raise _refused(
                container,
                f"{field} {wanted} may be somebody's on this machine: leave it out for a user of the pod's own, or "
                f"name one from {first} to {first + _SLOTS - 1}",
            )
    wanted = own.get("runAsUser", shared.get("runAsUser"))
    if user.uid is None:
        if own.get("runAsNonRoot", shared.get("runAsNonRoot")) and os.geteuid() == 0:
            raise _refused(container, "runAsNonRoot: this node runs every pod as root")
        return None
    return user.uid if wanted is None else int(wanted)


def _first_of(user: PodUser) -> int:
    """The first user number of the node's block."""
    return FIRST + user.slot // _SLOTS * _SLOTS


def _refused(container: Raw, why: str) -> Waiting:
    return Waiting(CONFIG_ERROR, f"container {container['name']}: securityContext.{why}")
