"""Converting never fails, never changes its input, and changes nothing the second time."""

from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model.crd import KINDS
from tensorfusion.policy.dialects.convert import convert
from tensorfusion.policy.dialects.markers import strip_markers

WORDS = [
    "name",
    "description",
    "strategy",
    "type",
    "timeout",
    "retries",
    "cache",
    "caching",
    "enabled",
    "ttl",
    "fallback",
    "costTracking",
    "budget",
    "daily",
    "monthly",
    "alertThreshold",
    "exceedStrategy",
    "selector",
    "modelName",
    "labels",
    "routes",
    "backend",
    "priority",
    "conditions",
    "costPerToken",
    "targets",
    "loadBalancing",
    "failover",
    "roundRobin",
    "vectorDB",
    "endpoint",
    "collection",
    "embedding",
    "model",
    "features",
    "models",
    "profiler",
    "loadForecasting",
    "minSamples",
    "prediction",
    "thresholds",
    "minConfidence",
    "autoApply",
    "namespaces",
    "training",
    "schedule",
    "resources",
    "feedback",
    "comparison",
    "deviationThreshold",
    "workloadType",
    "parameters",
    "location",
    "vmSize",
    "maxPrice",
    "minInstances",
    "scaleUpThreshold",
    "scaleUp",
    "scaleDown",
    "cron",
    "instances",
    "credentials",
    "clientId",
    "aksCluster",
    "clusterName",
    "resourceGroup",
    "azureFoundry",
    "workspaces",
    "hard",
    "tflops",
    "vram",
    "burst",
    "template",
    "metadata",
    "annotations",
    "spec",
    "containers",
    "limits",
    "requests",
    "tensor-fusion.ai/vgpu",
    "tensor-fusion.ai/tflops",
    "tensor-fusion.ai/enabled",
    "tensor-fusion.ai/pool-name",
    "namespace",
]
VALUES = ["cost", "weighted", "alert", "Spot", "0.5", "80%", "5m", "", 0, 1, 2, 0.8, 101, -3, True, False, None]

leaves = st.sampled_from(VALUES)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=12,
)
documents = st.fixed_dictionaries(
    {
        "apiVersion": st.sampled_from(["tensor-fusion.ai/v1", "v1", "apps/v1"]),
        "kind": st.sampled_from([*sorted(KINDS), "Pod", "Deployment", "CronJob", "Nonsense"]),
        "metadata": st.dictionaries(st.sampled_from(WORDS), trees, max_size=3),
        "spec": st.dictionaries(st.sampled_from(WORDS), trees, max_size=6) | trees,
    }
)


@given(documents | trees)
def test_any_document_converts_without_an_exception_and_its_input_is_left_alone(document: Any) -> None:
    before = deepcopy(document)
    convert(document)
    assert document == before


@given(documents)
def test_what_was_converted_is_not_rewritten_again(document: dict[str, Any]) -> None:
    once = convert(document)
    if once.refusals:
        return
    twice = convert(once.document)
    assert (twice.document, twice.rewrites, twice.refusals) == (once.document, (), ())


@given(st.text())
def test_taking_markers_off_keeps_every_line_and_happens_once(text: str) -> None:
    plain, _ = strip_markers(text)
    assert plain.count("\n") == text.count("\n")
    assert strip_markers(plain) == (plain, [])


def test_only_the_marker_of_code_blocks_is_taken_off() -> None:
    text = 'a: 300  // [!code highlight]\nb: "x" // [!code ++]\nc: http://host\nd: 1 // one\n'
    plain, markers = strip_markers(text)
    assert plain == 'a: 300\nb: "x"\nc: http://host\nd: 1 // one\n'
    assert [(marker.line, marker.text) for marker in markers] == [(1, "// [!code highlight]"), (2, "// [!code ++]")]
