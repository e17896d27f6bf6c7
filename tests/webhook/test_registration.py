"""What the API server is told: when to ask, and that a missing answer is a refusal."""

import asyncio
import base64
from typing import Any

import pytest

from tensorfusion.cel import DYN, Environment
from tensorfusion.model import resources as r
from tensorfusion.policy.guards import Accounts
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock
from tensorfusion.webhook.registration import (
    Address,
    Registrar,
    ServiceAddress,
    mutating_configuration,
    register,
    validating_configuration,
)

URL = Address(b"PEM", url="https://127.0.0.1:9443/")
SERVICE = Address(b"PEM", service=ServiceAddress("tensor-fusion-sys", "hook"))


def webhooks(address: Address = URL) -> list[dict[str, Any]]:
    return [
        *mutating_configuration(address, prefix="tf", accounts=Accounts())["webhooks"],
        *validating_configuration(address, prefix="tf", accounts=Accounts())["webhooks"],
    ]


def test_names_paths_and_failure_policy() -> None:
    assert [(hook["name"], hook["clientConfig"]["url"]) for hook in webhooks()] == [
        ("mpod.tensor-fusion.ai", "https://127.0.0.1:9443/mutate-v1-pod"),
        ("mresize.tensor-fusion.ai", "https://127.0.0.1:9443/resize-v1-pod"),
        ("vpod.tensor-fusion.ai", "https://127.0.0.1:9443/validate-v1-pod"),
        ("vbinding.tensor-fusion.ai", "https://127.0.0.1:9443/validate-v1-binding"),
    ]
    for hook in webhooks():
        effects = "NoneOnDryRun" if hook["name"].startswith("mpod.") else "None"
        assert (hook["failurePolicy"], hook["sideEffects"], hook["timeoutSeconds"]) == ("Fail", effects, 10)
        assert base64.b64decode(hook["clientConfig"]["caBundle"]) == b"PEM"


def test_a_service_may_stand_in_front() -> None:
    assert webhooks(SERVICE)[0]["clientConfig"]["service"] == {
        "namespace": "tensor-fusion-sys",
        "name": "hook",
        "port": 443,
        "path": "/mutate-v1-pod",
    }


def holds(hook: dict[str, Any], **variables: Any) -> bool:
    """All match conditions, as an API server evaluates them."""
    environment = Environment(dict.fromkeys(("object", "oldObject", "request"), DYN))
    return all(
        environment.compile(condition["expression"]).evaluate(variables) is True
        for condition in hook["matchConditions"]
    )


@pytest.mark.parametrize(
    ("metadata", "asked"),
    [
        ({}, False),
        ({"labels": {"app": "x"}, "annotations": {"note": "y"}}, False),
        ({"labels": {"tensor-fusion.ai/enabled": "true"}}, True),
        ({"annotations": {"tensor-fusion.ai/dra-enabled": "true"}}, True),
        ({"labels": {"app": "x"}, "annotations": {"tensor-fusion.ai/gpu-ids": "gpu-1"}}, True),
    ],
)
def test_creations_reach_us_only_with_a_key_of_ours(metadata: dict[str, Any], asked: bool) -> None:
    assert holds(webhooks()[0], object={"metadata": metadata}, oldObject=None, request={}) is asked


AGENT = {"username": "system:serviceaccount:tensor-fusion-sys:tensor-fusion-hypervisor-sa", "groups": ["a"]}
KUBELET = {"username": "system:node:n", "groups": ["system:nodes"]}
TENANT = {"username": "jo", "groups": ["system:authenticated"]}


@pytest.mark.parametrize(
    ("user", "old", "new", "asked"),
    [
        (TENANT, {"labels": {"a": "1"}}, {"labels": {"a": "1"}}, False),
        (TENANT, {"labels": {"a": "1"}}, {"labels": {"a": "2"}}, True),
        (TENANT, {}, {"annotations": {"a": "2"}}, True),
        (TENANT, {"annotations": {"a": "2"}}, {}, True),
        (TENANT, {}, {}, False),
        (AGENT, {}, {"annotations": {"a": "2"}}, False),
        (KUBELET, {}, {"annotations": {"a": "2"}}, False),
    ],
)
def test_updates_reach_us_only_when_others_change_keys(user, old, new, asked: bool) -> None:
    variables = {"object": {"metadata": new}, "oldObject": {"metadata": old}, "request": {"userInfo": user}}
    assert holds(webhooks()[2], **variables) is asked


CONTROLLER = {"username": "system:serviceaccount:tensor-fusion-sys:tensor-fusion-controller", "groups": ["a"]}
AMOUNT, WISH = "tensor-fusion.ai/tflops-request", "tensor-fusion.ai/resize"


