"""Points for how full a pod leaves a node in the resources that a profile names: 0..100 for every node row.

Apart from the placement modes because these look at the node, not at devices, and only where a profile asks for them.
Exact integer arithmetic, as everywhere where nodes are compared.

Source: Kubernetes' NodeResourcesFit scoring strategies. Amounts asked for are used as they are; Kubernetes counts a
little CPU and memory for containers that state none.
"""

import itertools
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.profile import ResourceScoring, Strategy

Ints: TypeAlias = NDArray[np.int64]

HIGHEST = 100


def points(fleet: Fleet, pod: PodFacts, scoring: ResourceScoring) -> Ints:
    """0..100 by node row; a resource that a node has none of, or a pod's device does not ask for, is left out."""
    rows = fleet.nodes.size
    total, weights = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for name, weight in scoring.resources:
        asked, free, capacity = _amounts(fleet, pod, name)
        if not asked and name not in ("cpu", "memory"):
            continue
        has = capacity > 0
        used = np.clip(capacity - free + asked, 0, None)
        part = _rated(scoring, used, np.maximum(capacity, 1))
        if scoring.strategy is Strategy.REQUESTED_TO_CAPACITY_RATIO:
            has = has & (part > 0)
        total += np.where(has, part * weight, 0)
        weights += np.where(has, weight, 0)
    divisor = np.maximum(weights, 1)
    rounded = scoring.strategy is Strategy.REQUESTED_TO_CAPACITY_RATIO
    mean: Ints = (2 * total + divisor) // (2 * divisor) if rounded else total // divisor
    return mean


def _rated(scoring: ResourceScoring, used: Ints, capacity: Ints) -> Ints:
    if scoring.strategy is Strategy.LEAST_ALLOCATED:
        return np.where(used > capacity, 0, (capacity - used) * HIGHEST // capacity)
    if scoring.strategy is Strategy.MOST_ALLOCATED:
        return np.minimum(used, capacity) * HIGHEST // capacity
    percent = np.where(used > capacity, HIGHEST, used * HIGHEST // capacity)
    return _on_shape(percent, scoring.shape)


def _on_shape(percent: Ints, shape: tuple[tuple[int, int], ...]) -> Ints:
    """The points of the broken line through the shape, level beyond its ends."""
    result = np.full(len(percent), shape[-1][1], np.int64)
    for (left, low), (right, high) in reversed(list(itertools.pairwise(shape))):
        slope = (high - low) * (percent - left)
        steps = np.where(slope >= 0, slope // (right - left), -(-slope // (right - left)))
        result = np.where(percent <= right, low + steps, result)
    return np.where(percent <= shape[0][0], shape[0][1], result)


def _amounts(fleet: Fleet, pod: PodFacts, name: str) -> tuple[int, Ints, Ints]:
    """What the pod asks of a resource, what is free of it, and what there is, by node row."""
    nodes, capacity = fleet.nodes, fleet.neighbours.domains.capacity(name, fleet.nodes)
    if name == "cpu":
        return pod.cpu, nodes.cpu_free, capacity
    if name == "memory":
        return pod.memory, nodes.memory_free, capacity
    free = nodes.extended.get(name)
    return pod.extended.get(name, 0), np.zeros(nodes.size, np.int64) if free is None else free, capacity
