"""What would help a pod that its namespace's quota has no room for: how much is short, and what would fit in the rest.

Apart from the other remedies because the quota is asked before the fleet: first it is tried out whether the fleet would
hold the pod at all.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cycle import Decision
from tensorfusion.scheduling.facts import PodFacts, QuotaFacts
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.quota import Usage
from tensorfusion.scheduling.remedy import Remedy, tried, tried_with_quota
from tensorfusion.scheduling.state import State
from tensorfusion.units import format_bytes, humanize_gflops


@dataclass(frozen=True, slots=True)
class _Dimension:
    """A ceiling of the sums: field of the facts, path in the quota's spec, and its words."""

    total: str
    single: str
    part: str
    path: str
    words: Callable[[int], str]
    unit: str
    shared: int | None = None
    """The dimension of cohorts that it is."""


_DIMENSIONS = (
    _Dimension("total_compute", "single_compute", "compute", "requests.tflops", humanize_gflops, " TFLOPS", 0),
    _Dimension("total_vram", "single_vram", "vram", "requests.vram", format_bytes, " vram", 1),
    _Dimension(
        "total_compute_limit",
        "single_compute_limit",
        "compute_limit",
        "limits.tflops",
        humanize_gflops,
        " TFLOPS of limits",
    ),
    _Dimension("total_vram_limit", "single_vram_limit", "vram_limit", "limits.vram", format_bytes, " vram of limits"),
    _Dimension("total_workers", "", "workers", "maxWorkers", str, " pods"),
    _Dimension("total_devices", "single_devices", "devices", "maxGPUCount", str, " devices", 2),
)


def quota_remedies(state: State, pod: PodFacts) -> Iterator[Remedy]:
    """How much is short of each ceiling, and the amounts that the rest would hold."""
    quota, request = state.quotas.ceiling(pod.namespace), pod.request
    if quota is None or request is None:
        return
    free_of_it = tried_with_quota(state, pod, None)
    if free_of_it is None:
        return
    yield from _raised(state, pod, quota, _usage(state, pod, free_of_it))
    yield from _within(state, pod, request, quota)


def _raised(state: State, pod: PodFacts, quota: QuotaFacts, asked: Usage) -> Iterator[Remedy]:
    held = state.usage(pod.namespace)
    wanted, short, change = quota, [], {}
    devices = max(1, asked.devices)
    for one in _DIMENSIONS:
        more, now = getattr(asked, one.part), getattr(held, one.part)
        ceiling = getattr(quota, one.total)
        left = _left(state, pod, one, ceiling)
        if left is not None and more > left:
            lacking = more - left
            wanted = replace(wanted, **{one.total: ceiling + lacking})
            change[f"total.{one.path}"] = one.words(ceiling + lacking)
            lent = f"cohort {quota.cohort} has {one.words(left)} left for it, " if _is_lent(quota, one) else ""
            short.append(
                f"{one.words(lacking)}{one.unit} short: total.{one.path} is {one.words(ceiling)}, "
                f"{one.words(now)} of it used, {lent}and {one.words(more)} asked for"
            )
        each = more if one.part == "devices" else -(-more // devices)
        single = getattr(quota, one.single) if one.single else None
        if single and each > single:
            wanted = replace(wanted, **{one.single: each})
            change[f"single.{one.path}"] = one.words(each)
            short.append(f"single.{one.path} is {one.words(single)}, and {one.words(each)} asked for")
    if short and tried_with_quota(state, pod, wanted) is not None:
        raised = ", ".join(f"{path} {value}" for path, value in change.items())
        yield Remedy(f"quota: {'; '.join(short)}; fits if the quota allows {raised}", change, quota=wanted)


def _within(state: State, pod: PodFacts, request: GpuRequest, quota: QuotaFacts) -> Iterator[Remedy]:
    """The request cut down to what is left, in all amounts that a ceiling is in the way of."""
    count = request.count
    smaller, said, change = request, [], {}
    for one, field, name in (
        (_DIMENSIONS[0], "compute", "tflops"),
        (_DIMENSIONS[1], "vram", "vram"),
        (_DIMENSIONS[2], "compute_limit", "tflopsLimit"),
        (_DIMENSIONS[3], "vram_limit", "vramLimit"),
    ):
        asked, single = getattr(request, field), getattr(quota, one.single)
        left = _left(state, pod, one, getattr(quota, one.total))
        bounds = [single] if single else []
        if left is not None:
            bounds.append(left // count)
        most = min(bounds, default=asked)
        if asked > most:
            if most <= 0:
                return
            smaller = replace(smaller, **{field: most})
            change[name] = one.words(most)
            said.append(f"{name} <= {one.words(most)}")
    cut = replace(pod, request=smaller)
    if said and tried(state, cut) is not None:
        yield Remedy(f"fits if {' and '.join(said)}: that is what the quota has left", change, pod=cut)


def _is_lent(quota: QuotaFacts, one: _Dimension) -> bool:
    return bool(quota.cohort) and one.shared is not None


def _left(state: State, pod: PodFacts, one: _Dimension, ceiling: int | None) -> int | None:
    """What is left of a ceiling, or in its stead what the cohort has left; below zero where more is held."""
    if ceiling is None:
        return None
    member = state.quotas.cohorts.member(pod.namespace)
    if member is not None and one.shared is not None:
        return member.room(one.shared)
    held: int = getattr(state.usage(pod.namespace), one.part)
    return ceiling - held


def _usage(state: State, pod: PodFacts, decision: Decision) -> Usage:
    """What the pod would count for in that place."""
    devices = tuple(state.fleet.devices[name] for name in decision.placement.devices)
    return Allocation(pod, decision.placement, confirmed=False, devices=devices).usage
