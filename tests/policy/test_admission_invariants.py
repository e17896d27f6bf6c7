"""What holds for every pod: a clean verdict, a calm second look, and annotations that say what was decided."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import parse_wishes, request_of
from tensorfusion.policy.resolve import native_gpus, resolve

SHORT = [
    "tflops-request",
    "tflops-limit",
    "vram-request",
    "vram-limit",
    "compute-percent-request",
    "compute-percent-limit",
    "gpu-count",
    "gpu-indices",
    "gpu-model",
    "vendor",
    "gpupool",
    "qos",
    "workload-profile",
    "inject-container",
    "is-local-gpu",
    "sidecar-worker",
    "isolation",
    "partition-id",
    "dedicated-gpu",
    "disable-features",
    "autoscale",
    "enabled-replicas",
    "eviction-protection",
    "gang-enabled",
    "gang-min-members",
    "gang-timeout",
    "gang-mode",
    "gang-topology",
    "gang-required-members",
    "dra-enabled",
]
LIKELY = [
    "0", "1", "2", "50", "100", "0.5", "10", "1Gi", "16Gi", "1e3", "", " ", "true", "false", "soft", "shared", "high",
    "shared,other", "main", "main,side", "0,1", "other", "profile", "A100_SXM_80G", "NVIDIA", "AMD", "5m", "NaN", "-1",
    "9" * 40, "1Gi\n", "\u0663", "gpu-limiter",
]  # fmt: skip
values = st.one_of(st.sampled_from(LIKELY), st.text(max_size=12))
annotations = st.dictionaries(st.sampled_from(SHORT), values, max_size=8)
sensible = st.fixed_dictionaries(
    {},
    optional={
        "tflops-request": st.sampled_from(["0", "1", "2.5", "10"]),
        "tflops-limit": st.sampled_from(["0", "10", "20"]),
        "vram-request": st.sampled_from(["0", "1Gi", "512Mi"]),
        "vram-limit": st.sampled_from(["1Gi", "4Gi"]),
        "compute-percent-request": st.sampled_from(["0", "10", "25"]),
        "compute-percent-limit": st.sampled_from(["0", "25", "100"]),
        "gpu-count": st.sampled_from(["1", "2"]),
        "gpu-indices": st.sampled_from(["0", "1,2"]),
        "isolation": st.sampled_from(["soft", "shared"]),
        "qos": st.sampled_from(["low", "high", "critical"]),
        "workload-profile": st.sampled_from(["percent", "tflops"]),
        "disable-features": st.just("gpu-opt"),
        "dedicated-gpu": st.sampled_from(["true", "false"]),
        "gpu-model": st.just("A100_SXM_80G"),
    },
)
native = st.sampled_from([None, "1", "2"])
relaxed = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=part_of(150)
)


def containers_of(count: str | None) -> list[dict[str, Any]]:
    main: dict[str, Any] = {"name": "main", "image": "app"}
    if count is not None:
        main["resources"] = {"limits": {"nvidia.com/gpu": count}}
    return [main]


def with_profiles(world: Any) -> Any:
    world.add_profile("percent", resources={"requests": {"compute": "30"}, "limits": {"compute": "60"}})
    world.add_profile("tflops", resources={"requests": {"tflops": "3", "vram": "1Gi"}, "limits": {"tflops": "6"}})
    return world


def made(pod: Any, wishes: dict[str, str], count: str | None) -> dict[str, Any]:
    written = {f"{keys.DOMAIN}/{key}": value for key, value in wishes.items()}
    return pod(annotations=written, containers=containers_of(count))


@relaxed
@given(annotations, native)
def test_whatever_is_written_the_answer_is_a_patch_or_one_line(world, pod, wishes, count) -> None:
    verdict = with_profiles(world).decide(made(pod, wishes, count))
    if verdict.denial is not None:
        assert 400 <= verdict.denial.code < 500
        assert verdict.denial.message.splitlines() == [verdict.denial.message]
        assert len(verdict.denial.message) < 400


@relaxed
@given(sensible, native)
def test_admitting_an_admitted_pod_changes_nothing(world, pod, wishes, count) -> None:
    first = made(pod, wishes, count)
    verdict = with_profiles(world).decide(first)
    if verdict.admitted:
        again = world.decide(world.admitted(first))
        assert (again.ops, again.denial) == ((), None)


@relaxed
@given(sensible, native)
def test_nor_does_it_after_the_api_server_has_added_its_defaults(world, pod, wishes, count) -> None:
    first = made(pod, wishes, count)
    if not with_profiles(world).decide(first).admitted:
        return
    stored = world.admitted(first)
    spec = stored["spec"]
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        container["terminationMessagePath"] = "/dev/termination-log"
        for entry in container.get("env", ()):
            if "valueFrom" in entry:
                entry["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    spec["priority"] = 10_000
    spec["tolerations"] = [*spec["tolerations"], {"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    again = world.decide(stored)
    assert (again.ops, again.denial) == ((), None)


@relaxed
@given(sensible, native)
def test_the_stored_annotations_say_what_was_resolved(world, pod, wishes, count) -> None:
    first = made(pod, wishes, count)
    verdict = with_profiles(world).decide(first)
    if not verdict.admitted:
        return
    found = first["metadata"]["annotations"]
    name = wishes.get("workload-profile")
    resolved = resolve(
        parse_wishes(found),
        pool=world.pool("shared"),
        profile=world.profile("team", name) if name else None,
        quota=None,
        native=native_gpus(first["spec"]["containers"]),
        capacities=world,
    )
    stored = world.admitted(first)["metadata"]
    assert request_of(stored["annotations"], stored["labels"]) == resolved


@relaxed
@given(sensible, native)
def test_the_pod_that_comes_in_is_never_touched(world, pod, wishes, count) -> None:
    first = made(pod, wishes, count)
    before = copy.deepcopy(first)
    with_profiles(world).decide(first)
    assert first == before


odd = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.sampled_from(LIKELY)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["name", "env", "value", "resources", "limits", "requests", "nvidia.com/gpu", "volumeMounts", "kind"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
PLACES = ["containers", "initContainers", "volumes", "tolerations", "schedulerName", "priority", "nodeName"]


entries = st.lists(
    st.dictionaries(st.sampled_from(["name", "value", "mountPath", "kind"]), odd, max_size=3), max_size=2
)
parts = st.one_of(entries, entries, odd)
containers = st.fixed_dictionaries(
    {"name": st.just("main")}, optional={"env": parts, "volumeMounts": parts, "resources": odd}
)


@relaxed
@given(st.dictionaries(st.sampled_from(PLACES), parts, max_size=2), st.one_of(st.none(), odd), parts, containers)
def test_a_pod_of_any_shape_is_answered(world, pod, spec, label, owners, container) -> None:
    body = pod(tflops_limit="1", vendor="NVIDIA")
    body["spec"] |= {"containers": [container], **spec}
    body["metadata"] |= {"ownerReferences": owners}
    if label is not None:
        body["metadata"]["labels"]["app"] = label
    verdict = world.decide(body)
    assert verdict.denial is None or 400 <= verdict.denial.code < 500


@given(st.dictionaries(st.sampled_from(SHORT), values, max_size=5))
def test_wishes_are_understood_or_refused(wishes) -> None:
    try:
        parse_wishes({f"{keys.DOMAIN}/{key}": value for key, value in wishes.items()})
    except InvalidRequest as error:
        assert str(error).startswith("annotation ")
