"""What tenants may not write on pods and Bindings, and which Bindings come too late."""

import pytest

from tensorfusion.model import keys
from tensorfusion.policy.guards import (
    Accounts,
    BindingTruth,
    PodTruth,
    review_binding,
    review_foreign_binding,
    review_update,
)

ACCOUNTS = Accounts(system=frozenset({"controller", "agent"}), scheduler=frozenset({"controller"}))
LABELS = {keys.COMPONENT: "worker", keys.WORKLOAD: "w", keys.GPU_POOL: "p", "app": "x"}
ANNOTATIONS = {keys.GPU_IDS: "gpu-1", keys.TFLOPS_REQUEST: "10", keys.GPU_POOL: "p", "note": "a"}
POD = PodTruth(LABELS, ANNOTATIONS, keys.SCHEDULER_NAME)
PLAIN = PodTruth({"app": "x"}, {"note": "a"}, "default-scheduler")


def changed(pod: PodTruth, *, labels=None, annotations=None) -> PodTruth:
    def merged(old, new):
        return {key: value for key, value in {**old, **(new or {})}.items() if value is not None}

    return PodTruth(merged(pod.labels, labels), merged(pod.annotations, annotations), pod.scheduler_name)


@pytest.mark.parametrize("value", [None, "gpu-2", ""])
@pytest.mark.parametrize("key", sorted(keys.SYSTEM_WRITTEN | keys.ADMISSION_WRITTEN | keys.REQUEST_KEYS))
def test_a_tenant_cannot_change_what_a_pod_holds_or_asks_for(key: str, value: str | None) -> None:
    before = changed(POD, annotations={key: "before"})
    denial = review_update(before, changed(before, annotations={key: value}), user="tenant", accounts=ACCOUNTS)
    assert denial is not None
    assert denial.code == 403
    assert key in denial.message
    assert "'before'" in denial.message


@pytest.mark.parametrize("key", sorted(keys.SYSTEM_WRITTEN))
def test_a_tenant_cannot_add_system_keys_to_any_pod(key: str) -> None:
    for pod in (POD, PLAIN):
        before = changed(pod, annotations={key: None})
        assert review_update(before, changed(before, annotations={key: "x"}), user="tenant", accounts=ACCOUNTS)


@pytest.mark.parametrize("key", [keys.COMPONENT, keys.WORKLOAD, keys.GPU_POOL])
@pytest.mark.parametrize("value", [None, "other"])
def test_a_tenant_cannot_hide_a_pod_by_its_labels(key: str, value: str | None) -> None:
    denial = review_update(POD, changed(POD, labels={key: value}), user="tenant", accounts=ACCOUNTS)
    assert denial is not None
    assert key in denial.message


def test_a_tenant_cannot_turn_a_plain_pod_into_one_of_ours() -> None:
    assert review_update(PLAIN, changed(PLAIN, labels={keys.COMPONENT: "worker"}), user="tenant", accounts=ACCOUNTS)


@pytest.mark.parametrize(
    ("pod", "labels", "annotations"),
    [
        (POD, {"app": "y", "extra": "1"}, {"note": None}),
        (POD, {}, {keys.AUTOSCALE: "true"}),
        (PLAIN, {keys.WORKLOAD: "mine", keys.GPU_POOL: "p"}, {keys.TFLOPS_REQUEST: "5"}),
    ],
)
def test_everything_else_is_the_tenants_own(pod: PodTruth, labels, annotations) -> None:
    after = changed(pod, labels=labels, annotations=annotations)
    assert review_update(pod, after, user="tenant", accounts=ACCOUNTS) is None


def test_our_own_accounts_may_change_everything() -> None:
    after = changed(POD, labels={keys.COMPONENT: None}, annotations={keys.GPU_IDS: "gpu-9", keys.TFLOPS_REQUEST: "1"})
    assert review_update(POD, after, user="agent", accounts=ACCOUNTS) is None


def binding(**annotations: str) -> BindingTruth:
    names = {"ids": keys.GPU_IDS, "epoch": keys.SCHEDULER_EPOCH, "note": "note"}
    return BindingTruth("team/w", "node-1", {names[key]: value for key, value in annotations.items()})


@pytest.mark.parametrize(
    ("epoch_sent", "epoch_known", "code"),
    [
        ("4", 5, 409),
        ("5", 5, None),
        ("6", 5, None),
        ("4", None, None),
        ("four", 5, 403),
        ("-1", 5, 403),
        ("\u0665", 5, 403),
        (None, 5, 403),
    ],
)
def test_a_binding_of_an_older_epoch_is_refused(epoch_sent: str | None, epoch_known: int | None, code) -> None:
    sent = binding(ids="gpu-1", **({} if epoch_sent is None else {"epoch": epoch_sent}))
    denial = review_binding(sent, user="controller", accounts=ACCOUNTS, epoch=epoch_known)
    assert (denial.code if denial else None) == code


def test_a_plain_binding_of_a_former_leader_is_refused_too() -> None:
    assert review_binding(binding(epoch="1"), user="controller", accounts=ACCOUNTS, epoch=2).code == 409
    assert review_binding(binding(), user="controller", accounts=ACCOUNTS, epoch=2) is None


def test_only_our_scheduler_gives_devices() -> None:
    denial = review_binding(binding(ids="gpu-1", epoch="9"), user="tenant", accounts=ACCOUNTS, epoch=1)
    assert denial.code == 403
    assert review_binding(binding(note="x"), user="tenant", accounts=ACCOUNTS, epoch=1) is None


@pytest.mark.parametrize(
    ("pod", "allowed"),
    [
        (POD, False),
        (PLAIN, True),
        (PodTruth({}, {}, keys.SCHEDULER_NAME), False),
        (PodTruth({keys.COMPONENT: "worker"}, {}, "default-scheduler"), False),
    ],
)
def test_nobody_else_binds_a_pod_of_ours(pod: PodTruth, allowed: bool) -> None:
    denial = review_foreign_binding(binding(), pod, user="tenant")
    assert (denial is None) is allowed
