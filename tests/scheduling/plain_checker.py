"""What a ledger must say, added up from the live pods alone. Shares no code with ``src`` but the fact types."""

from collections import defaultdict

from tensorfusion.scheduling.facts import Placement, PodFacts
from tensorfusion.scheduling.state import State

Live = dict[str, tuple[PodFacts, Placement]]


def check(state: State, live: Live, capacity: dict[str, tuple[int, int]]) -> None:
    """Assert that devices, nodes, columns and quota usage are exactly what the live pods make them."""
    devices: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    nodes: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    usage: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0, 0])
    for pod, placement in live.values():
        here = nodes[placement.node]
        here[0] += pod.cpu
        here[1] += pod.memory
        here[2] += 1
        request = pod.request
        if request is None:
            continue
        here[3] += 1
        total = usage[pod.namespace]
        total[4] += 1
        for name in placement.devices:
            compute, vram = capacity.get(name, (0, 0))
            part = request.compute or compute * request.percent // 100_000
            burst = request.compute_limit or compute * request.percent_limit // 100_000
            taken = (compute, vram) if request.isolation == "shared" else (part, request.vram)
            devices[name][0] += taken[0]
            devices[name][1] += taken[1]
            for place, amount in enumerate((part, request.vram, burst, request.vram_limit)):
                total[place] += amount
            total[5] += 1
    _check_devices(state, devices)
    _check_nodes(state, nodes)
    for namespace in {*usage, *state.quotas.namespaces()}:
        found = state.usage(namespace)
        assert [
            found.compute,
            found.vram,
            found.compute_limit,
            found.vram_limit,
            found.workers,
            found.devices,
        ] == usage[namespace], namespace
    assert set(state.allocations) == set(live)


def _check_devices(state: State, expected: dict[str, list[int]]) -> None:
    seen = set()
    over = []
    for device in state.devices():
        seen.add(device.name)
        compute, vram = expected[device.name]
        assert (device.compute_held, device.vram_held) == (compute, vram), device.name
        assert device.facts is not None
        pool = state.fleet.pools[device.facts.pool]
        at = device.slot, device.row
        assert pool.devices[device.row][device.slot] is device
        assert pool.present[at]
        assert pool.compute_free[at] == device.facts.compute - compute
        assert pool.vram_free[at] == device.facts.vram - vram
        if compute > device.facts.compute or vram > device.facts.vram:
            over.append(device.name)
    assert [device.name for device in state.overcommitted()] == sorted(over)
    assert sum(int(pool.present.sum()) for pool in state.fleet.pools.values()) == len(seen)
    for name, record in state.fleet.devices.items():
        if name not in seen:
            assert [record.compute_held, record.vram_held] == expected[name], name


def _check_nodes(state: State, expected: dict[str, list[int]]) -> None:
    columns = state.fleet.nodes
    for name, record in columns.records.items():
        cpu, memory, pods, workers = expected[name]
        assert [record.cpu, record.memory, record.pods, record.workers] == [cpu, memory, pods, workers], name
        if record.facts is not None:
            assert columns.cpu_free[record.row] == record.facts.cpu - cpu
            assert columns.memory_free[record.row] == record.facts.memory - memory
            assert columns.pods_free[record.row] == record.facts.pods - pods
            assert columns.workers[record.row] == workers
    for name, amounts in expected.items():
        assert name in columns.records or not any(amounts), name
