"""Why a pool is as full as it is, why a node takes no work, what of a quota is left: told from the objects themselves.

Pure: objects in, a value for programs out; ``lines`` turns it into text. Apart from the command because a pod's story
is the scheduler's record, and these are nobody's record but what the API says now.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tensorfusion.model import keys
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_node import GPUNode
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Condition
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.units import Rounding, humanize_bytes, humanize_gflops, to_bytes, to_gflops

Story = dict[str, Any]  # Any: printed as JSON

_HOSTNAME = "kubernetes.io/hostname"
_MOST = 10
_WORDS = {True: "yes", False: "no"}


def pool_story(pool: GPUPool, *, nodes: Sequence[GPUNode], gpus: Sequence[GPU], pods: Sequence[Pod]) -> Story:
    """What a pool has, who holds it, and which pods wait for it."""
    name, status = pool.metadata.name, pool.status
    own = [gpu for gpu in gpus if gpu.metadata.labels.get(keys.GPU_POOL) == name]
    mine = [pod for pod in pods if pod.metadata.labels.get(keys.GPU_POOL) == name]
    members = [node for node in nodes if node.metadata.labels.get(keys.MANAGED_BY) == name]
    return {
        "pool": name,
        "phase": str(status.phase),
        "why": _conditions(status.conditions),
        "nodes": f"{status.ready_nodes} of {status.total_nodes} ready",
        "notReady": [
            f"{node.metadata.name} ({node.status.phase})" for node in members if str(node.status.phase) != "Running"
        ],
        "devices": _models(own),
        "compute": f"{status.available_tflops} of {status.total_tflops} TFLOPS free",
        "memory": f"{status.available_vram} of {status.total_vram} free",
        "largestFreeShare": _largest(own),
        "outOfWork": [
            f"{gpu.metadata.name}: {gpu.status.phase}, {gpu.status.message}"
            for gpu in own
            if not gpu.status.schedulable
        ],
        "holders": _holders(mine),
        "waiting": _waiting(mine),
    }


def node_story(node: Node, *, gpu_node: GPUNode | None, gpus: Sequence[GPU], pods: Sequence[Pod]) -> Story:
    """Whether a node takes work, what its devices are, and what runs there."""
    name = node.metadata.name
    own = sorted(
        (gpu for gpu in gpus if gpu.status.node_selector.get(_HOSTNAME) == name), key=lambda gpu: gpu.status.index
    )
    here = [pod for pod in pods if pod.spec.node_name == name and not pod.finished]
    obstacles = (
        [] if node.ready else ["it is not ready: " + (_conditions(node.status.conditions) or "it does not say why")]
    )
    if node.spec.unschedulable:
        obstacles.append("it is cordoned: `kubectl uncordon` or `tensorfusion fleet heal` opens it")
    obstacles += [f"taint {taint.key}={taint.value}:{taint.effect}" for taint in node.spec.taints]
    if own and gpu_node is None:
        obstacles.append("no pool has it: see the node selectors of the pools")
    return {
        "node": name,
        "takesWork": not obstacles,
        "obstacles": obstacles,
        "pool": gpu_node.metadata.labels.get(keys.MANAGED_BY, "") if gpu_node is not None else "",
        "phase": str(gpu_node.status.phase) if gpu_node is not None else "",
        "devices": [_device(gpu) for gpu in own],
        "pods": [str(pod.key) for pod in here],
    }


def quota_story(quota: GPUResourceQuota, *, ignored: Sequence[str], pods: Sequence[Pod]) -> Story:
    """What of a quota is used, who uses it, and which pods wait for it."""
    total, used = quota.spec.total, quota.status.used
    rows: list[str] = []
    if total is not None:
        for kind, ceiling, held in (
            ("requests", total.requests, used.requests if used else None),
            ("limits", total.limits, used.limits if used else None),
        ):
            for dimension in ("tflops", "vram"):
                most = getattr(ceiling, dimension, "") if ceiling is not None else ""
                if most:
                    now = (getattr(held, dimension, "") if held is not None else "") or "0"
                    rows.append(
                        f"{kind}.{dimension}: {_amount(dimension, now)} of {_amount(dimension, most)}, "
                        f"{_left(dimension, now, most)} left"
                    )
        workers = (used.workers if used else 0) or 0
        rows.append(f"pods: {workers} of {total.max_workers}, {max(0, total.max_workers - workers)} left")
        if total.max_gpu_count is not None:
            shares = (used.gpu_count if used else 0) or 0
            rows.append(f"shares: {shares} of {total.max_gpu_count}, {max(0, total.max_gpu_count - shares)} left")
    mine = [pod for pod in pods if pod.metadata.labels.get(keys.COMPONENT) == "worker"]
    return {
        "quota": str(quota.key),
        "state": _conditions(quota.status.conditions),
        "used": rows or ["it sets no ceiling of the namespace's sums"],
        "sharedIn": _shared(quota),
        "perWorker": _single(quota),
        "ignored": [f"{name}: only the first quota of a namespace by name counts" for name in ignored],
        "holders": _holders(mine),
        "waiting": [line for line in _waiting(mine) if "quota" in line.lower()],
    }


def _shared(quota: GPUResourceQuota) -> str:
    """The cohort of a quota, in words."""
    spec = quota.spec
    if not spec.cohort:
        return ""
    words = f"cohort {spec.cohort}, weight {spec.fair_weight}: members use what others leave of requests and shares"
    for word, limit in (("lends", spec.lending), ("borrows", spec.borrowing)):
        amounts = limit.limit if limit is not None else None
        if amounts is not None:
            parts = (("TFLOPS", amounts.tflops), ("vram", amounts.vram), ("shares", amounts.gpu_count))
            said = [f"{value} {name}" for name, value in parts if value not in ("", None)]
            words += f"; it {word} at most {', '.join(said)}" if said else ""
    return words


def lines(story: Story) -> list[str]:
    """A story as text: its first entry is the title, empty entries are left out."""
    entries = iter(story.items())
    kind, name = next(entries)
    told = [f"{kind} {name}"]
    for key, value in entries:
        if value in (None, "", [], {}):
            continue
        label = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in key)
        if isinstance(value, list):
            told.append(f"  {label}:")
            told += [f"    {line}" for line in value[:_MOST]]
            if len(value) > _MOST:
                told.append(f"    ... {len(value) - _MOST} more")
        else:
            told.append(f"  {label}: {_WORDS.get(value, value) if isinstance(value, bool) else value}")
    return told


def _conditions(conditions: Iterable[Condition]) -> str:
    return "; ".join(f"{entry.type} {entry.status}: {entry.message or entry.reason}" for entry in conditions)


def _models(gpus: Sequence[GPU]) -> str:
    found = Counter(gpu.status.gpu_model or "unknown" for gpu in gpus)
    return ", ".join(f"{count} {model}" for model, count in found.most_common()) or "none"


def _largest(gpus: Sequence[GPU]) -> str:
    """The most that one share can get now: what a pool's sums do not say."""
    free = [
        (
            to_gflops(gpu.status.available.tflops or "0", Rounding.DOWN),
            to_bytes(gpu.status.available.vram or "0", Rounding.DOWN),
            gpu,
        )
        for gpu in gpus
        if gpu.status.schedulable and gpu.status.available is not None
    ]
    if not free:
        return "none: no device takes work"
    compute, vram, gpu = max(free, key=lambda entry: (entry[0], entry[1], entry[2].metadata.name))
    return f"{humanize_gflops(compute)} TFLOPS and {humanize_bytes(vram)} on {gpu.metadata.name}"


