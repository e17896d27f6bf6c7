"""Amounts that would fit: the most of one thing, or of two, that the fleet has room for as it is.

Apart from the other remedies because these are computed, not guessed: with the amount left out the filters say which
devices and nodes are left, and of those the one with most room says how much. Then it is tried out.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.scheduling.codes import FITS, Bools, Ints
from tensorfusion.scheduling.extra_rules import extra_rules
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.pools import PoolColumns
from tensorfusion.scheduling.quota import WHOLE
from tensorfusion.scheduling.rated import PlainClass
from tensorfusion.scheduling.remedy import Remedy, tried
from tensorfusion.scheduling.search import device_codes
from tensorfusion.scheduling.state import State
from tensorfusion.units import format_bytes, format_gflops, format_milli, humanize_gflops

_MI = 1 << 20
_PERCENT = 1000


def smaller_shares(state: State, pod: PodFacts) -> Iterator[Remedy | None]:
    """Less memory, less compute, both of them, or fewer devices, each proven to fit; None: take a break."""
    request = pod.request
    pool = state.fleet.pools.get(request.pool) if request is not None else None
    if request is None or pool is None or not pool.count:
        return
    if request.isolation is Isolation.PARTITIONED:
        yield from _smaller_partitions(state, pod, request, pool)
    else:
        alone = False
        for less in (_less_vram, _less_compute):
            for remedy in less(state, pod, request, pool):
                alone = True
                yield remedy
            yield None
        if not alone:
            yield from _less_of_both(state, pod, request, pool)
    yield None
    yield from _fewer_devices(state, pod, request, pool)


def smaller_needs(state: State, pod: PodFacts) -> Iterator[Remedy]:
    """Less CPU, memory or another resource of the node, each proven to fit."""
    nodes = state.fleet.nodes
    if pod.cpu:
        most = _most_free(state, replace(pod, cpu=0), nodes.cpu_free)
        if 0 <= most < pod.cpu:
            yield from _proven(state, replace(pod, cpu=most), f"fits if cpu <= {humanize_gflops(most)}", "cpu", most)
    if pod.memory:
        most = _rounded(_most_free(state, replace(pod, memory=0), nodes.memory_free), _MI)
        if 0 <= most < pod.memory:
            words = f"fits if memory <= {format_bytes(most)}"
            yield from _proven(state, replace(pod, memory=most), words, "memory", format_bytes(most))
    for name, amount in pod.extended.items():
        others = {key: value for key, value in pod.extended.items() if key != name}
        column = nodes.extended.get(name)
        if not amount or column is None:
            continue
        most = _most_free(state, replace(pod, extended=others), column)
        if 0 < most < amount:
            fewer = replace(pod, extended={**pod.extended, name: most}, native=min(pod.native, most))
            yield from _proven(state, fewer, f"fits if {name} <= {most}", name, most)


def _less_vram(state: State, pod: PodFacts, request: GpuRequest, pool: PoolColumns) -> Iterator[Remedy]:
    if not request.vram:
        return
    open_to = _open_devices(state, pod, replace(request, vram=1), pool)
    most = _rounded(min(_best(pool.vram_free, open_to, request.count), request.vram - 1), _MI)
    if most > 0:
        text = format_bytes(most)
        smaller = replace(pod, request=replace(request, vram=most))
        yield from _proven(state, smaller, f"fits if vram <= {text}", "vram", text)


def _less_compute(state: State, pod: PodFacts, request: GpuRequest, pool: PoolColumns) -> Iterator[Remedy]:
    if request.compute:
        open_to = _open_devices(state, pod, replace(request, compute=1), pool)
        most = min(_best(pool.compute_free, open_to, request.count), request.compute - 1)
        if most > 0:
            text = format_gflops(most)
            smaller = replace(pod, request=replace(request, compute=most))
            yield from _proven(state, smaller, f"fits if tflops <= {humanize_gflops(most)}", "tflops", text)
    elif request.percent:
        open_to = _open_devices(state, pod, replace(request, percent=1), pool)
        shares = _percent_free(pool)
        most = _rounded(min(_best(shares, open_to, request.count), request.percent - 1), _PERCENT)
        if most > 0:
            text = format_milli(most)
            smaller = replace(pod, request=replace(request, percent=most))
            yield from _proven(
                state, smaller, f"fits if compute percent <= {humanize_gflops(most)}", "computePercent", text
            )


def _less_of_both(state: State, pod: PodFacts, request: GpuRequest, pool: PoolColumns) -> Iterator[Remedy]:
    """On the devices that hold the largest part of both."""
    if not (request.vram and request.compute) or len(pool.present) < request.count:
        return
    open_to = _open_devices(state, pod, replace(request, vram=1, compute=1), pool)
    part = np.minimum(
        np.clip(pool.compute_free, 0, request.compute) * _PERCENT // request.compute,
        np.clip(pool.vram_free, 0, request.vram) // max(1, request.vram // _PERCENT),
    )
    part = np.where(open_to, part, -1)
    by_row = np.partition(part, -request.count, axis=0)[-request.count]
    row = int(by_row.argmax())
    if by_row[row] <= 0:
        return
    slots = np.argsort(part[:, row], kind="stable")[-request.count :]
    compute = int(min(request.compute, pool.compute_free[slots, row].min()))
    vram = _rounded(int(min(request.vram, pool.vram_free[slots, row].min())), _MI)
    if compute > 0 and vram > 0:
        words = f"fits if tflops <= {humanize_gflops(compute)} and vram <= {format_bytes(vram)}"
        smaller = replace(pod, request=replace(request, compute=compute, vram=vram))
        if tried(state, smaller) is not None:
            change = {"tflops": format_gflops(compute), "vram": format_bytes(vram)}
            yield Remedy(words, change, pod=smaller)


def _fewer_devices(state: State, pod: PodFacts, request: GpuRequest, pool: PoolColumns) -> Iterator[Remedy]:
    if request.count < 2:
        return
    open_to = _open_devices(state, pod, replace(request, count=1), pool)
    most = int(np.count_nonzero(open_to, axis=0).max())
    if 0 < most < request.count:
        short = request.count - most
        words = (
            f"{short} device{'s' if short > 1 else ''} short in pool {request.pool}: "
            f"no node has more than {most} that can take a share now; fits if gpu-count <= {most}"
        )
        smaller = replace(pod, request=replace(request, count=most, indices=()))
        if tried(state, smaller) is not None:
            yield Remedy(words, {"gpuCount": most}, pod=smaller)


def _smaller_partitions(state: State, pod: PodFacts, request: GpuRequest, pool: PoolColumns) -> Iterator[Remedy]:
    """The largest form of the pool's models that has a place."""
    profiles = {
        device.facts.profile: None
        for row in pool.devices
        for device in row
        if device.facts is not None and device.facts.profile is not None
    }
    forms = {form for profile in profiles for form in profile.forms}
    for form in sorted(forms, key=lambda form: (-form.vram, -form.compute, form.id)):
        smaller = replace(
            pod,
            request=replace(request, partition=form.id, compute=0, percent=0, vram=0, compute_limit=0, vram_limit=0),
        )
        decision = tried(state, smaller) if form.id != request.partition else None
        if decision is not None and decision.placement.partitions:
            words = f"fits as a partition {form.name or form.id}, the largest that has a place"
            yield Remedy(words, {"partition": form.id}, pod=smaller)
            return


