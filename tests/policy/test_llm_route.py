"""A pod that names an LLMRoute gets its address and a key, and keeps what its owner set."""

from copy import deepcopy
from typing import Any

import pytest

from tensorfusion.embedded.patch import json_patch
from tensorfusion.model import keys
from tensorfusion.model.resources import LLM_ROUTES
from tensorfusion.policy.admission import admit, left_native
from tensorfusion.policy.verdict import Missing, Verdict

GATEWAY = "http://gateway.ai:8787"
URL = "http://gateway.ai:8787/routes/chat/v1"
KEY = {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "llm-key", "key": "api-key"}}}
ALL: list[dict[str, Any]] = [{"name": "OPENAI_BASE_URL", "value": URL}, {"name": "OPENAI_API_BASE", "value": URL}, KEY]


@pytest.fixture
def world(world: Any) -> Any:
    world.routes.add("chat")
    return world


def apply_patch(asked: Any, ops: Any) -> Any:
    return json_patch(deepcopy(asked), deepcopy(list(ops)))


def pod(*containers: dict[str, Any], **annotations: str) -> dict[str, Any]:
    found = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    each = [{"name": f"c{at}", "image": "app", **one} for at, one in enumerate(containers or ({},))]
    return {"metadata": {"name": "p", "annotations": found}, "spec": {"containers": each}}


def decide(world: Any, asked: dict[str, Any], gateway: str = GATEWAY) -> Verdict:
    return admit(asked, namespace="team", seed="3d0f", snapshot=world, gateway=gateway)


def environments(world: Any, asked: dict[str, Any]) -> list[Any]:
    verdict = decide(world, asked)
    assert verdict.denial is None, verdict.denial
    stored = apply_patch(asked, verdict.ops)
    assert decide(world, stored).ops == ()  # a second look changes nothing
    return [one.get("env") for one in stored["spec"]["containers"]]


def test_each_container_gets_the_address_of_the_route_and_a_key(world: Any) -> None:
    other = {"name": "MODE", "value": "fast"}
    assert environments(world, pod({}, {"env": [other]}, llm_route="chat")) == [ALL, [other, *ALL]]


def test_another_secret_may_be_named(world: Any) -> None:
    (found,) = environments(world, pod(llm_route="chat", llm_key_secret="mine"))
    assert found[2]["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "api-key"}


def test_what_the_user_set_stays(world: Any) -> None:
    own_key = {"name": "OPENAI_API_KEY", "value": "sk-mine"}
    assert environments(world, pod({"env": [own_key]}, llm_route="chat")) == [[own_key, *ALL[:2]]]
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        own = {"name": name, "value": "https://elsewhere/v1"}
        assert environments(world, pod({"env": [own]}, llm_route="chat")) == [[own]]  # and no key of ours either
        (warning,) = decide(world, pod({"env": [own]}, llm_route="chat")).warnings
        assert f"container c0 sets {name} itself and is left as it is" in warning
    from_secret = {"name": "OPENAI_BASE_URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert environments(world, pod({"env": [from_secret]}, llm_route="chat")) == [[from_secret]]


def test_variables_from_elsewhere_are_warned_of(world: Any) -> None:
    (warning,) = decide(world, pod({"envFrom": [{"secretRef": {"name": "s"}}]}, llm_route="chat")).warnings
    assert "container c0 takes variables from elsewhere (envFrom): OPENAI_BASE_URL, OPENAI_API_BASE," in warning


@pytest.mark.parametrize(
    ("annotations", "gateway", "why"),
    [
        (
            {"llm_route": "none"},
            GATEWAY,
            "wanted the name of an LLMRoute in namespace team, found 'none', which does not",
        ),
        ({"llm_route": "other/chat"}, GATEWAY, "wanted the name of an LLMRoute in namespace team, found 'other/chat'"),
        ({"llm_route": ""}, GATEWAY, "found ''"),
        ({"llm_route": "chat", "llm_key_secret": "A b"}, GATEWAY, "llm-key-secret: wanted the name of a Secret"),
        ({"llm_route": "chat"}, "", "this cluster names no gateway: set llmGateway.url"),
    ],
)
def test_what_cannot_be_followed_is_refused(world: Any, annotations: dict[str, str], gateway: str, why: str) -> None:
    denial = decide(world, pod(**annotations), gateway).denial
    assert denial is not None
    assert denial.code == 400
    assert why in denial.message


def test_a_route_that_is_not_known_yet_is_worth_a_look_at_the_api(world: Any) -> None:
    denial = decide(world, pod(llm_route="new")).denial
    assert denial is not None
    assert denial.missing == Missing(LLM_ROUTES, "team", "new")


def test_a_pod_with_a_share_gets_both_and_one_that_is_left_native_keeps_its_route(world: Any) -> None:
    asked = pod(llm_route="chat", tflops_limit="10", vram_limit="1Gi")
    asked["metadata"]["labels"] = {keys.ENABLED: "true"}
    verdict = decide(world, asked)
    assert verdict.admitted, verdict.denial
    names = [one["name"] for one in apply_patch(asked, verdict.ops)["spec"]["containers"][0]["env"]]
    assert names[:3] == ["OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY"]
    assert len(names) > 3
    assert len(set(names)) == len(names)
    native = left_native(asked, world, namespace="team", gateway=GATEWAY)
    assert apply_patch(asked, native.ops)["spec"]["containers"][0]["env"] == ALL


@pytest.mark.parametrize(
    "odd", [{"metadata": []}, {"metadata": {"annotations": {"x": 1}}}, {"spec": {"containers": 5}}]
)
def test_a_pod_of_another_shape_is_one_clear_line(world: Any, odd: dict[str, Any]) -> None:
    asked = {**pod(llm_route="chat"), **odd}
    if isinstance(odd.get("metadata"), dict):
        asked["metadata"]["annotations"][keys.LLM_ROUTE] = "chat"
    denial = decide(world, asked).denial
    assert denial is not None
    assert denial.code == 400
