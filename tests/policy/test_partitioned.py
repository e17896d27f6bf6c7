"""Admission of partitioned pods: a template by name, or amounts that one has to cover."""

from typing import Any

from tensorfusion.model import keys
from tensorfusion.model.provider_defaults import provider_specs
from tensorfusion.model.wire import to_wire


def cards(world: Any) -> Any:
    for name, spec in provider_specs().items():
        world.add_provider(name, **to_wire(spec))
    return world


def test_a_partitioned_pod_gets_nothing_but_its_annotations(world, pod) -> None:
    made = world.admitted(pod(isolation="partitioned", partition_id="1g.10gb"))
    assert made["metadata"]["annotations"][keys.PARTITION_ID] == "1g.10gb"
    assert made["metadata"]["annotations"][keys.ISOLATION] == "partitioned"
    assert "initContainers" not in made["spec"]
    assert len(made["spec"]["containers"]) == 1
    assert world.decide(made).ops == ()


def test_amounts_alone_are_enough(world, pod) -> None:
    notes = world.admitted(pod(isolation="partitioned", vram_request="9Gi"))["metadata"]["annotations"]
    assert keys.PARTITION_ID not in notes


def test_without_template_and_amounts_there_is_nothing_to_ask_for(world, pod) -> None:
    assert "above 0" in world.refusal(pod(isolation="partitioned"))


def test_a_template_that_the_named_model_does_not_have_is_refused_with_those_it_has(world, pod) -> None:
    wishes = {"isolation": "partitioned", "gpu_model": "A100_SXM_80G"}
    message = cards(world).refusal(pod(partition_id="9g.90gb", **wishes))
    assert "partition-id: wanted a partition template of A100_SXM_80G (1g.10gb, " in message
    assert "found '9g.90gb'" in message
    cards(world).admitted(pod(partition_id="mig-3g-40gb", **wishes))


def test_a_template_counts_only_with_its_isolation(world, pod) -> None:
    verdict = world.decide(pod(partition_id="1g.10gb", tflops_limit="10"))
    assert any("only with isolation partitioned" in warning for warning in verdict.warnings)


def test_ascend_slices_run_under_their_runtime(world, pod) -> None:
    spec = world.admitted(pod(isolation="partitioned", partition_id="vir01", vendor="Ascend"))["spec"]
    assert spec["runtimeClassName"] == "ascend"
