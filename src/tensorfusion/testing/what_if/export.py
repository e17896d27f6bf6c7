"""A recording as a trace in openb's columns: the machines that were there at any time, and every pod that arrived.

A share becomes thousandths of the smallest device that can hold it: of its compute or of its VRAM, whichever is more.
What a trace has no columns for is lost: quotas, priorities, gangs and rules.
"""

import csv
from pathlib import Path

from tensorfusion.errors import ConfigError
from tensorfusion.model.catalogue import model_matches
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduler.recording.history import History, PodHistory
from tensorfusion.scheduling.fleet_facts import FleetFacts
from tensorfusion.scheduling.quota import WHOLE as WHOLE_PERCENT
from tensorfusion.testing.traces import TraceNode, TracePod, write_trace

_MIB = 1 << 20
_WHOLE = 1000
_TIMES = ("creation_time", "scheduled_time", "deletion_time")


def trace_of(history: History) -> tuple[list[TraceNode], list[TracePod]]:
    """Machines and arrivals; those that were there already come first."""
    fleet = history.ever()
    models: dict[str, list[str]] = {}
    for device in fleet.devices.values():
        models.setdefault(device.node, []).append(device.model)
    nodes = [
        TraceNode(one.name, one.cpu, one.memory // _MIB, len(models.get(one.name, ())), models.get(one.name, [""])[0])
        for one in fleet.nodes.values()
    ]
    return nodes, [_pod(pod, fleet) for pod in _in_order(history)]


def _in_order(history: History) -> list[PodHistory]:
    return sorted(history.pods, key=lambda pod: (not pod.held, pod.arrived, pod.pod))


def _pod(pod: PodHistory, fleet: FleetFacts) -> TracePod:
    facts = pod.facts
    request = facts.request
    milli, models = (0, ()) if request is None else _milli(request, fleet)
    return TracePod(facts.name, facts.cpu, facts.memory // _MIB, 0 if request is None else request.count, milli, models)


def _milli(request: GpuRequest, fleet: FleetFacts) -> tuple[int, tuple[str, ...]]:
    """Thousandths of each device, and the models that it may be."""
    devices = [one for one in fleet.devices.values() if one.pool == request.pool]
    fitting = [one for one in devices if not request.model or model_matches(request.model, one.model)]
    models = tuple(sorted({one.model for one in fitting})) if request.model else ()
    if request.isolation is Isolation.SHARED:
        return _WHOLE, models
    parts = [
        max(
            -(-_WHOLE * request.compute // one.compute) if one.compute and request.compute else 0,
            -(-_WHOLE * request.vram // one.vram) if one.vram else 0,
            0 if request.compute else -(-_WHOLE * request.percent // WHOLE_PERCENT),
            1,
        )
        for one in fitting
    ]
    return min(_WHOLE, max((part for part in parts if part <= _WHOLE), default=_WHOLE)), models


def write(history: History, folder: Path) -> tuple[Path, Path]:
    """Write ``nodes.csv`` and ``pods.csv``; pods have the times of openb too, in seconds after the period began.

    Raises:
        ConfigError: they cannot be written.
    """
    nodes, pods = trace_of(history)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        node_file, pod_file = write_trace(folder, nodes, pods)
        with pod_file.open(newline="") as file:
            rows = list(csv.reader(file))
        with pod_file.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((*rows[0], *_TIMES))
            for row, pod in zip(rows[1:], _in_order(history), strict=True):
                moments = (pod.arrived, history.start if pod.held else pod.bound, pod.ended)
                times = ["" if at is None else max(0, at - history.start) // 1000 for at in moments]
                writer.writerow((*row, *times))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    return node_file, pod_file
