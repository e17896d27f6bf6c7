"""Offer streams of pods to what is free on nodes, and count what they come to fill: the inner loop of looking ahead.

There are two of it that always agree: a kernel in C, 20 to 300 times as fast, which an installation has if a C compiler
was there when it was made; and numpy for all others, which is the reference too. Decision 0022 says why.

Shapes: T streams of L pods, S states of nodes with G devices. ``pods`` is (T, L, 4): milli-CPU, MiB, devices (at least
1) and milli of each of them (at least 1); ``states`` is (S, 2 + G): free milli-CPU, free MiB, free milli of each device
in any order. All int64 and contiguous.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

try:
    from tensorfusion.scheduling import _rollout
except ImportError:  # no compiler was there: see the module
    _rollout = None  # type: ignore[assignment]

Ints: TypeAlias = NDArray[np.int64]

COMPILED = _rollout is not None
"""Whether this installation has the kernel."""
_CHUNK = 512
"""States that numpy takes at a time: their streams stay in a processor's cache."""
_BESIDE = 2
"""Columns of a state before its devices."""


def worth(pods: Ints, states: Ints) -> Ints:
    """The milli-GPU that each stream fills when it is offered to a state alone, summed over the streams. Shape (S,).

    Each pod is placed in turn if it fits, on the devices that it leaves least of; one that does not fit is skipped.

    Raises:
        ValueError: a pod that asks for less than nothing, or for no device; arrays of other shapes.
    """
    if not COMPILED:
        return worth_by_numpy(pods, states)
    found = np.empty(len(states), np.int64)
    _rollout.worth(np.ascontiguousarray(pods), np.ascontiguousarray(states), found)
    return found


def worth_by_numpy(pods: Ints, states: Ints) -> Ints:
    """The same without the kernel."""
    if (pods < (0, 0, 1, 1)).any():
        raise ValueError("pods: wanted cpu and memory from 0, gpus and milli from 1, found less")
    if states.shape[1] == _BESIDE:
        return np.zeros(len(states), np.int64)
    columns = pods.transpose(1, 2, 0).copy()
    parts = [_roll(columns, states[start : start + _CHUNK]) for start in range(0, len(states), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _roll(columns: Ints, states: Ints) -> Ints:
    """``columns`` has shape (L, 4, T). Devices are kept ascending."""
    streams, count, slots = columns.shape[2], len(states), states.shape[1] - _BESIDE
    cpu, memory = (np.repeat(states[:, column], streams) for column in (0, 1))
    free = np.repeat(np.sort(states[:, _BESIDE:], axis=1), streams, axis=0)
    before = free.sum(axis=1)
    at = np.arange(slots)
    for pods in columns:
        wanted = np.broadcast_to(pods[:, None, :], (4, count, streams)).reshape(4, -1)
        rows = np.flatnonzero((cpu >= wanted[0]) & (memory >= wanted[1]) & (free[:, -1] >= wanted[3]))
        if not len(rows):
            continue
        gpus, milli, devices = wanted[2, rows, None], wanted[3, rows, None], free[rows]
        first = slots - np.count_nonzero(devices >= milli, axis=1, keepdims=True)
        devices -= np.where((at >= first) & (at < first + gpus), milli, 0)
        devices.sort(axis=1)
        if len(enough := np.flatnonzero(gpus[:, 0] <= slots - first[:, 0])) < len(rows):
            rows, devices = rows[enough], devices[enough]
        free[rows] = devices
        cpu[rows] -= wanted[0, rows]
        memory[rows] -= wanted[1, rows]
    placed: Ints = (before - free.sum(axis=1)).reshape(count, streams).sum(axis=1)
    return placed
