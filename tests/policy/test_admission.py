"""What becomes of a new pod: the decision order, the values, the errors and the changes of the admission contract."""

import re
from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.annotations import request_of
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.policy.verdict import UNCHANGED

GIB = 1 << 30
NATIVE = {"name": "main", "image": "app", "resources": {"limits": {"nvidia.com/gpu": "2", "cpu": "1"}}}


def request_in(stored: dict[str, Any]) -> GpuRequest:
    found = request_of(stored["metadata"]["annotations"], stored["metadata"]["labels"])
    assert found is not None
    return found


def annotation(stored: dict[str, Any], short: str) -> str | None:
    return stored["metadata"]["annotations"].get(f"{keys.DOMAIN}/{short}")


# --- which pods ---


@pytest.mark.parametrize(
    ("labels", "annotations", "admitted"),
    [
        ({}, {}, False),
        ({keys.ENABLED: "true"}, {}, True),
        ({keys.ENABLED: "false"}, {}, False),
        ({keys.ENABLED: "True"}, {}, False),
        ({}, {keys.DRA_ENABLED: "true"}, True),
        ({}, {keys.DRA_ENABLED: "false"}, False),
        ({keys.ENABLED: "false"}, {keys.DRA_ENABLED: "true"}, False),
    ],
)
def test_a_pod_is_ours_by_label_or_by_asking_for_dra(world, pod, labels, annotations, admitted: bool) -> None:
    made = pod(enabled=False, labels=labels, annotations=annotations, tflops_limit="10", containers=[NATIVE])
    assert world.decide(made).admitted is admitted
    if not admitted:
        assert world.decide(made) == UNCHANGED


def test_zero_enabled_replicas_roll_back_to_the_native_gpu(world, pod) -> None:
    assert world.decide(pod(containers=[NATIVE], enabled_replicas="0")) == UNCHANGED


def test_enabled_replicas_name_the_counter_of_the_pods_controller(world, pod) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d", "uid": "u1", "controller": True}
    made = pod(tflops_limit="1", enabled_replicas="3", labels={"pod-template-hash": "5d"})
    made["metadata"]["ownerReferences"] = [owner]
    canary = world.decide(made).canary
    assert (canary.limit, canary.owner, canary.name, canary.uid) == (3, r.REPLICA_SETS, "web-5d", "u1")
    assert canary.key == f"{keys.DOMAIN}/tf-counter-5d"


def test_enabled_replicas_need_a_controller(world, pod) -> None:
    assert "found a pod without a controller" in world.refusal(pod(tflops_limit="1", enabled_replicas="3"))


def test_no_named_container_in_the_pod_leaves_it_unchanged_with_a_warning(world, pod) -> None:
    verdict = world.decide(pod(tflops_limit="1", inject_container="other"))
    assert verdict.denial is None
    assert verdict.ops == ()
    assert "main" in verdict.warnings[0]


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("key", sorted(keys.SYSTEM_WRITTEN))
def test_system_written_annotations_are_refused(world, pod, key: str, enabled: bool) -> None:
    verdict = world.decide(pod(enabled=enabled, tflops_limit="1", annotations={key: "x"}))
    assert verdict.denial is not None
    assert verdict.denial.code == 403
    assert key in verdict.denial.message


@pytest.mark.parametrize(
    ("enabled", "wishes"), [(False, {}), (True, {"enabled_replicas": "0"}), (True, {"inject_container": "other"})]
)
def test_the_component_label_cannot_be_had_without_admission(world, pod, enabled: bool, wishes) -> None:
    made = pod(enabled=enabled, labels={keys.COMPONENT: "worker"}, tflops_limit="1", embedded_worker="true", **wishes)
    assert keys.COMPONENT in world.refusal(made)