def _proven(state: State, pod: PodFacts, words: str, key: str, value: object) -> Iterator[Remedy]:
    if tried(state, pod) is not None:
        yield Remedy(words, {key: value}, pod=pod)


def _open_devices(state: State, pod: PodFacts, relaxed: GpuRequest, pool: PoolColumns) -> Bools:
    """The devices that could take such a share, on nodes that could take the pod. Shape (slots, rows)."""
    asked = replace(pod, request=relaxed)
    rated = state.classes.fresh(pool, state.fleet.nodes, asked)
    rows = rated.rows
    extra = extra_rules(state, asked)
    if extra is not None:
        extra.narrow(rows, pool.node_row, [])
    kept = rated.kept()
    if kept is not None:
        rows &= ~kept
    found: Bools = (device_codes(pool, relaxed, room=None) == FITS) & rows & pool.present
    return found


def _best(column: Ints, open_to: Bools, count: int) -> int:
    """The most that ``count`` open devices of one node have left, each; -1 where no node has as many."""
    if len(column) < count:
        return -1
    return int(np.partition(np.where(open_to, column, -1), -count, axis=0)[-count].max())


def _percent_free(pool: PoolColumns) -> Ints:
    """The most milli-percent of each device that is free; percent of a device rounds down to GFLOPS."""
    capacity = np.maximum(pool.compute, 1)
    free: Ints = np.minimum(((np.maximum(pool.compute_free, -1) + 1) * WHOLE - 1) // capacity, WHOLE)
    return free


def _most_free(state: State, relaxed: PodFacts, column: Ints) -> int:
    """The most that a node has left that could take the pod otherwise; -1 where there is none."""
    nodes = state.fleet.nodes
    rows = np.zeros(nodes.size, np.bool_)
    request = relaxed.request
    if request is None:
        rows = PlainClass(nodes, relaxed).rows
        extra = extra_rules(state, relaxed)
        if extra is not None:
            extra.narrow(rows, None, [])
    else:
        pool = state.fleet.pools.get(request.pool)
        if pool is not None and pool.count:
            open_to = _open_devices(state, relaxed, request, pool)
            rows[pool.node_row[np.count_nonzero(open_to, axis=0) >= request.count]] = True
    return int(column[rows].max()) if rows.any() else -1


def _rounded(amount: int, unit: int) -> int:
    """Down to whole units where there is at least one."""
    return amount - amount % unit if amount >= unit else amount
