"""Which requests an audit policy writes down, and what becomes of a policy that cannot be used."""

import pytest

from tensorfusion.embedded.access.users import AUTHENTICATED, User, service_account
from tensorfusion.embedded.audit.policy import DEFAULT, Policy, Stage, Subject, parse_policy
from tensorfusion.errors import ConfigError

ALICE = User("alice", ("team", AUTHENTICATED))
OURS = service_account("tensor-fusion-sys", "tensor-fusion-controller", "1")


def subject(verb: str, resource: str = "pods", **parts: str) -> Subject:
    return Subject(verb, "/api/v1/x", resource=resource, **parts)


def policy(text: str) -> Policy:
    return parse_policy(b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + text.encode(), "policy.yaml")


@pytest.mark.parametrize(
    ("user", "what", "written"),
    [
        (ALICE, subject("create"), True),
        (ALICE, subject("delete", group="apps", name="d"), True),
        (ALICE, subject("get"), False),
        (ALICE, subject("get", "secrets", name="s"), True),
        (OURS, subject("get", "secrets", name="s"), False),
        (OURS, subject("create"), True),
        (OURS, subject("patch", subresource="status"), False),
        (ALICE, subject("create", "events"), False),
        (ALICE, subject("update", "leases", group="coordination.k8s.io"), False),
        (ALICE, Subject("get", "/version"), False),
    ],
)
def test_the_default_policy_writes_what_people_change_and_looks_at_secrets(user: User, what: Subject, written) -> None:
    assert (Stage.RESPONSE_COMPLETE in DEFAULT.stages(user, what)) is written


def test_the_first_matching_rule_decides() -> None:
    made = policy(
        "- {level: None, users: [alice]}\n- {level: Metadata, verbs: [create], namespaces: [a], "
        "resources: [{group: '', resources: [pods, 'pods/log']}]}\n"
    )
    bob = User("bob")
    assert made.stages(ALICE, subject("create", namespace="a")) == frozenset()
    assert made.stages(bob, subject("create", namespace="a")) == set(Stage)
    assert made.stages(bob, subject("create", namespace="b")) == frozenset()
    assert made.stages(bob, subject("create", namespace="a", subresource="log")) == set(Stage)
    assert made.stages(bob, subject("create", namespace="a", subresource="status")) == frozenset()
    assert made.stages(bob, subject("create", "services", namespace="a")) == frozenset()


@pytest.mark.parametrize(
    ("pattern", "resource", "subresource", "matches"),
    [
        ("*", "pods", "log", True),
        ("pods/*", "pods", "log", True),
        ("pods/*", "pods", "", False),
        ("*/scale", "deployments", "scale", True),
        ("pods", "pods", "log", False),
    ],
)
def test_patterns_of_resources(pattern: str, resource: str, subresource: str, matches: bool) -> None:
    made = policy(f"- {{level: Metadata, resources: [{{resources: ['{pattern}']}}]}}\n")
    assert bool(made.stages(ALICE, subject("get", resource, subresource=subresource))) is matches


def test_paths_and_omitted_stages() -> None:
    made = policy("- {level: Metadata, nonResourceURLs: ['/healthz*', /version], omitStages: [ResponseStarted]}\n")
    assert made.stages(ALICE, Subject("get", "/healthz/etcd")) == {Stage.RESPONSE_COMPLETE}
    assert made.stages(ALICE, Subject("get", "/metrics")) == frozenset()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"[", "wanted a Policy"),
        (b"kind: Pod\napiVersion: v1", "found v1 Pod"),
        (b"rules: [{level: RequestResponse}]", "rules[0].level: wanted None or Metadata"),
        (b"rules: [{level: Metadata, user: [a]}]", "user"),
        (b"rules: 3", "wanted a Policy"),
        (b"\xff\xfe", "wanted a Policy"),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_clear_line(text: bytes, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "policy.yaml")
    assert str(caught.value).startswith("policy.yaml: ")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
