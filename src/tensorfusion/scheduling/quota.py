"""What a namespace may hold and what it holds: the ceilings, the running sums, and the check.

Apart from the ledger because it knows nothing of devices: it adds up what each share counts for. A share in percent
counts as the compute of the device it lands on: before the device is known such a request is bounded by a ceiling per
device (``room``), and the exact check follows when the devices are known (``check`` with their capacities).

Source: TensorFusion's quota check, single before total. Ours: only the dimensions that are set count, percent counts as
the share it is, ``total.maxGPUCount``, and that totals may be shared in a cohort (``cohorts``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS, Amounts, Node
from tensorfusion.scheduling.cohorts import Cohorts, policy_between
from tensorfusion.scheduling.facts import QuotaFacts
from tensorfusion.units import format_bytes, format_gflops

WHOLE = 100_000
"""A whole device in milli-percent."""


class Usage(msgspec.Struct):  # a quarter of what a dataclass costs to make: every charge makes one
    """What the live pods of a namespace hold, assumed ones included."""

    compute: int = 0
    vram: int = 0
    compute_limit: int = 0
    vram_limit: int = 0
    workers: int = 0
    devices: int = 0

    def add(self, other: "Usage", sign: int = 1) -> None:
        """Add, or with ``sign`` -1 take away."""
        self.compute += sign * other.compute
        self.vram += sign * other.vram
        self.compute_limit += sign * other.compute_limit
        self.vram_limit += sign * other.vram_limit
        self.workers += sign * other.workers
        self.devices += sign * other.devices

    def positive(self) -> "Usage":
        """What is above zero."""
        return Usage(*(max(0, part) for part in msgspec.structs.astuple(self)))

    @property
    def shared(self) -> Amounts:
        """The part of it that a cohort shares."""
        return self.compute, self.vram, self.devices

    @property
    def empty(self) -> bool:
        return not (self.compute or self.vram or self.compute_limit or self.vram_limit or self.workers or self.devices)


def compute_on(request: GpuRequest, capacity: int) -> int:
    """GFLOPS that one share takes of a device with this capacity; percent rounds down."""
    return request.compute or capacity * request.percent // WHOLE


def limit_on(request: GpuRequest, capacity: int) -> int:
    """The share's compute limit on a device with this capacity."""
    return request.compute_limit or capacity * request.percent_limit // WHOLE