# --- values ---


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"tflops_limit": "10", "vram_limit": "4Gi"}, (10_000, 10_000, 0, 0, 4 * GIB, 4 * GIB)),
        ({"tflops_request": "5", "tflops_limit": "10"}, (5_000, 10_000, 0, 0, 0, 0)),
        ({"tflops_request": "5"}, (5_000, 0, 0, 0, 0, 0)),
        ({"compute_percent_limit": "50"}, (0, 0, 50_000, 50_000, 0, 0)),
        ({"compute_percent_request": "25", "compute_percent_limit": "50"}, (0, 0, 25_000, 50_000, 0, 0)),
        ({"tflops_limit": "10", "compute_percent_limit": "50"}, (10_000, 10_000, 0, 0, 0, 0)),
        ({"tflops_request": "10", "compute_percent_request": "50"}, (10_000, 0, 0, 0, 0, 0)),
        ({"tflops_limit": "10", "compute_percent_request": "50"}, (10_000, 10_000, 0, 0, 0, 0)),
        ({"vram_request": "1Gi"}, (0, 0, 0, 0, GIB, 0)),
        ({"tflops_request": "0.0001"}, (1, 0, 0, 0, 0, 0)),
    ],
)
def test_a_missing_request_is_the_limit_and_tflops_go_before_percent(world, pod, wishes, expected) -> None:
    found = request_in(world.admitted(pod(**wishes)))
    assert (
        found.compute,
        found.compute_limit,
        found.percent,
        found.percent_limit,
        found.vram,
        found.vram_limit,
    ) == expected


def test_the_annotation_goes_before_the_profile_and_the_profile_before_the_default(world, pod) -> None:
    world.add_profile(
        "big",
        poolName="other",
        gpuCount=4,
        gpuModel="A100_SXM_80G",
        vendor="NVIDIA",
        qos="low",
        resources={"requests": {"tflops": "5", "vram": "1Gi"}, "limits": {"tflops": "20", "vram": "2Gi"}},
    )
    assert request_in(world.admitted(pod(workload_profile="big"))) == GpuRequest(
        pool="other",
        count=4,
        compute=5_000,
        compute_limit=20_000,
        vram=GIB,
        vram_limit=2 * GIB,
        model="A100_SXM_80G",
        vendor="NVIDIA",
        qos=QoS.LOW,
    )
    changed = request_in(
        world.admitted(pod(workload_profile="big", gpupool="shared", gpu_count="2", qos="critical", tflops_request="7"))
    )
    assert (changed.pool, changed.count, changed.qos, changed.compute) == ("shared", 2, QoS.CRITICAL, 7_000)


def test_the_profile_isolation_does_not_count(world, pod) -> None:
    world.add_profile("hard", isolation="hard")
    verdict = world.decide(pod(workload_profile="hard", tflops_limit="1"))
    assert verdict.admitted
    assert "isolation hard" in verdict.warnings[0]


def test_without_a_pool_the_one_annotated_as_default_is_used(world, pod) -> None:
    assert request_in(world.admitted(pod(tflops_limit="1"))).pool == "shared"


@pytest.mark.parametrize(
    ("wishes", "containers", "count"),
    [
        ({}, None, 1),
        ({"gpu_count": "3"}, [NATIVE], 3),
        ({}, [NATIVE], 2),
        ({}, [NATIVE, {**NATIVE, "name": "second"}], 4),
        ({"gpu_indices": "0,3,5"}, [NATIVE], 3),
        ({"gpu_indices": "2", "gpu_count": "4"}, None, 1),
    ],
)
def test_the_number_of_devices(world, pod, wishes, containers, count: int) -> None:
    stored = world.admitted(pod(tflops_limit="1", containers=containers, **wishes))
    assert request_in(stored).count == count
    assert annotation(stored, "gpu-count") == str(count)


