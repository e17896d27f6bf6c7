"""Wishes that nobody can fulfil: each pod's owner reads what is wrong with it and what to change."""

from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model.provider_defaults import provider_objects
from tensorfusion.model.resources import GPUS, PROVIDER_CONFIGS

P = f"{keys.DOMAIN}/"


def near(app: str, key: str = keys.HOSTNAME_LABEL) -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def spread(key: str, skew: int = 1) -> list[dict[str, Any]]:
    return [{"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]


async def told(world: Any, name: str, event: str) -> str:
    """What the condition says, and the event too."""
    await world.start()
    await world.settle(5)
    assert world.node_of(name) == ""
    assert world.events_of(name)[event] == world.reason_of(name)
    return str(world.reason_of(name))


@pytest.mark.parametrize(
    ("form", "vram", "wanted"),
    [
        ("9g.900gb", "0Gi", "1 x (partition 9g.900gb)"),
        ("vir01", "0Gi", "1 x (partition vir01)"),
        ("", "90Gi", "1 x (90Gi vram)"),
    ],
    ids=["unknown", "of another vendor", "too large"],
)
async def test_a_bad_partition_template(world, form: str, vram: str, wanted: str) -> None:
    for body in provider_objects():
        world.api.seed(PROVIDER_CONFIGS, body)
    world.fleet(tflops="312", vram="80Gi")
    status = {"isolationMode": "partitioned", "gpuModel": "NVIDIA A100-SXM4-80GB"}
    world.api.change(GPUS, "g0-0", {"status": status}, subresource="status")
    notes = {keys.ISOLATION: "partitioned"} | ({keys.PARTITION_ID: form} if form else {})
    world.worker("a", tflops="0", vram=vram, annotations=notes)
    words = await told(world, "a", "PartitionTemplateMatchFailed")
    assert "1 device: without a partition template that covers the request" in words
    assert "Name one of 1g.10gb, 1g.10gb+me, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb in annotation" in words
    assert wanted in words


async def test_pods_that_require_each_other(world) -> None:
    world.fleet()
    for name, other in ("ab", "ba"):
        body = world.plain(name, affinity=near(other))
        body["metadata"]["labels"] = {"app": name}
    words = await told(world, "a", "FailedScheduling")
    assert "none of pods with app=b in default is placed: place one first" in words
    assert "two pods that require each other wait for ever, unless one of them has the labels that it asks" in words


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"affinity": near("x", "no.such/key")}, "No node has the label no.such/key that podAffinity names"),
        ({"topologySpreadConstraints": spread("zonee")}, "No node has the label zonee that topologySpreadConstraints"),
    ],
    ids=["affinity", "spread"],
)
async def test_a_topology_key_that_no_node_has(world, spec: dict[str, Any], words: str) -> None:
    world.fleet()
    world.plain("a", **spec)
    found = await told(world, "a", "FailedScheduling")
    assert words in found
    assert "label the nodes, or change the key" in found


async def test_a_gang_in_domains_that_no_node_is_in(world) -> None:
    world.fleet()
    stamps = {
        keys.GANG_REQUIRED_MEMBERS: "2",
        keys.GANG_GROUP_KEY: "default/train",
        keys.GANG_TOPOLOGY: "required",
        keys.GANG_TOPOLOGY_KEY: "no.such/rack",
    }
    for name in "ab":
        world.worker(name, annotations=stamps)
    words = await told(world, "a", "GangWaiting")
    assert "no node has label no.such/rack: label the nodes, or set annotation gang-topology to preferred" in words


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("tflops-request", "-10", "a number of TFLOPS from 0, such as 312 or 149.7"),
        ("tflops-request", "1e30", "a number of TFLOPS from 0, such as 312 or 149.7"),
        ("tflops-request", "NaN", "a number of TFLOPS from 0, such as 312 or 149.7"),
        ("vram-request", "-1Gi", "an amount of memory from 0, such as 16Gi"),
        ("vram-request", "999999Ei", "an amount of memory from 0, such as 16Gi"),
        ("compute-percent-request", "-4", "a percentage from 0 to 100"),
        ("compute-percent-request", "400", "a percentage from 0 to 100"),
        ("gpu-count", "-1", "a whole number from 1 to 128"),
        ("gpu-count", "0", "a whole number from 1 to 128"),
        ("gpu-count", "1000000000000", "a whole number from 1 to 128"),
        ("gpu-indices", "-1", "a comma list of at most 128 distinct device indices from 0, such as 0,1"),
    ],
)
async def test_a_negative_or_huge_amount_of_a_share(world, key: str, value: str, wanted: str) -> None:
    world.fleet()
    compute = {"tflops": "0"} if "percent" in key else {}  # an absolute amount would make it count for nothing
    world.worker("a", **compute, annotations={P + key: value})
    words = await told(world, "a", "FailedScheduling")
    assert words == f"annotation {P}{key}: wanted {wanted}, found {value!r}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("-1", "container main: resources.requests.cpu: '-1' is negative: write 0 or more"),
        ("9" * 40, f"container main: resources.requests.cpu: '{'9' * 40}' is too large"),
        ("lots", "container main: resources.requests.cpu: 'lots' is not a quantity: write a number with"),
        ("1e15", "0/1 nodes are available: 1 node: not enough cpu. Requested: 1000000000000000 cpu, 1Gi memory"),
    ],
)
async def test_a_negative_or_huge_request_of_a_container(world, value: str, words: str) -> None:
    world.fleet()
    world.plain("a", cpu=value)
    assert (await told(world, "a", "FailedScheduling")).startswith(words)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"tflops": "9999"}, "1 device: not enough compute. Requested: 1 x (9999 TFLOPS, 1Gi vram) of pool main"),
        ({"count": 100}, "1 device: too few fitting devices on the node. Requested: 100 x (10 TFLOPS, 1Gi vram)"),
        ({"annotations": {keys.GPU_INDICES: "77"}}, "1 device: another index than asked for. Requested: 1 x"),
        ({"annotations": {keys.GPU_POOL: "nope"}}, "pool nope has no devices. Requested: 1 x (10 TFLOPS, 1Gi vram)"),
    ],
)
async def test_more_than_the_fleet_has(world, wishes: dict[str, Any], words: str) -> None:
    world.fleet()
    world.worker("a", **wishes)
    assert words in await told(world, "a", "GPUQuotaOrCapacityNotEnough")


async def test_bad_wishes_stop_nobody_else(world) -> None:
    world.fleet()
    world.worker("bad", tflops="-10", priority=1000)
    world.plain("worse", cpu="-1", priority=1000)
    world.plain("cycle", affinity=near("cycle-b"), priority=1000)
    world.worker("good")
    await world.start()
    assert world.node_of("good") == "n0"
