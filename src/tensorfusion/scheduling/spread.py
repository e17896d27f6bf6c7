"""Topology spread: how evenly like pods lie over the values of a node label.

Domains are those of nodes that have the labels of all the pod's rules of one kind and that the rule's policies count.
A required rule removes the nodes whose domain would lie more than ``skew`` pods above the emptiest one; a preferred
one gives points, the emptier the domain the more, weighted so that labels with many values count about as much as
those with few.

Source: Kubernetes' PodTopologySpread plugin, with its defaults left out: a pod without constraints has none.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.domains import Domain
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.neighbours import Selection
from tensorfusion.scheduling.pod_rules import SpreadRule
from tensorfusion.scheduling.reasons import NodeReason

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Stage: TypeAlias = tuple[NodeReason, Bools]

HOSTNAME = "kubernetes.io/hostname"
HIGHEST = 100
_FINE = 1 << 16
"""Parts of a point that weights are rounded to: a float's last bit must not decide between two nodes."""


def filters(fleet: Fleet, pod: PodFacts, rules: Sequence[SpreadRule]) -> Iterator[Stage]:
    """What the required rules allow, by node row."""
    nodes, neighbours = fleet.nodes, fleet.neighbours
    domains = [neighbours.domains.of(rule.key, nodes) for rule in rules]
    labelled = np.logical_and.reduce([domain.ids >= 0 for domain in domains])
    yield NodeReason.UNLABELLED, labelled
    passes = np.ones(len(labelled), np.bool_)
    for rule, domain in zip(rules, domains, strict=True):
        counted = _counted(fleet, pod, rule, labelled)
        pods = domain.sums(_staying(_selection(fleet, rule), nodes.size), counted)
        present = domain.sums(np.ones(len(counted), np.int64), counted) > 0
        least = int(pods[present].min()) if np.count_nonzero(present) >= rule.min_domains else 0
        mine = int(neighbours.matches((rule.pods,), pod))
        passes &= domain.spread(pods) + (mine - least) <= rule.skew
    yield NodeReason.SPREAD, passes


def points(fleet: Fleet, pod: PodFacts, rules: Sequence[SpreadRule], feasible: Bools) -> Ints | None:
    """0..100 for each of the feasible node rows; None where the preferred rules make no difference."""
    nodes, neighbours = fleet.nodes, fleet.neighbours
    domains = [neighbours.domains.of(rule.key, nodes) for rule in rules]
    labelled = np.logical_and.reduce([domain.ids >= 0 for domain in domains])
    rated = feasible & labelled
    if not rated.any():
        return None
    cost = np.zeros(len(feasible), np.int64)
    for rule, domain in zip(rules, domains, strict=True):
        staying = _staying(_selection(fleet, rule), nodes.size)
        if rule.key == HOSTNAME:
            size, here = int(np.count_nonzero(rated)), staying
        else:
            size = _values(domain, rated)
            here = domain.spread(domain.sums(staying, _counted(fleet, pod, rule, labelled)))
        cost += here * round(math.log(size + 2) * _FINE) + (rule.skew - 1) * _FINE
    cost = (cost + _FINE // 2) // _FINE
    worst, best = int(cost[rated].max()), int(cost[rated].min())
    if worst == best and rated.sum() == feasible.sum():
        return None
    fit = np.full(len(cost), HIGHEST, np.int64) if worst == 0 else HIGHEST * (worst + best - cost) // worst
    return np.where(rated, fit, 0)


def _selection(fleet: Fleet, rule: SpreadRule) -> Selection:
    return fleet.neighbours.selection((rule.pods,), fleet.nodes.size)


def _staying(selection: Selection, rows: int) -> Ints:
    return selection.pods[:rows] - selection.leaving[:rows]


def _values(domain: Domain, rows: Bools) -> int:
    """How many values of the label there are among the rows."""
    return len(np.unique(domain.ids[rows]))


def _counted(fleet: Fleet, pod: PodFacts, rule: SpreadRule, labelled: Bools) -> Bools:
    """The nodes whose pods and domains the rule looks at."""
    counted = labelled
    if rule.honour_affinity:
        counted = counted & fleet.neighbours.domains.chosen(pod, fleet.nodes)
    if rule.honour_taints:
        counted = counted & fleet.neighbours.domains.untainted(pod, fleet.nodes)
    return counted