def test_native_gpu_limits_alone_ask_for_whole_devices_of_their_vendor(world, pod) -> None:
    second = {"name": "sidecar", "image": "log"}
    stored = world.admitted(pod(containers=[NATIVE, second]))
    found = request_in(stored)
    assert (found.percent, found.percent_limit, found.vendor, found.count) == (100_000, 100_000, "NVIDIA", 2)
    assert annotation(stored, "inject-container") == "main"
    assert annotation(stored, "container-gpu-count") == '{"main":2}'
    assert stored["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}


def test_native_gpu_resources_leave_only_the_injected_containers(world, pod) -> None:
    claims = {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1", "nvidia.com/mig-1g.10gb": "1"}}
    containers = [{"name": name, "image": "app", "resources": claims} for name in ("one", "two")]
    stored = world.admitted(pod(containers=containers, tflops_limit="5", inject_container="two"))
    kept, stripped = stored["spec"]["containers"]
    assert kept["resources"] == claims
    assert stripped["resources"] == {"requests": {}, "limits": {}}


def test_shared_asks_for_no_amount(world, pod) -> None:
    stored = world.admitted(pod(isolation="shared", containers=[NATIVE]))
    found = request_in(stored)
    assert (found.isolation, found.count, found.compute, found.percent, found.vram) == (Isolation.SHARED, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("single", "wishes", "expected"),
    [
        ({"defaultRequests": {"tflops": "5", "vram": "1Gi"}}, {}, (5_000, 0, GIB, 0)),
        ({"defaultRequests": {"tflops": "5"}}, {"tflops_request": "7"}, (7_000, 0, 0, 0)),
        ({"defaultRequests": {"tflops": "5"}}, {"tflops_limit": "3"}, (3_000, 3_000, 0, 0)),
        ({"defaultRequests": {"tflops": "5"}}, {"tflops_limit": "9"}, (5_000, 9_000, 0, 0)),
        ({"defaultLimits": {"tflops": "5"}}, {"tflops_request": "9"}, (9_000, 9_000, 0, 0)),
        ({"defaultLimits": {"tflops": "5", "vram": "2Gi"}}, {}, (5_000, 5_000, 2 * GIB, 2 * GIB)),
        ({"defaultRequests": {"tflops": "5"}}, {"compute_percent_limit": "50"}, (0, 0, 0, 0)),
    ],
)
def test_quota_defaults_fill_only_what_is_not_stated(world, pod, single, wishes, expected) -> None:
    world.set_quota(single=single)
    found = request_in(world.admitted(pod(**wishes)))
    assert (found.compute, found.compute_limit, found.vram, found.vram_limit) == expected


def test_a_dedicated_gpu_is_the_whole_device(world, pod) -> None:
    found = request_in(world.admitted(pod(dedicated_gpu="true", gpu_model="A100_SXM_80G", tflops_limit="1")))
    assert (found.compute, found.compute_limit, found.vram, found.vram_limit) == (
        312_000,
        312_000,
        80 * GIB,
        80 * GIB,
    )
    assert found.qos is QoS.HIGH


@pytest.mark.parametrize(
    ("wishes", "pool_default", "qos"),
    [
        ({"tflops_limit": "10", "vram_limit": "1Gi"}, None, QoS.HIGH),
        ({"tflops_limit": "10"}, None, QoS.MEDIUM),
        ({"tflops_request": "5", "tflops_limit": "10", "vram_limit": "1Gi"}, None, QoS.MEDIUM),
        ({"tflops_request": "5", "vram_request": "1Gi"}, "low", QoS.LOW),
        ({"tflops_limit": "10", "vram_limit": "1Gi"}, "low", QoS.HIGH),
        ({"tflops_limit": "10", "vram_limit": "1Gi", "qos": "low"}, "medium", QoS.LOW),
    ],
)
def test_quality_of_service(world, pod, wishes, pool_default, qos: QoS) -> None:
    world.add_pool("shared", default=True, qosConfig={"defaultQoS": pool_default})
    assert request_in(world.admitted(pod(**wishes))).qos is qos


@pytest.mark.parametrize(
    ("qos", "found", "wanted"),
    [
        ("critical", None, "tensor-fusion-critical"),
        ("high", None, "tensor-fusion-high"),
        ("medium", None, None),
        ("low", None, None),
        ("high", "own", "own"),
    ],
)
def test_high_quality_of_service_sets_the_priority_class_and_clears_the_number(world, pod, qos, found, wanted) -> None:
    spec = {"priority": 0, **({"priorityClassName": found} if found else {})}
    stored = world.admitted(pod(tflops_limit="1", qos=qos, spec=spec))["spec"]
    assert stored.get("priorityClassName") == wanted
    assert ("priority" in stored) is (wanted is None or found is not None)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"name": "solo"}, "solo"),
        ({"name": "", "generateName": "batch-"}, r"batch-[1-9a-y]{8}"),
        ({"ownerReferences": [{"kind": "StatefulSet", "name": "db", "controller": True}]}, "db"),
        ({"ownerReferences": [{"kind": "Other", "name": "db"}]}, "trainer"),
        ({"name": "x" * 80}, r"x{54}-[0-9a-f]{8}"),
    ],
)
def test_the_workload_is_the_controller_or_the_pod_itself(world, pod, metadata, expected: str) -> None:
    stored = world.admitted(pod(tflops_limit="1", metadata=metadata))
    assert re.fullmatch(expected, stored["metadata"]["labels"][keys.WORKLOAD])


