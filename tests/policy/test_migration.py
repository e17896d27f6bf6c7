"""Pods that ask for native GPUs: given a share by rules, placed by our scheduler, or left alone."""

from typing import Any

import pytest

from tensorfusion.errors import ConfigError
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.dynamic_config import AutoMigration, DynamicConfig, parse_config
from tensorfusion.model.request import Isolation
from tensorfusion.policy.admission import admit, left_native
from tensorfusion.policy.migration import Migration
from tensorfusion.policy.verdict import UNCHANGED

Json = dict[str, Any]
NATIVE = {"name": "main", "image": "app", "resources": {"limits": {"nvidia.com/gpu": "2"}}}
ONLY_REQUESTS = {"name": "main", "image": "app", "resources": {"requests": {"amd.com/gpu": "1"}}}
PROGRESSIVE = Migration(progressive=True)
TO_US = {"op": "replace", "path": "/spec/schedulerName", "value": keys.SCHEDULER_NAME}


def auto(scope: str = "") -> Migration:
    """Auto migration with a scope in YAML flow style."""
    text = f"autoMigration: {{enable: true{', scope: ' + scope if scope else ''}}}"
    return Migration(auto=parse_config(text).auto_migration)


def decide(world: Any, pod: Json, migration: Migration) -> Any:
    return admit(pod, namespace="team", seed="3d0f", snapshot=world, migration=migration)


# --- progressive ---


@pytest.mark.parametrize("container", [NATIVE, ONLY_REQUESTS])
def test_a_native_pod_changes_only_its_scheduler(world, pod, container: Json) -> None:
    verdict = decide(world, pod(enabled=False, containers=[container]), PROGRESSIVE)
    assert verdict.ops == (TO_US,)
    assert not verdict.admitted


@pytest.mark.parametrize(
    "parts",
    [
        {"enabled": False},
        {"enabled": False, "containers": [{"name": "m", "resources": {"limits": {"cpu": "1"}}}]},
        {"enabled": False, "containers": [{"name": "m", "resources": {"limits": {"nvidia.com/gpu": "0"}}}]},
        {"enabled": False, "containers": [{"name": "m", "resources": {"limits": {"nvidia.com/gpu": "some"}}}]},
        {"enabled": False, "containers": "none"},
        {"enabled": False, "containers": [NATIVE], "spec": {"schedulerName": keys.SCHEDULER_NAME}},
    ],
)
def test_any_other_pod_stays_as_it_is(world, pod, parts: Json) -> None:
    assert decide(world, pod(**parts), PROGRESSIVE) == UNCHANGED


def test_without_the_setting_native_pods_stay_as_they_are(world, pod) -> None:
    assert decide(world, pod(enabled=False, containers=[NATIVE]), Migration()) == UNCHANGED


def test_rollback_and_the_rest_of_a_canary_are_native_pods_too(world, pod) -> None:
    off = pod(containers=[NATIVE], enabled_replicas="0")
    assert decide(world, off, PROGRESSIVE).ops == (TO_US,)
    rest = pod(containers=[NATIVE], enabled_replicas="3")
    assert left_native(rest, world, namespace="team", migration=PROGRESSIVE).ops == (TO_US,)
    assert left_native(rest, world, namespace="team") == UNCHANGED


def test_an_enabled_pod_gets_its_share_as_ever(world, pod) -> None:
    made = pod(containers=[NATIVE], tflops_limit="10")
    assert decide(world, made, PROGRESSIVE) == decide(world, made, Migration())


# --- auto ---


@pytest.mark.parametrize(
    ("scope", "labels", "migrated"),
    [
        ("", {}, True),
        ("", {keys.ENABLED: "false"}, False),
        ("{excludes: {namespaceNames: [team]}}", {}, False),
        ("{excludes: {namespaceNames: [other]}}", {}, True),
        ("{includes: {namespaceNames: [team]}}", {}, True),
        ("{includes: {namespaceNames: [other]}}", {}, False),
        ("{includes: {}}", {}, False),
        ("{includes: {podSelector: {matchLabels: {a: b}}}}", {"a": "b"}, True),
        ("{includes: {podSelector: {matchLabels: {a: b}}}}", {"a": "c"}, False),
        ("{includes: {podSelector: {}}}", {}, True),
        ("{includes: {namespaceNames: [other], podSelector: {matchLabels: {a: b}}}}", {"a": "b"}, True),
        ("{includes: {podSelector: {}}, excludes: {podSelector: {matchLabels: {a: b}}}}", {"a": "b"}, False),
        ("{includes: {namespaceSelector: {matchLabels: {tier: gpu}}}}", {}, True),
        ("{includes: {namespaceSelector: {matchLabels: {tier: cpu}}}}", {}, False),
        ("{excludes: {namespaceSelector: {matchExpressions: [{key: tier, operator: Exists}]}}}", {}, False),
    ],
)
def test_which_native_pods_are_given_a_share(world, pod, monkeypatch, scope: str, labels: Json, migrated: bool) -> None:
    found = type(world.namespace("team"))(metadata=world.namespace("team").metadata.__class__(labels={"tier": "gpu"}))
    monkeypatch.setattr(world, "namespace", lambda _: found)
    verdict = decide(world, pod(enabled=False, labels=labels, containers=[NATIVE]), auto(scope))
    assert verdict.admitted is migrated
    if not migrated:
        assert verdict == UNCHANGED


