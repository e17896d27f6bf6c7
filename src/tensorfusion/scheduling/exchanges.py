"""Who waits for whom to leave: nominated pods, and what those still hold who have to go for them.

Apart from the ledger because nothing is charged by it. Pods that wait for the same others, as members of a gang do, are
one exchange: they come together, once all of these have gone. Who has to leave for several is counted for one of them
alone, as what it holds becomes free only once.
"""

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet

from tensorfusion.scheduling.cohort_nodes import Amounts
from tensorfusion.scheduling.holds import Allocation


def exchanges(
    nominated: Collection[Allocation], allocations: Mapping[str, Allocation], gone: AbstractSet[str] = frozenset()
) -> Iterator[dict[str, tuple[Amounts, Amounts]]]:
    """By namespace what comes and what goes, of all that cohorts share; nothing of those for whom nobody has to leave.

    ``gone`` are the uids of pods that are left out.
    The order is that of uids: the same pods give the same sums, in whatever order they were nominated.
    """
    together: dict[frozenset[str], list[Allocation]] = {}
    for one in sorted(nominated, key=lambda one: one.pod.uid):
        if one.awaits and one.pod.uid not in gone and one.pod.request is not None:
            together.setdefault(one.awaits, []).append(one)
    counted: set[str] = set()
    for awaits, waiting in together.items():
        here = [allocations[uid] for uid in awaits - counted - gone if uid in allocations]
        leaving = [one for one in here if not one.nominated and one.pod.request is not None]
        counted |= awaits
        if leaving:
            comes, goes = _sums(waiting), _sums(leaving)
            yield {name: (comes.get(name, (0, 0, 0)), goes.get(name, (0, 0, 0))) for name in {**comes, **goes}}


def _sums(pods: list[Allocation]) -> dict[str, Amounts]:
    found: dict[str, Amounts] = {}
    for one in pods:
        compute, vram, devices = found.get(one.pod.namespace, (0, 0, 0))
        more = one.usage.shared
        found[one.pod.namespace] = compute + more[0], vram + more[1], devices + more[2]
    return found
