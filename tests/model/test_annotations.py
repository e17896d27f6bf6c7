"""What users write on pods, parsed once into integers."""

import string
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import (
    REQUEST_KEYS,
    Feature,
    PodWishes,
    annotations_of,
    gpu_ids,
    parse_wishes,
    read_request,
    request_of,
)
from tensorfusion.model.autoscaling import AutoscaleTarget
from tensorfusion.model.gpu_topology import TopologySource
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.model.workload import GangMode, GangTopology

WORKER = {keys.COMPONENT: "worker"}
GIB = 1 << 30
SECOND = 1_000_000_000


def test_a_pod_without_annotations_wishes_nothing() -> None:
    assert parse_wishes({}) == PodWishes()
    assert parse_wishes({"example.com/tflops-request": "x", "tensor-fusion.ai/unheard-of": "x"}) == PodWishes()


def test_every_annotation_of_the_users_is_read() -> None:
    wishes = parse_wishes(
        {
            keys.TFLOPS_REQUEST: "100",
            keys.TFLOPS_LIMIT: "149.7",
            keys.VRAM_REQUEST: "16Gi",
            keys.VRAM_LIMIT: "20G",
            keys.COMPUTE_PERCENT_REQUEST: "12.5",
            keys.COMPUTE_PERCENT_LIMIT: "100",
            keys.GPU_COUNT: "2",
            keys.GPU_INDICES: "3, 0",
            keys.GPU_MODEL: "A100",
            keys.VENDOR: "NVIDIA",
            keys.GPU_POOL: "shared",
            keys.QOS: "high",
            keys.ISOLATION: "partitioned",
            keys.PARTITION_ID: "1g.10gb",
            keys.DEDICATED_GPU: "true",
            keys.WORKLOAD_PROFILE: "base",
            keys.INJECT_CONTAINER: "main, side",
            keys.IS_LOCAL_GPU: "false",
            keys.SIDECAR_WORKER: "true",
            keys.WORKER_POD_TEMPLATE: "spec: {}",
            keys.DISABLE_FEATURES: "gpu-opt,start-worker",
            keys.AUTOSCALE: "true",
            keys.AUTOSCALE_TARGET: "vram",
            keys.ENABLED_REPLICAS: "0",
            keys.EVICTION_PROTECTION: "1h30m",
            keys.GANG_ENABLED: "true",
            keys.GANG_MIN_MEMBERS: "2",
            keys.GANG_TIMEOUT: "90s",
            keys.GANG_MODE: "Strict",
            keys.GANG_TOPOLOGY: "required",
            keys.GANG_TOPOLOGY_KEY: "example.com/rack",
            keys.REQUIRE_GPU_TOPOLOGY: "true",
            keys.GPU_TOPOLOGY_MAX_TIER: "2",
            keys.GPU_TOPOLOGY_SOURCE: "numa",
            keys.DRA_ENABLED: "false",
            keys.DRA_CEL_EXPRESSION: "true",
        }
    )
    assert wishes == PodWishes(
        compute_request=100_000,
        compute_limit=149_700,
        vram_request=16 * GIB,
        vram_limit=20_000_000_000,
        percent_request=12_500,
        percent_limit=100_000,
        gpu_count=2,
        gpu_indices=(3, 0),
        gpu_model="A100",
        vendor="NVIDIA",
        pool="shared",
        qos=QoS.HIGH,
        isolation=Isolation.PARTITIONED,
        partition="1g.10gb",
        dedicated_gpu=True,
        workload_profile="base",
        inject_containers=("main", "side"),
        is_local_gpu=False,
        sidecar_worker=True,
        worker_pod_template="spec: {}",
        disabled_features=(Feature.GPU_OPT, Feature.START_WORKER),
        autoscale=True,
        autoscale_target=AutoscaleTarget.VRAM,
        enabled_replicas=0,
        eviction_protection=5400 * SECOND,
        gang_enabled=True,
        gang_min_members=2,
        gang_timeout=90 * SECOND,
        gang_mode=GangMode.STRICT,
        gang_topology=GangTopology.REQUIRED,
        gang_topology_key="example.com/rack",
        require_gpu_topology=True,
        gpu_topology_max_tier=2,
        gpu_topology_source=TopologySource.NUMA,
        dra_enabled=False,
        dra_cel_expression="true",
    )
    assert None not in [getattr(wishes, name) for name in PodWishes.__slots__]


def test_requests_round_up_and_percentages_round_down() -> None:
    wishes = parse_wishes(
        {
            keys.TFLOPS_REQUEST: "0.0001",
            keys.VRAM_REQUEST: "1500m",
            keys.COMPUTE_PERCENT_REQUEST: "14.28571",
        }
    )
    assert (wishes.compute_request, wishes.vram_request, wishes.percent_request) == (1, 2, 14_285)


