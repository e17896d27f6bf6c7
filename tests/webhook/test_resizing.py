"""Edits of amounts at the API: turned into a wish, or refused at once with the reason."""

from typing import Any

import pytest

from tensorfusion.model import keys
from tensorfusion.policy.resize import wish_of
from tensorfusion.runtime.admission import AdmissionRequest, AdmissionResponse
from tensorfusion.testing.objects import json_patch
from tensorfusion.webhook.resizing import Resizing, unjudged

AMOUNTS = {keys.GPU_POOL: "p", keys.TFLOPS_REQUEST: "10", keys.VRAM_REQUEST: "1Gi"}


def pod(*, node: str = "n", component: str = "worker", phase: str = "Running", **annotations: str) -> dict[str, Any]:
    written = AMOUNTS | {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "metadata": {"name": "w", "uid": "u-1", "labels": {keys.COMPONENT: component}, "annotations": written},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase},
    }


async def ask(old: dict[str, Any], new: dict[str, Any], judge: Any = unjudged) -> AdmissionResponse:
    request = AdmissionRequest(uid="r", operation="UPDATE", namespace="team", name="w", object=new, old_object=old)
    return await Resizing(judge).review(request)


async def test_an_edit_becomes_a_wish_and_its_sender_hears_of_it() -> None:
    new = pod(tflops_request="20")
    answer = await ask(pod(), new)
    assert answer.allowed
    after = json_patch(new, answer.patch)["metadata"]["annotations"]
    assert after[keys.TFLOPS_REQUEST] == "10"
    assert wish_of(after) == {keys.TFLOPS_REQUEST: "20"}
    (warning,) = answer.warnings
    assert "pod team/w: tflops-request 10 -> 20: asked of tensor-fusion-scheduler" in warning


async def test_a_second_edit_adds_to_a_wish_that_waits() -> None:
    waiting = '{"tflops-request":"20"}'
    new = pod(resize=waiting, vram_request="2Gi")
    answer = await ask(pod(resize=waiting), new)
    after = json_patch(new, answer.patch)["metadata"]["annotations"]
    assert wish_of(after) == {keys.TFLOPS_REQUEST: "20", keys.VRAM_REQUEST: "2Gi"}


async def test_another_spelling_of_the_same_amount_is_no_wish() -> None:
    new = pod(vram_request="1024Mi")
    answer = await ask(pod(), new)
    assert json_patch(new, answer.patch)["metadata"]["annotations"] == AMOUNTS


async def test_what_the_ledger_has_no_room_for_is_refused_with_its_words() -> None:
    asked = []

    def judge(uid: str, request: Any) -> str:
        asked.append((uid, request.compute))
        return "device g: left are 3 TFLOPS"

    answer = await ask(pod(), pod(tflops_request="20"), judge)
    assert (answer.allowed, answer.code) == (False, 403)
    assert answer.message == "pod team/w: tflops-request 10 -> 20: device g: left are 3 TFLOPS"
    assert asked == [("u-1", 20_000)]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (pod(), pod(tflops_request="x"), 400),
        (pod(phase="Failed"), pod(phase="Failed", tflops_request="20"), 403),
        (pod(), pod(), None),
        (pod(node=""), pod(node="", tflops_request="20"), None),  # the guard refuses it
        (pod(component="client"), pod(component="client", tflops_request="20"), None),
    ],
)
async def test_other_updates_are_refused_or_left_to_the_guard(old: Any, new: Any, code: int | None) -> None:
    answer = await ask(old, new)
    assert (None if answer.allowed else answer.code) == code
    assert not answer.patch


async def test_a_pod_that_is_being_deleted_keeps_its_amounts() -> None:
    old, new = pod(), pod(tflops_request="20")
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not (await ask(old, new)).allowed