def hard_percent(request: GpuRequest, capacities: Sequence[int]) -> int:
    """Percent of a device's processors that hard isolation lets the share use, rounded up: 1 to 100.

    It is the limit, or the request where there is none. Of unequal devices the smallest decides, so that no share is
    less than its limit. Without any compute the whole device.
    """
    if request.compute_limit or (request.compute and not request.percent_limit):
        least = min(capacities, default=0)
        share = -(-(request.compute_limit or request.compute) * 100 // least) if least else 100
    else:
        share = -(-(request.percent_limit or request.percent) * 100 // WHOLE) or 100
    return max(1, min(100, share))


def usage_of(request: GpuRequest, capacities: Sequence[int]) -> Usage:
    """What the request counts for on devices with these compute capacities."""
    usage = usage_of_amounts(request, len(capacities))
    if request.percent:
        usage.compute = sum([compute_on(request, capacity) for capacity in capacities])
    if request.percent_limit:
        usage.compute_limit = sum([limit_on(request, capacity) for capacity in capacities])
    return usage


def usage_of_amounts(request: GpuRequest, count: int) -> Usage:
    """What the request counts for on so many devices, without what it asks for in percent."""
    return Usage(
        request.compute * count,
        request.vram * count,
        request.compute_limit * count,
        request.vram_limit * count,
        1,
        count,
    )


def usage_of_each(shares: Sequence[GpuRequest], capacities: Sequence[int]) -> Usage:
    """What one pod counts for whose shares differ from device to device."""
    total = Usage()
    for share, capacity in zip(shares, capacities, strict=True):
        total.add(usage_of(share, (capacity,)))
    total.workers = 1
    return total


@dataclass(frozen=True, slots=True)
class Room:
    """What one device's share may count for at most; None is unlimited."""

    compute: int | None
    compute_limit: int | None


class QuotaBook:
    """Ceilings and sums of every namespace."""

    def __init__(self) -> None:
        self._ceilings: dict[str, QuotaFacts] = {}
        self._usage: dict[str, Usage] = {}
        self.cohorts = Cohorts(lambda namespace: self.usage(namespace).shared)
        """Who shares their totals with whom."""

    def ceiling(self, namespace: str) -> QuotaFacts | None:
        return self._ceilings.get(namespace)

    @property
    def capped(self) -> Iterable[str]:
        """Those that have a ceiling; of those that share theirs one for all."""
        if not self.cohorts.active:
            return self._ceilings.keys()
        trees = {self.cohorts.tree_of(namespace) or (namespace,): namespace for namespace in self._ceilings}
        return trees.values()

    def usage(self, namespace: str) -> Usage:
        """A copy of what the namespace holds."""
        held = self._usage.get(namespace)
        total = Usage()
        if held is not None:
            total.add(held)
        return total

    def namespaces(self) -> list[str]:
        """Those that hold something or have a ceiling, sorted."""
        return sorted(self._usage.keys() | self._ceilings.keys())

    def set(self, quota: QuotaFacts) -> bool:
        """Answers whether anything changed."""
        changed = self._ceilings.get(quota.namespace) != quota
        self._ceilings[quota.namespace] = quota
        self.cohorts.set_quota(quota.namespace, quota)
        return changed

    def remove(self, namespace: str) -> bool:
        self.cohorts.set_quota(namespace, None)
        return self._ceilings.pop(namespace, None) is not None

    def counts_with(self, namespace: str, other: str) -> bool:
        """Whether what one namespace holds may keep the other from holding more, by a quota."""
        if namespace == other:
            return namespace in self._ceilings
        cohorts = self.cohorts
        return cohorts.active and cohorts.tree_of(namespace) == cohorts.tree_of(other) != ""

    def add(self, namespace: str, usage: Usage, sign: int = 1) -> None:
        held = self._usage.get(namespace)
        if held is None:
            held = self._usage[namespace] = Usage()
        held.add(usage, sign)
        if sign < 0 and held.empty:
            del self._usage[namespace]
        if self.cohorts.active:
            self.cohorts.hold(namespace, (sign * usage.compute, sign * usage.vram, sign * usage.devices))

    def is_owed(self, namespace: str) -> bool:
        """Whether others may have to give back what is the namespace's own: somebody has borrowed, and may be asked."""
        member = self.cohorts.member(namespace) if self.cohorts.active else None
        return member is not None and self._may_ask(member)

    def _may_ask(self, member: Node) -> bool:
        for name in member.root.borrowers:
            other = self.cohorts.member(name)
            if other is None or other is member:
                continue
            meeting, policy = policy_between(member, other)
            below = [one for one in other.path if one not in meeting.path]
            if policy is not ReclaimPolicy.NEVER and any(all(one.above(part) for one in below) for part in DIMENSIONS):
                return True
        return False

    def stays_within_own(self, namespace: str, request: GpuRequest | None) -> bool:
        """Whether a namespace of a cohort stays within its own with the request; shares in percent pass."""
        return self.stay_within_own(namespace, (request,))

    def stay_within_own(self, namespace: str, requests: Iterable[GpuRequest | None]) -> bool:
        """Whether a namespace of a cohort stays within its own with all of these; None asks for nothing."""
        member = self.cohorts.member(namespace) if self.cohorts.active else None
        if member is None:
            return False
        asked = [request for request in requests if request is not None]
        return not asked or within_own(member, asked_of_shares(asked))

    def check_each(self, namespace: str, shares: Sequence[GpuRequest], capacities: Sequence[int]) -> None:
        """Refuse a pod whose shares differ from device to device.

        Raises:
            QuotaExceeded: the first ceiling that is passed, single ones before totals.
        """
        quota = self._ceilings.get(namespace)
        if quota is None:
            return
        for share in shares:
            for key, requested, ceiling, words in _singles(quota, _largest(share, capacities)):
                if ceiling and requested > ceiling:
                    raise _exceeded(namespace, key, requested, ceiling=ceiling, words=words, resolvable=False)
        self._check_total(namespace, quota, usage_of_each(shares, capacities))

    def check(
        self,
        namespace: str,
        request: GpuRequest,
        capacities: Sequence[int] | None = None,
        *,
        released: Mapping[str, Usage] | None = None,
        gone: AbstractSet[str] = frozenset(),
    ) -> None:
        """Refuse a request that the namespace has no room for; without ``capacities``, shares in percent pass.

        ``released`` is what namespaces would hold less by then. Of the pods that go for it, ``gone`` are the uids of
        those that wait for others to leave, or that others wait for.

        Raises:
            QuotaExceeded: the first ceiling that is passed, single ones before totals.
        """
        quota = self._ceilings.get(namespace)
        if quota is None:
            return
        one = _largest(request, capacities)
        for key, requested, ceiling, words in _singles(quota, one):
            if ceiling and requested > ceiling:
                raise _exceeded(namespace, key, requested, ceiling=ceiling, words=words, resolvable=False)
        wanted = usage_of(request, (0,) * request.count if capacities is None else capacities)
        with self.cohorts.without(gone):
            self._check_total(namespace, quota, wanted, released=released)

    def check_change(self, namespace: str, before: GpuRequest, after: GpuRequest, capacities: Sequence[int]) -> None:
        """Refuse a live change that the namespace has no room for; what does not grow is not looked at.

        Raises:
            QuotaExceeded: the first ceiling that a growing amount passes, single ones before totals.
        """
        quota = self._ceilings.get(namespace)
        if quota is None:
            return
        old, new = _largest(before, capacities), _largest(after, capacities)
        for (key, was, ceiling, words), (_, wanted, _, _) in zip(
            _singles(quota, old), _singles(quota, new), strict=True
        ):
            if ceiling and wanted > was and wanted > ceiling:
                raise _exceeded(namespace, key, wanted, ceiling=ceiling, words=words, resolvable=False)
        held, growth = usage_of(before, capacities), usage_of(after, capacities)
        growth.add(held, -1)
        self._check_total(namespace, quota, growth.positive())

    def _check_total(
        self, namespace: str, quota: QuotaFacts, usage: Usage, *, released: Mapping[str, Usage] | None = None
    ) -> None:
        held = self._usage.get(namespace) or Usage()
        if released:
            if quota.cohort:
                self._check_without(namespace, quota, usage, released)
                return
            held = self.usage(namespace)
            held.add(released.get(namespace, Usage()), -1)
        member = self.cohorts.member(namespace) if quota.cohort else None
        for key, now, more, ceiling, words, shared in (
            ("total.max.tflops.request", held.compute, usage.compute, quota.total_compute, format_gflops, 0),
            ("total.max.vram.request", held.vram, usage.vram, quota.total_vram, format_bytes, 1),
            (
                "total.max.tflops.limit",
                held.compute_limit,
                usage.compute_limit,
                quota.total_compute_limit,
                format_gflops,
                None,
            ),
            ("total.max.vram.limit", held.vram_limit, usage.vram_limit, quota.total_vram_limit, format_bytes, None),
            ("total.max.workers.limit", held.workers, usage.workers, quota.total_workers, str, None),
            ("total.max.gpuCount.limit", held.devices, usage.devices, quota.total_devices, str, 2),
        ):
            # A dimension that the pod takes nothing of cannot be what holds it back, however overdrawn it is.
            if ceiling is None or not more:
                continue
            if member is not None and shared is not None:
                if more > member.room(shared):
                    raise _not_lent(member, key, shared, usage=usage, words=words, may_ask=self._may_ask)
            elif now + more > ceiling:
                resolvable = more <= ceiling
                raise _exceeded(namespace, key, now + more, ceiling=ceiling, words=words, resolvable=resolvable)

    def _check_without(self, namespace: str, quota: QuotaFacts, usage: Usage, released: Mapping[str, Usage]) -> None:
        for space, less in released.items():
            self.add(space, less, -1)
        try:
            self._check_total(namespace, quota, usage)
        finally:
            for space, less in released.items():
                self.add(space, less)

    def room(self, namespace: str, request: GpuRequest) -> Room | None:
        """How much compute each device's share may count for, where the request is in percent; None is no bound."""
        quota = self._ceilings.get(namespace)
        if quota is None:
            return None
        held = self._usage.get(namespace) or Usage()
        compute = limit = None
        if request.percent and not request.compute:
            left = None if quota.total_compute is None else quota.total_compute - held.compute
            member = self.cohorts.member(namespace) if quota.cohort else None
            if member is not None and left is not None:
                left = member.room(0)
            compute = _least(quota.single_compute, left, count=request.count)
        if request.percent_limit and not request.compute_limit:
            total = quota.total_compute_limit
            limit = _least(
                quota.single_compute_limit, None if total is None else total - held.compute_limit, count=request.count
            )
        return None if compute is None and limit is None else Room(compute, limit)


_Single: TypeAlias = tuple[str, int, int | None, Callable[[int], str]]


def _largest(request: GpuRequest, capacities: Sequence[int] | None) -> Usage:
    """The largest of the request's shares; on devices not known yet a share in percent counts as nothing."""
    known = (0,) if capacities is None else capacities
    return Usage(
        compute=max((compute_on(request, capacity) for capacity in known), default=0),
        vram=request.vram,
        compute_limit=max((limit_on(request, capacity) for capacity in known), default=0),
        vram_limit=request.vram_limit,
        devices=request.count,
    )


def _singles(quota: QuotaFacts, share: Usage) -> tuple[_Single, ...]:
    """What bounds one pod: key, amount, ceiling and how to say it."""
    return (
        ("single.max.tflops.request", share.compute, quota.single_compute, format_gflops),
        ("single.max.vram.request", share.vram, quota.single_vram, format_bytes),
        ("single.max.tflops.limit", share.compute_limit, quota.single_compute_limit, format_gflops),
        ("single.max.vram.limit", share.vram_limit, quota.single_vram_limit, format_bytes),
        ("single.max.gpuCount.limit", share.devices, quota.single_devices, str),
    )


def _least(single: int | None, left: int | None, *, count: int) -> int | None:
    """The tighter of both bounds for each of ``count`` shares: its own ceiling, and what is left for all of them."""
    bounds = [single] if single else []
    if left is not None:
        bounds.append(max(0, left // count))
    return min(bounds, default=None)


def _exceeded(
    namespace: str, key: str, requested: int, *, ceiling: int, words: Callable[[int], str], resolvable: bool
) -> QuotaExceeded:
    return QuotaExceeded(namespace, key, requested=words(requested), limit=words(ceiling), resolvable=resolvable)


def _not_lent(
    member: Node, key: str, part: int, *, usage: Usage, words: Callable[[int], str], may_ask: Callable[[Node], bool]
) -> QuotaExceeded:
    """A member's request that passes what it has and what the others lend it now."""
    more, held, own = usage.shared[part], member.counted[part], member.quota[part]
    room, root = member.room(part), member.root
    cohort = member.parent
    entitled = within_own(member, usage.shared)
    others = _others(member)
    one = others == 1
    users = (
        f"{others} other namespace{'' if one else 's'} of cohort {root.name} "
        f"{'holds more than its' if one else 'hold more than their'} own"
    )
    if not entitled:
        why = f"cohort {cohort.name if cohort is not None else ''} has {words(max(0, room))} left for it"
        then = ""
    elif not others:
        why, then = f"cohort {root.name} holds more than it has", "it waits until that ends"
    elif may_ask(member):
        why, then = users, "pods of theirs may be evicted for it"
    else:
        why, then = users, "it waits until that ends, as no reclaim is asked for between them"
    return QuotaExceeded(
        member.name,
        key,
        requested=words(held + more),
        limit=words(held + max(0, room)),
        resolvable=more <= member.reach(part),
        cohort=root.name,
        detail=f"{words(own)} is its own, {why}{f': {then}' if then else ''}",
    )


def asked_of_shares(requests: Iterable[GpuRequest]) -> Amounts:
    """What these ask for of what cohorts share; shares in percent count for nothing before their devices are known."""
    total = Usage()
    for request in requests:
        total.add(usage_of(request, (0,) * request.count))
    return total.shared


def within_own(member: Node, more: Amounts, held: Sequence[int] | None = None) -> bool:
    """Whether the namespace would hold no more than its own, of anything that it shares; ``held`` but for more."""
    now = member.counted if held is None else held
    return all(own is None or now[part] + more[part] <= own for part, own in zip(DIMENSIONS, member.own, strict=True))


def _others(member: Node) -> int:
    """How many other namespaces of its tree hold more than their own."""
    borrowers = member.root.borrowers
    return len(borrowers) - (member.name in borrowers)