def test_older_names_count_only_where_the_current_one_is_missing() -> None:
    older = {"tensor-fusion.ai/auto-resources": "true", "tensor-fusion.ai/auto-scale-target-resource": "compute"}
    assert parse_wishes(older).autoscale is True
    assert parse_wishes(older).autoscale_target is AutoscaleTarget.COMPUTE
    assert parse_wishes(older | {keys.AUTOSCALE: "false"}).autoscale is False


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (keys.TFLOPS_REQUEST, "100 TFLOPS"),
        (keys.TFLOPS_REQUEST, ""),
        (keys.TFLOPS_REQUEST, "-1"),
        (keys.TFLOPS_LIMIT, "9" * 40),
        (keys.TFLOPS_LIMIT, "٣"),
        (keys.VRAM_REQUEST, "16GiB"),
        (keys.VRAM_LIMIT, "1e999"),
        (keys.VRAM_LIMIT, "16Gi\n"),
        (keys.COMPUTE_PERCENT_REQUEST, "100.001"),
        (keys.COMPUTE_PERCENT_LIMIT, "-1"),
        (keys.GPU_COUNT, "0"),
        (keys.GPU_COUNT, "129"),
        (keys.GPU_COUNT, "1.5"),
        (keys.GPU_COUNT, "1_0"),
        (keys.GPU_COUNT, " 1"),
        (keys.GPU_INDICES, "0,,1"),
        (keys.GPU_INDICES, "-1"),
        (keys.GPU_INDICES, "1,1"),
        (keys.GPU_INDICES, ",".join(map(str, range(129)))),
        (keys.QOS, "urgent"),
        (keys.QOS, "High"),
        (keys.ISOLATION, "none"),
        (keys.IS_LOCAL_GPU, "True"),
        (keys.SIDECAR_WORKER, "1"),
        (keys.DEDICATED_GPU, "yes"),
        (keys.INJECT_CONTAINER, "a,,b"),
        (keys.DISABLE_FEATURES, "everything"),
        (keys.AUTOSCALE, "on"),
        (keys.AUTOSCALE_TARGET, "cpu"),
        (keys.ENABLED_REPLICAS, "-1"),
        (keys.EVICTION_PROTECTION, "5"),
        (keys.GANG_MIN_MEMBERS, "1"),
        (keys.GANG_TIMEOUT, "soon"),
        (keys.GANG_MODE, "strict"),
        (keys.GANG_TOPOLOGY, "near"),
        (keys.REQUIRE_GPU_TOPOLOGY, "hard"),
        (keys.GPU_TOPOLOGY_MAX_TIER, "-1"),
        (keys.GPU_TOPOLOGY_MAX_TIER, "4"),
        (keys.GPU_TOPOLOGY_MAX_TIER, "near"),
        (keys.GPU_TOPOLOGY_SOURCE, "nvlink"),
        (keys.DRA_ENABLED, "maybe"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_annotation_wish_and_value(key: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_wishes({key: value})
    message = str(caught.value)
    assert message.startswith(f"annotation {key}: wanted ")
    assert repr(value)[1:-1][:60] in message
    assert "\n" not in message


def test_a_very_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_wishes({keys.VRAM_REQUEST: "9" * 200_000})
    assert len(str(caught.value)) < 250


def test_an_empty_name_counts_as_not_set() -> None:
    assert parse_wishes({keys.GPU_MODEL: "", keys.GPU_POOL: "", keys.GPU_INDICES: ""}) == PodWishes()


def test_an_empty_gang_timeout_waits_for_ever() -> None:
    assert parse_wishes({keys.GANG_TIMEOUT: ""}).gang_timeout == 0


def test_only_workers_hold_devices() -> None:
    annotations = {keys.GPU_POOL: "p", keys.TFLOPS_REQUEST: "1"}
    assert request_of(annotations, {}) is None
    assert request_of(annotations, {keys.COMPONENT: "client"}) is None
    assert request_of(annotations, WORKER) is not None


def test_a_worker_without_a_pool_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="gpupool is missing"):
        request_of({keys.TFLOPS_REQUEST: "1"}, WORKER)
    assert request_of({}, WORKER | {keys.GPU_POOL: "p"}) == GpuRequest(pool="p")


def test_a_missing_request_is_the_limit() -> None:
    request = request_of({keys.GPU_POOL: "p", keys.TFLOPS_LIMIT: "10", keys.VRAM_LIMIT: "1Gi"}, WORKER)
    assert request == GpuRequest(pool="p", compute=10_000, compute_limit=10_000, vram=GIB, vram_limit=GIB)
    percent = request_of({keys.GPU_POOL: "p", keys.COMPUTE_PERCENT_LIMIT: "50"}, WORKER)
    assert percent == GpuRequest(pool="p", percent=50_000, percent_limit=50_000)


def test_percent_does_not_count_beside_tflops() -> None:
    annotations = {keys.GPU_POOL: "p", keys.TFLOPS_REQUEST: "10", keys.COMPUTE_PERCENT_REQUEST: "50"}
    assert request_of(annotations, WORKER) == GpuRequest(pool="p", compute=10_000)


def test_indices_set_the_count() -> None:
    request = request_of({keys.GPU_POOL: "p", keys.GPU_COUNT: "1", keys.GPU_INDICES: "0,2,4"}, WORKER)
    assert request is not None
    assert (request.count, request.indices) == (3, (0, 2, 4))


def test_gpu_ids_come_back_in_order() -> None:
    assert gpu_ids({}) == ()
    assert gpu_ids({keys.GPU_IDS: "gpu-b,gpu-a"}) == ("gpu-b", "gpu-a")


@pytest.mark.parametrize("text", ["a,,b", "a,a", "A", "a, b", "../x", "a;b"])
def test_malformed_gpu_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="gpu-ids"):
        gpu_ids({keys.GPU_IDS: text})