@pytest.mark.parametrize(("hash_label", "workload"), [("7d9f", "web"), ("other", "web-7d9f"), ("", "web-7d9f")])
def test_the_workload_of_a_replica_set_is_its_deployment(world, pod, hash_label: str, workload: str) -> None:
    owner = {"kind": "ReplicaSet", "name": "web-7d9f", "controller": True}
    made = pod(tflops_limit="1", metadata={"ownerReferences": [owner]})
    made["metadata"]["labels"]["pod-template-hash"] = hash_label
    assert world.admitted(made)["metadata"]["labels"][keys.WORKLOAD] == workload


# --- changes ---


def test_a_soft_pod_gets_the_limiter(world, pod) -> None:
    world.add_pool(
        "shared", default=True, componentConfig={"hypervisor": {"image": "registry/agent:1", "portNumber": 8123}}
    )
    spec = world.admitted(pod(tflops_limit="1"))["spec"]
    (init,) = spec["initContainers"]
    assert (init["name"], init["image"]) == ("init-soft-limiter", "registry/agent:1")
    assert init["resources"]["requests"] == init["resources"]["limits"]
    assert [volume["name"] for volume in spec["volumes"]] == ["tf-soft-limiter", "tf-data"]
    (main,) = spec["containers"]
    mounts = {mount["mountPath"]: mount for mount in main["volumeMounts"]}
    assert mounts["/tensor-fusion-limiter"]["readOnly"] is True
    assert mounts["/usr/local/bin/nvidia-smi"]["name"] == "tf-soft-limiter"
    assert mounts["/run/tensor-fusion/shm"] == {
        "name": "tf-data",
        "mountPath": "/run/tensor-fusion/shm",
        "subPathExpr": "shm/$(POD_NAMESPACE)/$(POD_NAME)",
        "mountPropagation": "HostToContainer",
    }
    env = {entry["name"]: entry.get("value") for entry in main["env"]}
    assert env == {
        "LD_PRELOAD": "/tensor-fusion-limiter/libcuda_limiter.so",
        "TF_ISOLATION_MODE": "soft",
        "TF_SHM_PATH": "/run/tensor-fusion/shm/shm",
        "POD_NAME": None,
        "POD_NAMESPACE": None,
        "HYPERVISOR_IP": None,
        "CONTAINER_NAME": "main",
        "HYPERVISOR_PORT": "8123",
    }
    assert not any("index_" in limit for limit in main.get("resources", {}).get("limits", {}))


def test_defaults_stand_in_where_the_pool_names_no_image(world, pod) -> None:
    spec = world.admitted(pod(tflops_limit="1"))["spec"]
    assert spec["initContainers"][0]["image"] == "tensorfusion/vgpu-provider-nvidia:1.3.9"
    assert {"name": "HYPERVISOR_PORT", "value": "8001"} in spec["containers"][0]["env"]


@pytest.mark.parametrize(
    ("vendor", "library", "smi"),
    [
        ("Ascend", "libascend_limiter.so", False),
        ("MooreThreads", "libmusa_limiter.so", False),
        ("NVIDIA", "libcuda_limiter.so", True),
    ],
)
def test_the_limiter_is_that_of_the_vendor(world, pod, vendor: str, library: str, smi: bool) -> None:
    (main,) = world.admitted(pod(tflops_limit="1", vendor=vendor))["spec"]["containers"]
    assert main["env"][0] == {"name": "LD_PRELOAD", "value": f"/tensor-fusion-limiter/{library}"}
    assert any(mount["mountPath"].endswith("nvidia-smi") for mount in main["volumeMounts"]) is smi


def test_only_the_named_containers_are_injected(world, pod) -> None:
    containers = [{"name": name, "image": "app"} for name in ("one", "two", "three")]
    stored = world.admitted(pod(tflops_limit="1", containers=containers, inject_container=" one, three "))
    assert ["env" in container for container in stored["spec"]["containers"]] == [True, False, True]