def test_a_migrated_pod_has_whole_devices_of_ours_and_none_of_the_plugins(world, pod, apply) -> None:
    made = pod(enabled=False, containers=[NATIVE])
    del made["metadata"]["labels"], made["metadata"]["annotations"]
    stored = apply(made, decide(world, made, auto()).ops)
    annotations = stored["metadata"]["annotations"]
    assert stored["metadata"]["labels"][keys.ENABLED] == "true"
    assert (annotations[keys.ISOLATION], annotations[keys.GPU_COUNT]) == (Isolation.SHARED.value, "2")
    assert stored["spec"]["schedulerName"] == keys.SCHEDULER_NAME
    assert stored["spec"]["containers"][0]["resources"]["limits"] == {}
    assert decide(world, stored, auto()).ops == ()


def test_a_migrated_pod_may_choose_its_isolation(world, pod, apply) -> None:
    made = pod(enabled=False, containers=[NATIVE], isolation="soft")
    stored = apply(made, decide(world, made, auto()).ops)
    assert stored["metadata"]["annotations"][keys.ISOLATION] == "soft"


def test_pods_without_native_devices_are_not_migrated(world, pod) -> None:
    assert decide(world, pod(enabled=False), auto()) == UNCHANGED


def test_what_the_rules_leave_native_is_placed_by_us_under_progressive_migration(world, pod) -> None:
    both = Migration(progressive=True, auto=auto("{excludes: {namespaceNames: [team]}}").auto)
    assert decide(world, pod(enabled=False, containers=[NATIVE]), both).ops == (TO_US,)


def test_a_namespace_that_rules_look_at_and_nobody_knows_is_looked_up(world, pod, monkeypatch) -> None:
    monkeypatch.setattr(world, "namespace", lambda _: None)
    rules = auto("{includes: {namespaceSelector: {matchLabels: {tier: gpu}}}}")
    denial = decide(world, pod(enabled=False, containers=[NATIVE]), rules).denial
    assert denial.missing.resource is r.NAMESPACES


# --- the file ---


def test_a_file_is_read_as_far_as_this_version_knows_it() -> None:
    text = "metricsTTL: 30d\nalertRules: [{name: x}]\nautoMigration:\n  enable: true\n"
    assert parse_config(text) == DynamicConfig(auto_migration=AutoMigration(enable=True))
    assert parse_config("") == DynamicConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("autoMigration: [", "wanted YAML"),
        ("- a", "Expected `object`"),
        ("autoMigration: {enable: 'yes'}", r"Expected `bool`, got `str` - at `\$.autoMigration.enable`"),
        ("autoMigration: {enabled: true}", "unknown field `enabled`"),
        (
            "autoMigration: {scope: {includes: {namespaces: [a]}}}",
            r"`namespaces` - at `\$.autoMigration.scope.includes`",
        ),
        (
            "autoMigration: {scope: {includes: {podSelector: {matchExpressions: [{key: a, operator: Is}]}}}}",
            "found 'Is'",
        ),
    ],
)
def test_a_file_that_cannot_be_understood_names_the_key(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"config.yaml: .*{words}"):
        parse_config(text)


def test_whose_pods_may_be_evicted_is_read_from_the_file_where_it_says_so() -> None:
    assert parse_config("preemptClusterWideFromEnv: true").preempt_cluster_wide is True
    assert parse_config("preemptClusterWideFromEnv: false").preempt_cluster_wide is False
    assert parse_config("").preempt_cluster_wide is None
    with pytest.raises(ConfigError, match="preemptClusterWideFromEnv"):
        parse_config("preemptClusterWideFromEnv: sometimes")