def _device(gpu: GPU) -> str:
    status = gpu.status
    free, whole = status.available, status.capacity
    room = (
        f"{free.tflops or 0} of {whole.tflops or 0} TFLOPS, {free.vram or 0} of {whole.vram or 0} free"
        if free and whole
        else ""
    )
    pods = [f"{pod.namespace}/{pod.name}" for app in status.running_apps or () for pod in app.pods or ()]
    parts = [f"{status.index} {status.gpu_model}: {status.phase}", room, ", ".join(pods)]
    if not status.schedulable:
        parts.insert(1, status.message or f"handed out by {status.used_by}")
    return "; ".join(part for part in parts if part)


def _holders(pods: Sequence[Pod]) -> list[str]:
    """Pods with shares, those with the most compute first."""
    held = [pod for pod in pods if pod.spec.node_name and not pod.finished]
    return [f"{pod.key}: {_wish(pod)} on {pod.spec.node_name}" for pod in sorted(held, key=_weight)]


def _weight(pod: Pod) -> tuple[float, str]:
    text = pod.metadata.annotations.get(keys.TFLOPS_REQUEST, "0")
    try:
        return -float(text), str(pod.key)
    except ValueError:
        return 0.0, str(pod.key)


def _wish(pod: Pod) -> str:
    notes = pod.metadata.annotations
    parts = [
        f"{notes[key]}{unit}"
        for key, unit in (
            (keys.TFLOPS_REQUEST, " TFLOPS"),
            (keys.COMPUTE_PERCENT_REQUEST, " %"),
            (keys.VRAM_REQUEST, ""),
        )
        if key in notes
    ]
    count = notes.get(keys.GPU_COUNT, "1")
    return ", ".join(parts) + (f" on each of {count} devices" if count != "1" else "")


def _waiting(pods: Sequence[Pod]) -> list[str]:
    waiting = [pod for pod in pods if not pod.spec.node_name and not pod.finished and not pod.metadata.deleting]
    return [f"{pod.key}: {_reason(pod)}" for pod in sorted(waiting, key=lambda pod: str(pod.key))]


def _reason(pod: Pod) -> str:
    return (
        next((entry.message for entry in pod.status.conditions if entry.type == "PodScheduled"), "")
        or "not looked at yet"
    )


def _amount(dimension: str, text: str) -> str:
    return f"{text} TFLOPS" if dimension == "tflops" else humanize_bytes(to_bytes(text))


def _left(dimension: str, used: str, most: str) -> str:
    if dimension == "tflops":
        return humanize_gflops(max(0, to_gflops(most) - to_gflops(used)))
    return humanize_bytes(max(0, to_bytes(most) - to_bytes(used)))


def _single(quota: GPUResourceQuota) -> list[str]:
    single = quota.spec.single
    if single is None:
        return []
    told = []
    for what, amount in (
        ("requests at most", single.max_requests),
        ("limits at most", single.max_limits),
        ("requests where none are stated", single.default_requests),
        ("limits where none are stated", single.default_limits),
    ):
        if amount is not None:
            units = ((amount.tflops, " TFLOPS"), (amount.compute, " %"), (amount.vram, ""))
            told.append(f"{what}: {', '.join(f'{value}{unit}' for value, unit in units if value)}")
    if single.max_gpu_count:
        told.append(f"devices at most: {single.max_gpu_count}")
    return told