def test_a_pods_own_lists_are_kept(world, pod) -> None:
    own = {
        "name": "main",
        "image": "app",
        "env": [{"name": "LD_PRELOAD", "value": "/opt/mine.so"}, {"name": "MODE", "value": "fast"}],
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }
    spec = {
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "initContainers": [{"name": "prepare", "image": "app"}],
        "tolerations": [{"key": "spot", "operator": "Exists"}],
    }
    stored = world.admitted(pod(tflops_limit="1", containers=[own], spec=spec))["spec"]
    assert [volume["name"] for volume in stored["volumes"]] == ["cache", "tf-soft-limiter", "tf-data"]
    assert [init["name"] for init in stored["initContainers"]] == ["prepare", "init-soft-limiter"]
    assert stored["tolerations"][0] == {"key": "spot", "operator": "Exists"}
    assert stored["tolerations"][1]["effect"] == "PreferNoSchedule"
    env = {entry["name"]: entry.get("value") for entry in stored["containers"][0]["env"]}
    assert env["LD_PRELOAD"] == "/tensor-fusion-limiter/libcuda_limiter.so:/opt/mine.so"
    assert env["MODE"] == "fast"


def test_a_variable_of_the_pod_that_gives_way_is_told(world, pod) -> None:
    own = {"name": "main", "image": "app", "env": [{"name": "TF_SHM_PATH", "value": "/elsewhere"}]}
    verdict = world.decide(pod(tflops_limit="1", containers=[own]))
    assert any("TF_SHM_PATH" in warning for warning in verdict.warnings)


def test_disabled_features_become_switches(world, pod) -> None:
    (main,) = world.admitted(pod(tflops_limit="1", disable_features="gpu-limiter,gpu-opt"))["spec"]["containers"]
    assert {"name": "DISABLE_GPU_LIMITER", "value": "true"} in main["env"]
    assert {"name": "TF_ENABLE_DISPATCH_FORWARD", "value": "1"} in main["env"]


def test_a_shared_pod_gets_neither_containers_nor_volumes(world, pod) -> None:
    stored = world.admitted(pod(isolation="shared"))
    assert stored["spec"]["containers"] == [{"name": "main", "image": "app"}]
    assert not {"volumes", "initContainers"} & stored["spec"].keys()
    assert stored["spec"]["schedulerName"] == keys.SCHEDULER_NAME
    assert stored["metadata"]["labels"][keys.COMPONENT] == "worker"


def test_labels_scheduler_and_effective_annotations_are_written(world, pod) -> None:
    stored = world.admitted(pod(tflops_limit="10", vram_limit="1Gi"))
    labels = stored["metadata"]["labels"]
    assert labels[keys.COMPONENT] == "worker"
    assert labels[keys.WORKLOAD] == "trainer"
    assert labels[keys.GPU_POOL] == "shared"
    assert re.fullmatch("[0-9a-f]{16}", labels[keys.POD_TEMPLATE_HASH])
    for short, value in {
        "tflops-request": "10",
        "vram-request": "1Gi",
        "gpu-count": "1",
        "gpupool": "shared",
        "qos": "high",
        "isolation": "soft",
        "is-local-gpu": "true",
        "inject-container": "main",
        "embedded-worker": "true",
    }.items():
        assert annotation(stored, short) == value


def test_a_text_of_the_user_that_means_the_same_stays(world, pod) -> None:
    stored = world.admitted(pod(tflops_limit="10.0", vram_limit="1024Mi", gpu_indices=" 0, 1 "))
    assert annotation(stored, "tflops-limit") == "10.0"
    assert annotation(stored, "vram-limit") == "1024Mi"
    assert annotation(stored, "gpu-indices") == " 0, 1 "


def test_dra_fields_are_kept_and_the_user_is_told(world, pod) -> None:
    claims = [{"name": "gpu", "resourceClaimTemplateName": "mine"}]
    made = pod(enabled=False, dra_enabled="true", tflops_limit="1", spec={"resourceClaims": claims})
    assert world.admitted(made)["spec"]["resourceClaims"] == claims
    assert any(keys.DRA_ENABLED in warning for warning in world.decide(made).warnings)


