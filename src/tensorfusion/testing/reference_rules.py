"""What facts alone say to a pod: a device's, a node's labels, taints and cordon, and where a partition goes.

Apart from the reference scheduler because these look at one node or one device and at nobody else. They share no code
with ``tensorfusion.scheduling`` but the fact types.
"""

from collections.abc import Sequence

from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.core import NodeSelectorTerm
from tensorfusion.model.partitions import Form, Partition, Profile
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts
from tensorfusion.scheduling.pod_rules import EVERY_ADDRESS

CORDON = "node.kubernetes.io/unschedulable"
GIB = 1 << 30
TFLOPS = 1000


def device_problem(device: DeviceFacts, request: GpuRequest) -> str:
    """Why the device cannot take such a request, whoever holds it; "" where it can."""
    if device.pool != request.pool:
        return "pool"
    if device.phase != "Running":
        return "phase"
    if device.used_by not in ("", "tensor-fusion"):
        return "used-by"
    if request.indices and device.index not in request.indices:
        return "index"
    mode = request.isolation
    if mode != "shared":
        if device.capabilities is not None and mode not in device.capabilities:
            return "isolation"
        if device.isolation_policy == "Dynamic":
            if mode == "partitioned":
                return "isolation"
        elif device.isolation_mode not in ("", mode):
            return "isolation"
    if request.vendor and device.vendor != request.vendor:
        return "vendor"
    if request.model and not model_matches(request.model, device.model):
        return "model"
    return ""


def tolerates(pod: PodFacts, key: str, value: str, effect: str) -> bool:
    for wish in pod.tolerations:
        if wish.effect and wish.effect != effect:
            continue
        if wish.operator == "Exists":
            if wish.key in ("", key):
                return True
        elif wish.key == key and wish.value == value:
            return True
    return False


def term_holds(term: NodeSelectorTerm, node: NodeFacts) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    for wish, labels in [(wish, dict(node.labels)) for wish in term.match_expressions] + [
        (wish, {"metadata.name": node.name}) for wish in term.match_fields
    ]:
        value = labels.get(wish.key)
        if wish.operator == "In":
            holds = value in wish.values
        elif wish.operator == "NotIn":
            holds = value not in wish.values
        elif wish.operator == "Exists":
            holds = value is not None
        elif wish.operator == "DoesNotExist":
            holds = value is None
        elif value is None or not value.lstrip("-").isdigit():
            holds = False
        else:
            holds = int(value) > int(wish.values[0]) if wish.operator == "Gt" else int(value) < int(wish.values[0])
        if not holds:
            return False
    return True


def keeps_off(node: NodeFacts | None, pod: PodFacts) -> str:
    """Why the node's own words keep the pod off it; "" where they do not."""
    if node is None:
        return "absent"
    if not node.ready:
        return "not-ready"
    if node.unschedulable and not tolerates(pod, CORDON, "", "NoSchedule"):
        return "unschedulable"
    for taint in node.taints:
        if node.unschedulable and taint.key == CORDON:
            continue
        if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(pod, taint.key, taint.value, taint.effect):
            return "taint"
    for key, value in pod.node_selector.items():
        if node.labels.get(key) != value:
            return "node-selector"
    affinity = pod.affinity.node_affinity if pod.affinity else None
    required = affinity.required if affinity else None
    if required is not None and not any(term_holds(term, node) for term in required.terms):
        return "node-affinity"
    return ""


def preference(node: NodeFacts, pod: PodFacts) -> tuple[int, int]:
    """Weights of the preferred terms that hold; and below a point, less for every soft taint."""
    soft = 0
    for taint in node.taints:
        if taint.effect == "PreferNoSchedule" and not tolerates(pod, taint.key, taint.value, taint.effect):
            soft += 1
    affinity = pod.affinity.node_affinity if pod.affinity else None
    preferred = affinity.preferred if affinity else ()
    return sum(term.weight for term in preferred if term_holds(term.preference, node)), -soft


def ports_clash(pod: PodFacts, other: PodFacts) -> bool:
    """Whether both want the same port of a node."""
    mine = pod.rules.ports if pod.rules is not None else ()
    theirs = other.rules.ports if other.rules is not None else ()
    return any(
        (one.port, one.protocol) == (two.port, two.protocol)
        and (one.address == two.address or EVERY_ADDRESS in (one.address, two.address))
        for one in mine
        for two in theirs
    )


def covering(device: DeviceFacts, request: GpuRequest) -> list[Form]:
    """The forms of the device that cover the request, the least wasteful first."""
    profile = device.profile
    if profile is None:
        return []
    compute = request.compute or device.compute * request.percent // 100_000

    def waste(form: Form) -> float:
        more_compute = (form.compute_of(device.compute) - compute) / max(compute, TFLOPS)
        more_vram = (form.vram - request.vram) / max(request.vram, GIB)
        return 0.6 * more_compute + 0.4 * more_vram

    forms = []
    for form in profile.forms:
        named = not request.partition or form.means(request.partition)
        if named and form.compute_of(device.compute) >= compute and request.vram <= form.vram <= device.vram:
            forms.append(form)
    return sorted(forms, key=waste)


def cut(device: DeviceFacts, held: Sequence[Partition], request: GpuRequest) -> tuple[bool, Partition | None]:
    """Whether some form of the device covers the request, and the partition that the request gets."""
    profile, forms = device.profile, covering(device, request)
    if profile is None:
        return False, None
    in_order = sorted(held, key=lambda one: (one.start, one.group, one.form, one.length))
    if len(held) < profile.most:
        for form in forms:
            place = _slot(profile, in_order, form) if profile.slots else _group(profile, in_order, form)
            if place is not None and not 0 < form.most <= sum(one.form == form.id for one in held):
                size = form.compute_of(device.compute), form.vram
                if profile.slots:
                    return True, Partition(form.id, *size, start=place, length=form.length)
                return True, Partition(form.id, *size, group=place)
    return bool(forms), None


def _slot(profile: Profile, held: Sequence[Partition], form: Form) -> int | None:
    """The first start at which the form's slots are free; partitions without a start take the first that fits them."""
    free = set(range(profile.slots))
    for one in held:
        if one.start >= 0:
            free -= set(range(one.start, one.start + one.length))
    known = {each.id: each for each in profile.forms}
    for one in held:
        if one.start < 0 and one.form in known:
            for start in known[one.form].starts:
                wanted = set(range(start, start + known[one.form].length))
                if wanted <= free:
                    free -= wanted
                    break
    for start in form.starts:
        if set(range(start, start + form.length)) <= free:
            return start
    return None


def _group(profile: Profile, held: Sequence[Partition], form: Form) -> int | None:
    """A group of the form's own kind with a place, else the first empty one, if the device has the units."""
    units = {each.id: dict(each.units) for each in profile.forms}
    for name, total in profile.units:
        used = sum(units.get(one.form, {}).get(name, 0) for one in held)
        if used + dict(form.units).get(name, 0) > total and name in dict(form.units):
            return None
    empty = []
    for group in range(profile.groups):
        here = [one.form for one in held if one.group == group]
        if not here:
            empty.append(group)
        elif form.shares_group and all(name == form.id for name in here) and len(here) < form.per_group:
            return group
    return empty[0] if empty else None
