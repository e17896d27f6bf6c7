"""Where a hardware partition goes on a device that holds some already: the form, its slots or its isolation group.

Apart from the columns because it looks at one device. A device's *layout* (what it can be cut into, its capacity and
the partitions on it) decides the answer alone, so the columns keep one number per layout and ask here once for each.

Two kinds of devices. With slots (MIG): a form may start at some slots only and takes several in a row. With isolation
groups (Ascend): forms of the same kind share a group, others need one for themselves, and each takes units such as
AI cores. Partitions without a recorded slot are laid out first, in their order: they hold some place.

Source: TensorFusion's partition rules. Ours: of the forms that cover a request the least wasteful one that has a place
is taken, where upstream matches first and then finds no place.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tensorfusion.model.partitions import Form, Partition, Profile
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.quota import compute_on
from tensorfusion.units import GI


@dataclass(frozen=True, slots=True)
class Layout:
    """One device as partitions see it. Capacities in GFLOPS and bytes."""

    profile: Profile
    compute: int
    vram: int
    held: tuple[Partition, ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer for one layout. ``covered``: some form is large enough; without a partition there is no place."""

    covered: bool
    partition: Partition | None = None


def cut(layout: Layout, request: GpuRequest) -> Cut:
    """The partition that this request gets on a device with this layout."""
    forms = covering(layout, request)
    if len(layout.held) >= layout.profile.most:
        return Cut(bool(forms))
    for form in forms:
        partition = _placed(layout, form)
        if partition is not None:
            return Cut(True, partition)
    return Cut(bool(forms))


def covering(layout: Layout, request: GpuRequest) -> list[Form]:
    """The forms that cover the request, the least wasteful first; only the named one where it names one."""
    compute = compute_on(request, layout.compute)
    fitting = [
        form
        for form in layout.profile.forms
        if (not request.partition or form.means(request.partition))
        and form.compute_of(layout.compute) >= compute
        and form.vram >= request.vram
        and form.vram <= layout.vram
    ]
    return sorted(fitting, key=lambda form: _waste(form, layout, compute=compute, vram=request.vram))


def fits(layout: Layout, partition: Partition) -> bool:
    """Whether exactly this partition can be added: what a ledger checks before it holds one."""
    form = next((form for form in layout.profile.forms if form.id == partition.form), None)
    if form is None or len(layout.held) >= layout.profile.most or _full(layout, form):
        return False
    if layout.profile.slots:
        wanted = range(partition.start, partition.start + partition.length)
        taken = occupied(layout)
        return partition.start in form.starts and len(wanted) == form.length and not taken.intersection(wanted)
    return partition.group in _groups(layout, form) and _units_left(layout, form)


def occupied(layout: Layout) -> frozenset[int]:
    """The slots that are taken."""
    taken: set[int] = set()
    for one in layout.held:
        if one.start >= 0:
            taken.update(range(one.start, one.start + one.length))
    forms = {form.id: form for form in layout.profile.forms}
    for one in layout.held:
        form = forms.get(one.form)
        if one.start < 0 and form is not None:
            start = _free_start(form, taken, layout.profile.slots)
            if start is not None:
                taken.update(range(start, start + form.length))
    return frozenset(taken)


def _placed(layout: Layout, form: Form) -> Partition | None:
    if _full(layout, form):
        return None
    compute = form.compute_of(layout.compute)
    if layout.profile.slots:
        start = _free_start(form, occupied(layout), layout.profile.slots)
        return None if start is None else Partition(form.id, compute, form.vram, start, form.length)
    groups = _groups(layout, form)
    if not groups or not _units_left(layout, form):
        return None
    return Partition(form.id, compute, form.vram, group=groups[0])


def _full(layout: Layout, form: Form) -> bool:
    """As many partitions of this form as there may be."""
    return 0 < form.most <= sum(one.form == form.id for one in layout.held)


def _free_start(form: Form, taken: frozenset[int] | set[int], slots: int) -> int | None:
    """The first allowed start whose slots are all free and exist."""
    for start in form.starts:
        wanted = range(start, start + form.length)
        if start + form.length <= slots and not any(slot in taken for slot in wanted):
            return start
    return None


def _groups(layout: Layout, form: Form) -> list[int]:
    """The isolation groups that the form may join, best first: one it shares, else the first empty one."""
    members: dict[int, list[str]] = {group: [] for group in range(layout.profile.groups)}
    for one in layout.held:
        members.setdefault(one.group, []).append(one.form)
    empty = [group for group in range(layout.profile.groups) if not members[group]]
    if not form.shares_group:
        return empty
    alike = [
        group
        for group in range(layout.profile.groups)
        if members[group] and set(members[group]) == {form.id} and len(members[group]) < form.per_group
    ]
    return alike + empty


def _units_left(layout: Layout, form: Form) -> bool:
    forms = {known.id: known for known in layout.profile.forms}
    used: Counter[str] = Counter()
    for one in layout.held:
        for name, amount in forms[one.form].units if one.form in forms else ():
            used[name] += amount
    total = dict(layout.profile.units)
    return all(name not in total or used[name] + amount <= total[name] for name, amount in form.units)


def _waste(form: Form, layout: Layout, *, compute: int, vram: int) -> float:
    """0.6 of the compute and 0.4 of the memory that the form gives beyond the request, relative to it; TFLOPS and GiB.

    A comparison of forms, never added up.
    """
    compute_part = (form.compute_of(layout.compute) - compute) / max(compute, 1000)
    vram_part = (form.vram - vram) / max(vram, GI)
    return 0.6 * compute_part + 0.4 * vram_part


def held_sorted(partitions: Sequence[Partition]) -> tuple[Partition, ...]:
    """Partitions in one order, so that equal devices have equal layouts."""
    return tuple(sorted(partitions, key=lambda one: (one.start, one.group, one.form, one.length)))