amounts = st.integers(0, 1 << 53)
names = st.text(string.ascii_letters + string.digits + "-_. ", max_size=12).map(str.strip)


@st.composite
def requests(draw: st.DrawFn) -> GpuRequest:
    indices = tuple(draw(st.lists(st.integers(0, 127), unique=True, max_size=4)))
    compute, compute_limit = draw(st.just(0) | amounts), draw(st.just(0) | amounts)
    return GpuRequest(
        pool=draw(names.filter(bool)),
        count=len(indices) or draw(st.integers(1, 128)),
        compute=compute,
        compute_limit=compute_limit,
        percent=0 if compute else draw(st.integers(0, 100_000)),
        percent_limit=0 if compute_limit else draw(st.integers(0, 100_000)),
        vram=draw(amounts),
        vram_limit=draw(amounts),
        model=draw(names),
        vendor=draw(names),
        indices=indices,
        isolation=draw(st.sampled_from(Isolation)),
        partition=draw(names),
        qos=draw(st.sampled_from(QoS)),
    )


@given(requests())
def test_a_request_survives_its_annotations(request: GpuRequest) -> None:
    written = annotations_of(request)
    assert request_of(written, WORKER) == request
    parse_wishes(written)


user_keys = st.sampled_from(sorted(keys.REQUEST_KEYS | {keys.AUTOSCALE, keys.GANG_TIMEOUT, keys.DISABLE_FEATURES}))
values = st.text(max_size=40) | st.text("0123456789.eE+-GiMkmu%,truefals", max_size=12)


@given(st.dictionaries(user_keys, values, max_size=4), st.text(max_size=40))
def test_no_text_does_anything_but_parse_or_be_refused(annotations: dict[str, str], ids: str) -> None:
    for read in (
        lambda: parse_wishes(annotations),
        lambda: request_of(annotations, WORKER),
        lambda: gpu_ids({keys.GPU_IDS: ids}),
    ):
        try:
            read()
        except InvalidRequest as error:
            assert str(error).startswith("annotation ")


def test_a_request_that_was_read_before_is_told_apart_from_those_that_are_nearly_the_same() -> None:
    labels = {keys.COMPONENT: "worker", keys.GPU_POOL: "of-the-label"}
    said = {keys.TFLOPS_REQUEST: "10", keys.VRAM_REQUEST: "1Gi"}
    first = request_of(said, labels)
    assert first is not None
    assert request_of(dict(said), labels) is first
    others = ({keys.TFLOPS_REQUEST: "11"}, {keys.TFLOPS_LIMIT: "10"}, {keys.QOS: "high"}, {keys.GPU_POOL: "p"})
    assert len({request_of(said | other, labels) for other in others} | {first}) == 1 + len(others)
    assert request_of(said, {**labels, keys.GPU_POOL: "another"}) != first
    with pytest.raises(InvalidRequest, match="tflops-request"):
        request_of(said | {keys.TFLOPS_REQUEST: "x"}, labels)
    model = "m" * 5000
    found = request_of(said | {keys.GPU_MODEL: model}, labels)
    assert found is not None and found.model == model


class Heard(dict[str, str]):
    """Annotations that remember what was asked of them."""

    def __init__(self, said: Mapping[str, str]) -> None:
        super().__init__(said)
        self.asked: set[str] = set()

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


FULL = {
    keys.GPU_POOL: "a",
    keys.TFLOPS_REQUEST: "10",
    keys.TFLOPS_LIMIT: "20",
    keys.COMPUTE_PERCENT_REQUEST: "10",
    keys.COMPUTE_PERCENT_LIMIT: "20",
    keys.VRAM_REQUEST: "1Gi",
    keys.VRAM_LIMIT: "2Gi",
    keys.GPU_COUNT: "2",
    keys.GPU_INDICES: "0,1",
    keys.GPU_MODEL: "A100",
    keys.VENDOR: "NVIDIA",
    keys.ISOLATION: "hard",
    keys.PARTITION_ID: "1g.10gb",
    keys.QOS: "high",
}


@given(st.sets(st.sampled_from(sorted(FULL))))
def test_whatever_a_request_is_read_from_tells_remembered_requests_apart(left_out: set[str]) -> None:
    said = Heard({key: text for key, text in FULL.items() if key not in left_out})
    assert request_of(dict(said), {**WORKER, keys.GPU_POOL: "b"}) == read_request(said, "b")
    assert said.asked <= set(REQUEST_KEYS)


def test_each_of_the_keys_of_a_request_is_read() -> None:
    everything, nothing = Heard(FULL), Heard({})
    read_request(everything, "b")
    read_request(nothing, "b")
    assert everything.asked | nothing.asked == set(REQUEST_KEYS) == set(FULL)
