"""Pods that want to be near others, or away from them, in a domain of a node label.

Required affinity: a node's domains must hold pods that satisfy all the terms at once. Where no such pod is placed
anywhere, a pod that satisfies its own terms may be the first; two that wait for each other wait for ever, and the
reason says so. Required anti-affinity holds in both directions: placed pods keep those away that they name. Preferred
terms give points, also those of placed pods about the pod that comes.

Source: Kubernetes' InterPodAffinity plugin.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.neighbours import Selection, Terms
from tensorfusion.scheduling.pod_rules import PodRules, PodTerm
from tensorfusion.scheduling.reasons import NodeReason

Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]
Stage: TypeAlias = tuple[NodeReason, Bools]

HIGHEST = 100


def filters(fleet: Fleet, pod: PodFacts, rules: PodRules | None, about: Sequence[Selection]) -> Iterator[Stage]:
    """What required terms allow, by node row; ``about`` are the selections that placed pods have terms about."""
    if rules is not None and rules.affinity:
        yield NodeReason.POD_AFFINITY, _near(fleet, pod, rules.affinity)
    if rules is not None and rules.anti_affinity:
        away = np.ones(fleet.nodes.size, np.bool_)
        for term in rules.anti_affinity:
            pods = fleet.neighbours.selection((term.pods,), fleet.nodes.size).pods
            away &= ~_touched(fleet, term.key, pods)
        yield NodeReason.POD_ANTI_AFFINITY, away
    kept = [(key, column) for one in about for (kind, key), column in one.terms.items() if kind is Terms.KEEP_OFF]
    if kept:
        free = np.ones(fleet.nodes.size, np.bool_)
        for key, holders in kept:
            free &= ~_touched(fleet, key, holders)
        yield NodeReason.KEPT_OFF, free


def is_first(fleet: Fleet, pod: PodFacts, terms: Sequence[PodTerm]) -> bool:
    """Whether no pod that the terms name is placed in any domain of theirs."""
    pods = fleet.neighbours.selection(tuple(term.pods for term in terms), fleet.nodes.size).pods
    return not any(_touched(fleet, term.key, pods).any() for term in terms)


def points(
    fleet: Fleet, rules: PodRules | None, about: Sequence[Selection], feasible: Bools, *, hard_weight: int
) -> Ints | None:
    """0..100 for each of the feasible node rows; None where preferred terms make no difference.

    ``hard_weight`` is what a placed pod's required affinity counts for.
    """
    total = np.zeros(len(feasible), np.int64)
    for weight, term in rules.preferred if rules is not None else ():
        pods = fleet.neighbours.selection((term.pods,), fleet.nodes.size).pods
        total += weight * _in_domain(fleet, term.key, pods)
    for one in about:
        for (kind, key), weights in one.terms.items():
            if kind is Terms.PREFERRED:
                total += _in_domain(fleet, key, weights)
            elif kind is Terms.REQUIRED and hard_weight:
                total += hard_weight * _in_domain(fleet, key, weights)
    least, most = int(total[feasible].min()), int(total[feasible].max())
    if least == most:
        return None
    return np.where(feasible, HIGHEST * (total - least) // (most - least), 0)


def _near(fleet: Fleet, pod: PodFacts, terms: Sequence[PodTerm]) -> Bools:
    wishes = tuple(term.pods for term in terms)
    pods = fleet.neighbours.selection(wishes, fleet.nodes.size).pods
    labelled = np.logical_and.reduce([fleet.neighbours.domains.of(term.key, fleet.nodes).ids >= 0 for term in terms])
    if fleet.neighbours.matches(wishes, pod) and is_first(fleet, pod, terms):
        return np.asarray(labelled, np.bool_)
    near: Bools = np.logical_and.reduce([labelled, *(_touched(fleet, term.key, pods) for term in terms)])
    return near


def _touched(fleet: Fleet, key: str, pods: Ints) -> Bools:
    """The nodes in whose domain there is one of the pods."""
    return _in_domain(fleet, key, pods) > 0


def _in_domain(fleet: Fleet, key: str, amounts: Ints) -> Ints:
    """The sum of the amounts in each node's domain; 0 for nodes without the label."""
    domain = fleet.neighbours.domains.of(key, fleet.nodes)
    everywhere = np.ones(len(domain.ids), np.bool_)
    sums = domain.spread(domain.sums(amounts[: len(everywhere)], everywhere))
    return np.where(domain.ids >= 0, sums, 0)
