"""A key that nobody knows is answered with the one that was probably meant."""

from typing import Any

import pytest

from tensorfusion.model import keys


def pod(labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": "w", "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "app"}]},
    }


ENABLED = {keys.ENABLED: "true"}
GOOD = {keys.TFLOPS_REQUEST: "10", keys.VRAM_REQUEST: "1Gi"}


def test_a_misspelt_annotation_of_an_admitted_pod_is_a_warning(world: Any) -> None:
    world.add_pool("main", default=True)
    verdict = world.decide(pod(ENABLED, {**GOOD, f"{keys.DOMAIN}/gpu-modle": "A100"}))
    assert verdict.admitted
    assert (
        "annotation tensor-fusion.ai/gpu-modle is not known: did you mean tensor-fusion.ai/gpu-model?"
        in verdict.warnings
    )


def test_a_misspelt_annotation_is_named_where_it_is_the_reason_of_a_refusal(world: Any) -> None:
    world.add_pool("main", default=True)
    message = world.refusal(pod(ENABLED, {f"{keys.DOMAIN}/tflop-request": "10", keys.GPU_COUNT: "many"}))
    assert message.endswith("did you mean tensor-fusion.ai/tflops-request?")


def test_a_misspelt_switch_is_a_warning_although_the_pod_is_left_alone(world: Any) -> None:
    verdict = world.decide(pod({f"{keys.DOMAIN}/enable": "true"}, {}))
    assert verdict.denial is None
    assert verdict.warnings == ("label tensor-fusion.ai/enable is not known: did you mean tensor-fusion.ai/enabled?",)


@pytest.mark.parametrize("key", ["example.com/tflop-request", f"{keys.DOMAIN}/colour-of-the-bike-shed"])
def test_keys_that_resemble_nothing_of_ours_are_left_alone(world: Any, key: str) -> None:
    assert world.decide(pod({}, {key: "1"})).warnings == ()


def test_keys_that_no_json_object_can_have_break_nothing(world: Any) -> None:
    assert world.decide({"metadata": {"labels": [], "annotations": None}, "spec": {}}) is not None


@pytest.mark.parametrize("key", ["port-name", "auto-replicas", "partition", "provisioned", "resource-claim-template"])
def test_keys_of_the_api_that_nobody_reads_yet_are_no_mistakes(world: Any, key: str) -> None:
    assert world.decide(pod({}, {f"{keys.DOMAIN}/{key}": "1"})).warnings == ()