# --- errors ---


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"enabled_replicas": "many"}, ("enabled-replicas", "'many'")),
        ({"workload_profile": "none"}, ("workload-profile", "'none'", "namespace team")),
        ({"gpupool": "none"}, ("gpupool", "gpu pool(none) does not exist")),
        ({"worker_pod_template": "spec: {}"}, ("worker-pod-template", "local")),
        ({"gpu_count": "0"}, ("gpu-count", "1 to 128", "'0'")),
        ({"gpu_count": "129"}, ("gpu-count", "1 to 128", "'129'")),
        ({"gpu_count": "two"}, ("gpu-count", "'two'")),
        ({"gpu_indices": "0,-1"}, ("gpu-indices", "'0,-1'")),
        ({"gpu_indices": "a"}, ("gpu-indices", "'a'")),
        ({"vendor": "AMD"}, ("isolation", "AMD", "soft")),
        ({"vendor": "Hygon"}, ("isolation", "Hygon")),
        ({"vendor": "MetaX"}, ("isolation", "MetaX")),
        ({"dedicated_gpu": "true"}, ("dedicated-gpu", "gpu-model")),
        ({"dedicated_gpu": "true", "gpu_model": "Z80"}, ("dedicated-gpu", "'Z80'")),
        ({"dedicated_gpu": "true", "gpu_model": "H100"}, ("dedicated-gpu", "H100_SXM", "H100_PCIe_80G")),
        ({"isolation": "hard", "vendor": "AMD"}, ("isolation", "vendor AMD", "hard")),
        ({"isolation": "firm"}, ("isolation", "'firm'")),
        ({"is_local_gpu": "false"}, ("is-local-gpu", "wanted true", "found false")),
        ({"sidecar_worker": "true"}, ("sidecar-worker", "wanted false", "found true")),
        ({"gang_enabled": "true"}, ("gang-enabled", "a pod without a controller", "gang-min-members")),
        ({"qos": "best"}, ("qos", "'best'")),
        ({"tflops_request": "ten"}, ("tflops-request", "'ten'")),
        ({"vram_limit": "-1Gi"}, ("vram-limit", "'-1Gi'")),
        ({"compute_percent_limit": "101"}, ("compute-percent-limit", "'101'")),
        ({"tflops_request": "20", "tflops_limit": "10"}, ("tflops-request", "at most", "20")),
        ({"vram_request": "2Gi", "vram_limit": "1Gi"}, ("vram-request", "1Gi", "2Gi")),
        (
            {"compute_percent_request": "60", "compute_percent_limit": "50", "tflops_limit": ""},
            ("tflops-limit", "''"),
        ),
    ],
)
def test_a_mistake_is_refused_naming_annotation_wanted_and_found(world, pod, wishes, says) -> None:
    message = world.refusal(pod(**{"tflops_limit": "10", **wishes}))
    for part in says:
        assert part in message


def test_asking_for_nothing_is_refused(world, pod) -> None:
    assert world.refusal(pod()).startswith("tflops request is not set")


def test_several_containers_without_a_choice_are_refused(world, pod) -> None:
    containers = [{"name": name, "image": "app"} for name in ("one", "two")]
    message = world.refusal(pod(tflops_limit="1", containers=containers))
    assert "inject-container" in message
    assert "one, two" in message


def test_no_pool_at_all_is_refused_and_may_be_looked_up(world, pod) -> None:
    world.pools.clear()
    denial = world.decide(pod(tflops_limit="1")).denial
    assert "gpu pool not found" in denial.message
    assert (denial.missing.resource, denial.missing.name) == (r.GPU_POOLS, "")


def test_a_missing_pool_or_profile_is_named_for_a_look_up(world, pod) -> None:
    pool = world.decide(pod(tflops_limit="1", gpupool="new")).denial
    assert (pool.missing.resource, pool.missing.name) == (r.GPU_POOLS, "new")
    profile = world.decide(pod(tflops_limit="1", workload_profile="new")).denial
    assert (profile.missing.resource, profile.missing.namespace) == (r.WORKLOAD_PROFILES, "team")


def test_a_profile_that_states_compute_twice_is_refused(world, pod) -> None:
    world.add_profile("both", resources={"requests": {"tflops": "5", "compute": "50"}, "limits": {}})
    assert "only one of" in world.refusal(pod(workload_profile="both"))


def test_percent_in_an_annotation_beside_tflops_in_the_profile_is_refused(world, pod) -> None:
    world.add_profile("tflops", resources={"requests": {}, "limits": {"tflops": "5"}})
    message = world.refusal(pod(workload_profile="tflops", compute_percent_limit="50"))
    assert "only one of" in message
    assert "WorkloadProfile team/tflops" in message


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"sidecarWorker": True}, "sidecarWorker"),
        ({"isLocalGPU": False}, "isLocalGPU"),
        ({"gpuCount": 129}, "gpuCount"),
    ],
)
def test_modes_that_come_later_are_refused_in_profiles_too(world, pod, spec, says: str) -> None:
    world.add_profile("later", **spec)
    message = world.refusal(pod(workload_profile="later", tflops_limit="1"))
    assert says in message
    assert "WorkloadProfile team/later" in message