@pytest.mark.parametrize(
    ("user", "old", "new", "asked"),
    [
        (TENANT, {"annotations": {AMOUNT: "1"}}, {"annotations": {AMOUNT: "2"}}, True),
        (TENANT, {"annotations": {AMOUNT: "1"}}, {}, True),
        (TENANT, {}, {"annotations": {AMOUNT: "1"}}, True),
        (TENANT, {"annotations": {AMOUNT: "1"}}, {"annotations": {AMOUNT: "1", "note": "a"}}, False),
        (TENANT, {}, {}, False),
        (CONTROLLER, {"annotations": {AMOUNT: "1"}}, {"annotations": {AMOUNT: "2"}}, False),
        (KUBELET, {"annotations": {AMOUNT: "1"}}, {"annotations": {AMOUNT: "2"}}, False),
    ],
)
def test_an_edit_of_amounts_reaches_us_and_nothing_else(user, old, new, asked: bool) -> None:
    variables = {"object": {"metadata": new}, "oldObject": {"metadata": old}, "request": {"userInfo": user}}
    assert holds(webhooks()[1], **variables) is asked


@pytest.mark.parametrize(
    ("old", "new", "asked"),
    [
        ({"annotations": {WISH: "{}"}}, {"annotations": {AMOUNT: "2"}}, True),
        ({"annotations": {WISH: "{}"}}, {}, True),
        ({"annotations": {WISH: "{}"}}, {"annotations": {WISH: "{}", AMOUNT: "2"}}, False),
        ({"annotations": {AMOUNT: "1"}}, {"annotations": {AMOUNT: "2"}}, False),
    ],
)
def test_of_the_schedulers_updates_only_its_answers_to_wishes_are_fenced(old, new, asked: bool) -> None:
    variables = {"object": {"metadata": new}, "oldObject": {"metadata": old}, "request": {"userInfo": CONTROLLER}}
    assert holds(webhooks()[2], **variables) is asked


@pytest.mark.parametrize(
    ("username", "annotations", "asked"),
    [
        ("system:kube-scheduler", {}, False),
        ("system:kube-scheduler", {"tensor-fusion.ai/gpu-ids": "x"}, True),
        ("jo", {}, True),
    ],
)
def test_every_binding_reaches_us_but_plain_ones_of_kube_scheduler(username, annotations, asked: bool) -> None:
    variables = {
        "object": {"metadata": {"annotations": annotations}},
        "oldObject": None,
        "request": {"userInfo": {"username": username}},
    }
    assert holds(webhooks()[3], **variables) is asked


async def test_registering_again_brings_the_address_up_to_date() -> None:
    api = FakeApi()
    await register(api, URL)
    await register(api, Address(b"NEW", url="https://127.0.0.1:9444"))
    for resource, name in ((r.MUTATING_WEBHOOKS, "mutating"), (r.VALIDATING_WEBHOOKS, "validating")):
        found = api.object(resource, f"tensor-fusion-sys-{name}-webhook")
        assert found["webhooks"][0]["clientConfig"]["url"].startswith("https://127.0.0.1:9444/")
        assert base64.b64decode(found["webhooks"][0]["clientConfig"]["caBundle"]) == b"NEW"


def test_native_pods_reach_us_only_where_they_are_our_business() -> None:
    conditions = []
    for native in (False, True):
        hooks = mutating_configuration(URL, prefix="tf", accounts=Accounts(), native_pods=native)["webhooks"]
        conditions.append(hooks[0]["matchConditions"][0])
    assert "object.spec.containers" not in conditions[0]["expression"]
    assert conditions[1]["expression"].startswith(conditions[0]["expression"])
    assert "c.resources.limits.exists(k, k.contains('/'))" in conditions[1]["expression"]


async def test_the_registration_follows_the_settings_and_is_tried_again() -> None:
    clock = VirtualClock()
    api = FakeApi(clock)
    native = False
    registrar = Registrar(api, URL, native_pods=lambda: native, clock=clock)
    await registrar.register()
    following = asyncio.ensure_future(registrar.run())

    def condition() -> str:
        (found,) = api.objects(r.MUTATING_WEBHOOKS)
        return str(found["webhooks"][0]["matchConditions"][0]["name"])

    assert condition() == "has-our-keys"
    native = True
    api.fail("patch", r.MUTATING_WEBHOOKS)
    registrar.changed()
    await clock.advance(1)
    assert condition() == "has-our-keys"
    await clock.advance(5)
    assert condition() == "has-our-keys-or-devices"
    following.cancel()
