"""What would help a gang that does not start: members, smaller members, a smaller number, or another topology.

Apart from the remedies of single pods because here the question is asked for all members at once. Each answer is tried
out with the statement that places gangs, and given back.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tensorfusion.model.keys import GANG_DOMAINS
from tensorfusion.model.request import Isolation
from tensorfusion.model.workload import GangTopology
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import GangPlacement, GangUnschedulable, place_gang
from tensorfusion.scheduling.remedy import Remedy, aside
from tensorfusion.scheduling.state import State
from tensorfusion.units import format_bytes, humanize_gflops

MOST_MEMBERS = 512
"""Larger gangs are not tried out: each try places all of them."""
_STEPS = 20
_MI = 1 << 20


def tried_gang(
    state: State, members: Sequence[PodFacts], *, needed: int, domain_keys: Sequence[str] = GANG_DOMAINS
) -> GangPlacement | GangUnschedulable:
    """What would become of the gang as things are. Changes nothing."""
    mark = state.checkpoint()
    try:
        with aside(state):
            return place_gang(state, members, needed=needed, domain_keys=domain_keys)
    except GangUnschedulable as failure:
        failure.__traceback__ = None
        return failure
    finally:
        state.rollback(mark)


def alike(pod: PodFacts, count: int) -> list[PodFacts]:
    """Members like this one that do not exist."""
    return [replace(pod, uid=f"{pod.uid}+{number}", name=f"{pod.name}+{number}") for number in range(1, count + 1)]


def gang_remedies(
    state: State, members: Sequence[PodFacts], *, needed: int, domain_keys: Sequence[str] = GANG_DOMAINS
) -> Iterator[Remedy | None]:
    """What would help a gang of these members, of which ``needed`` have to start; None: take a break."""
    gang = members[0].gang
    if gang is None or len(members) > MOST_MEMBERS or needed > MOST_MEMBERS:
        return
    missing = needed - len(members)
    if missing > 0:
        complete = [*members, *alike(members[0], missing)]
        words = f"gang {gang.key} waits for {missing} more member{'s' * (missing > 1)}"
        if isinstance(tried_gang(state, complete, needed=needed, domain_keys=domain_keys), GangPlacement):
            words += ": it fits once they are created, if they ask for the same"
            yield Remedy(words, {"members": missing}, members=tuple(complete), needed=needed)
        return
    found = tried_gang(state, members, needed=needed, domain_keys=domain_keys)
    if isinstance(found, GangPlacement):
        return
    yield None
    if gang.topology is GangTopology.REQUIRED:
        loose = [_with_topology(pod) for pod in members]
        if isinstance(tried_gang(state, loose, needed=needed, domain_keys=domain_keys), GangPlacement):
            words = "fits with gang-topology preferred: spread over several domains"
            yield Remedy(words, {"gangTopology": "preferred"}, members=tuple(loose), needed=needed)
        yield None
    if 2 <= found.fits < needed:
        fewer = found.fits
        if isinstance(tried_gang(state, members, needed=fewer, domain_keys=domain_keys), GangPlacement):
            words = f"fits with gang-min-members <= {fewer}: {needed - fewer} too many now"
            yield Remedy(words, {"gangMinMembers": fewer}, members=tuple(members), needed=fewer)
        yield None
    yield from _smaller_members(state, members, needed=needed, domain_keys=domain_keys)


def _with_topology(pod: PodFacts) -> PodFacts:
    return pod if pod.gang is None else replace(pod, gang=replace(pod.gang, topology=GangTopology.PREFERRED))


def _smaller_members(
    state: State, members: Sequence[PodFacts], *, needed: int, domain_keys: Sequence[str]
) -> Iterator[Remedy | None]:
    """All members that ask alike, with the same part less of compute and memory: the largest twentieth that fits."""
    request = members[0].request
    if request is None or request.isolation is Isolation.PARTITIONED or any(pod.request != request for pod in members):
        return
    low, high = 0, _STEPS
    best: tuple[PodFacts, ...] = ()
    while high - low > 1:
        middle = (low + high) // 2
        smaller = replace(
            request,
            compute=request.compute * middle // _STEPS,
            percent=request.percent * middle // _STEPS,
            vram=_whole(request.vram * middle // _STEPS),
        )
        tried = tuple(replace(pod, request=smaller) for pod in members)
        if isinstance(tried_gang(state, tried, needed=needed, domain_keys=domain_keys), GangPlacement):
            low, best = middle, tried
        else:
            high = middle
        yield None
    least = best[0].request if best else None
    if least is not None:
        said = {
            "tflops": humanize_gflops(least.compute) if least.compute else "",
            "compute percent": humanize_gflops(least.percent) if least.percent and not least.compute else "",
            "vram": format_bytes(least.vram) if least.vram else "",
        }
        change = {key: value for key, value in said.items() if value}
        words = f"fits if each member asks for {' and '.join(f'{key} <= {value}' for key, value in change.items())}"
        yield Remedy(words, change, members=best, needed=needed)


def _whole(amount: int) -> int:
    return amount - amount % _MI if amount >= _MI else amount