def test_a_pool_of_remote_gpus_is_refused_unless_the_pod_asks_for_a_local_one(world, pod) -> None:
    world.add_pool("shared", default=True, defaultUsingLocalGPU=False)
    assert "defaultUsingLocalGPU" in world.refusal(pod(tflops_limit="1"))
    assert world.decide(pod(tflops_limit="1", is_local_gpu="true")).admitted


def test_too_many_native_gpus_are_refused(world, pod) -> None:
    container = {"name": "main", "image": "app", "resources": {"limits": {"nvidia.com/gpu": "200"}}}
    assert "found 200" in world.refusal(pod(containers=[container]))


def test_a_pod_that_names_its_node_is_refused(world, pod) -> None:
    assert "spec.nodeName" in world.refusal(pod(tflops_limit="1", spec={"nodeName": "a100-0"}))


def test_native_amd_gpus_have_no_soft_limiter(world, pod) -> None:
    container = {"name": "main", "image": "app", "resources": {"limits": {"amd.com/gpu": 1}}}
    assert "AMD" in world.refusal(pod(containers=[container]))
    assert world.decide(pod(containers=[container], isolation="shared")).admitted


# --- devices by container ---


def test_a_profiles_count_beside_native_limits_is_not_split_by_them(world, pod) -> None:
    world.add_profile("two", gpuCount=2)
    one = {**NATIVE, "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    stored = world.admitted(pod(workload_profile="two", tflops_limit="10", containers=[one]))
    assert request_in(stored).count == 2
    assert annotation(stored, "container-gpu-count") is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("junk", "wanted JSON"),
        ('{"main": 5}', "add up to gpu-count 2"),
        ('{"main": -1, "other": 3}', "add up"),
        ('{"gone": 2}', "wanted containers of the pod (main), found 'gone'"),
    ],
)
def test_devices_by_container_must_be_possible(world, pod, text: str, part: str) -> None:
    message = world.refusal(pod(tflops_limit="10", gpu_count="2", container_gpu_count=text))
    assert keys.CONTAINER_GPU_COUNT in message
    assert part in message


def test_devices_by_container_may_be_stated(world, pod) -> None:
    stored = world.admitted(pod(tflops_limit="10", gpu_count="2", container_gpu_count='{"main": 2}'))
    assert annotation(stored, "container-gpu-count") == '{"main": 2}'


# --- what pool and profile add ---

GPU_NODES = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def test_a_profiles_node_affinity_holds_beside_the_pods_own(world, pod) -> None:
    other = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    world.add_profile("near", nodeAffinity={REQUIRED: {"nodeSelectorTerms": [GPU_NODES, other]}})
    own = {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}
    made = pod(workload_profile="near", tflops_limit="1")
    assert world.admitted(made)["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == [GPU_NODES, other]
    made["spec"]["affinity"] = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [own]}}, "podAffinity": {}}
    stored = world.admitted(made)
    assert stored["spec"]["affinity"]["podAffinity"] == {}
    assert stored["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == [
        {"matchExpressions": [*own["matchExpressions"], *term["matchExpressions"]]} for term in (GPU_NODES, other)
    ]
    assert world.decide(stored).ops == (), "admitting twice changes nothing"


def test_a_profiles_preferences_are_added_with_their_weight(world, pod) -> None:
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    world.add_profile("near", nodeAffinity={preferred: [{"weight": 1, "preference": GPU_NODES}]})
    stored = world.admitted(pod(workload_profile="near", tflops_limit="1"))
    assert stored["spec"]["affinity"]["nodeAffinity"] == {preferred: [{"weight": 1, "preference": GPU_NODES}]}
    assert world.decide(stored).ops == ()


def test_a_pools_patch_reaches_the_injected_containers_alone(world, pod) -> None:
    patch = {
        "env": [{"name": "NCCL_DEBUG", "value": "WARN"}, {"name": "MODE", "value": "pool"}],
        "resources": {"limits": {"memory": "2Gi"}},
        "workingDir": "/work",
        "tty": None,
    }
    world.add_pool("patched", componentConfig={"client": {"patchToContainer": patch}})
    main = {**NATIVE, "tty": True, "env": [{"name": "MODE", "value": "own"}]}
    other = {"name": "other", "image": "app"}
    stored = world.admitted(
        pod(gpupool="patched", tflops_limit="1", inject_container="main", isolation="shared", containers=[main, other])
    )
    assert stored["spec"]["containers"] == [
        {
            "name": "main",
            "image": "app",
            "env": [{"name": "MODE", "value": "pool"}, {"name": "NCCL_DEBUG", "value": "WARN"}],
            "resources": {"limits": {"cpu": "1", "memory": "2Gi"}},
            "workingDir": "/work",
        },
        other,
    ]
    assert world.decide(stored).ops == ()


