"""Who could be evicted for a pod on the nodes that it asks for, and why the others could not: counts for explanations.

Apart from the search because nothing is decided by it: a search looks at candidates only, readers want to know of the
rest too.
"""

import numpy as np

from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.preemption import SYSTEM_PRIORITY, leavings
from tensorfusion.scheduling.residents import Bools, Terms
from tensorfusion.scheduling.state import State


def evictable(state: State, pod: PodFacts, *, now: int, cluster_wide: bool) -> dict[str, int]:
    """Pods on the nodes of its pool (without shares: on all nodes), each under the first word that holds for it."""
    residents = state.residents
    residents.sync()
    anywhere = cluster_wide or pod.priority >= SYSTEM_PRIORITY
    terms = Terms(pod.rank, now, "" if anywhere else pod.namespace)
    leaving = [leaving for leaving, _ in leavings(state, terms, (pod,))][-1]
    rank = leaving.rank if leaving.shift is None else leaving.rank - leaving.shift
    left = _live_here(state, pod)
    found: dict[str, int] = {}
    for word, which in (
        ("ending", leaving.free),
        ("evictable", leaving.victims),
        ("asImportant", rank >= pod.rank),
        ("ofOtherNamespaces", ~residents.of_namespace(pod.namespace) if not anywhere else np.zeros_like(left)),
        ("protected", residents.until > now),
        ("inGangsThatStay", np.ones_like(left)),
    ):
        found[word] = int(np.count_nonzero(left & which))
        left &= ~which
    return {word: count for word, count in found.items() if count}


def _live_here(state: State, pod: PodFacts) -> Bools:
    """Rows of the pods that hold a place on these nodes."""
    residents = state.residents
    live: Bools = residents.state != 0
    request = pod.request
    if request is None:
        return live
    pool = state.fleet.pools.get(request.pool)
    here = np.zeros(state.fleet.nodes.size, np.bool_)
    if pool is not None:
        here[[record.row for record, devices in zip(pool.records, pool.devices, strict=False) if devices]] = True
    found: Bools = live & here[residents.node]
    return found