def test_the_limiter_is_put_over_a_pools_patch(world, pod) -> None:
    world.add_pool("plain")
    world.add_pool("patched", componentConfig={"client": {"patchToContainer": {"env": [{"name": "A", "value": "1"}]}}})
    plain, patched = (world.admitted(pod(gpupool=name, tflops_limit="1")) for name in ("plain", "patched"))
    names = [entry["name"] for entry in patched["spec"]["containers"][0]["env"]]
    assert names[0] == "A"
    assert "LD_PRELOAD" in names
    label = keys.POD_TEMPLATE_HASH
    assert plain["metadata"]["labels"][label] != patched["metadata"]["labels"][label]


@pytest.mark.parametrize(
    ("patch", "part"),
    [
        ({"name": "x"}, "wanted no name, found 'x'"),
        ({"env": [{"value": "1"}]}, "env: wanted entries with name"),
        ({"env": [{"$patch": "replace", "name": "A"}]}, "found directive '$patch'"),
    ],
)
def test_a_pools_patch_that_cannot_be_applied_is_named(world, pod, patch: dict[str, Any], part: str) -> None:
    world.add_pool("patched", componentConfig={"client": {"patchToContainer": patch}})
    message = world.refusal(pod(gpupool="patched", tflops_limit="1"))
    assert "GPUPool patched: componentConfig.client.patchToContainer" in message
    assert part in message


def test_native_names_come_from_the_provider_configs(world, pod) -> None:
    world.add_provider("ascend", vendor="Ascend", inUseResourceNames=["huawei.com/npu"])
    amounts = {"huawei.com/npu": "2", "cpu": "1"}
    containers = [{"name": "main", "image": "a", "resources": {"limits": amounts, "requests": amounts}}]
    stored = world.admitted(pod(containers=containers))
    assert stored["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
    annotations = stored["metadata"]["annotations"]
    assert annotations[keys.GPU_COUNT] == "2"
    assert annotations[keys.VENDOR] == "Ascend"
    assert world.admitted(stored) == stored


def test_the_vendors_image_goes_before_the_pools(world, pod) -> None:
    world.add_pool("imaged", componentConfig={"hypervisor": {"image": "of-the-pool"}})
    world.add_provider("nvidia", vendor="NVIDIA", images={"middleware": "of-the-vendor"})

    def image(**wishes: str) -> str:
        stored = world.admitted(pod(gpupool="imaged", tflops_limit="10", **wishes))
        return str(stored["spec"]["initContainers"][0]["image"])

    assert image(vendor="NVIDIA") == "of-the-vendor"
    assert image(vendor="PPU") == "of-the-pool"
    assert image() == "of-the-pool", "only an exact vendor string counts"


def test_a_model_of_a_provider_config_is_asked_for_by_its_drivers_name(world, pod) -> None:
    model = {"model": "B300", "fullModelName": "NVIDIA B300 SXM6", "fp16TFlops": "2500"}
    world.add_provider("nvidia", vendor="NVIDIA", hardwareMetadata=[model])
    stored = world.admitted(pod(gpu_model="B300", tflops_limit="10"))
    assert stored["metadata"]["annotations"][keys.GPU_MODEL] == "NVIDIA B300 SXM6"
    assert world.admitted(stored) == stored


def test_the_switch_written_as_an_annotation_counts_with_a_warning(world, pod) -> None:
    verdict = world.decide(pod(enabled=False, tflops_limit="10", annotations={keys.ENABLED: "true"}))
    assert verdict.admitted
    assert f"annotation {keys.ENABLED}: it is a label; write it under metadata.labels" in verdict.warnings


def test_the_label_false_goes_before_the_annotation(world, pod) -> None:
    off = pod(enabled=False, labels={keys.ENABLED: "false"}, annotations={keys.ENABLED: "true"}, tflops_limit="10")
    assert not world.decide(off).admitted
