"""What random stories are about: objects, the places in them that may change, and the values that come there."""

from typing import Any

from hypothesis import strategies as st

from asking import config_map, deployment, pod
from two_servers import GROUP

# Any: JSON.
Json = dict[str, Any]

THING: Json = {
    "apiVersion": f"{GROUP}/v1",
    "kind": "Thing",
    "metadata": {"name": "x"},
    "spec": {
        "n": 2,
        "s": "text",
        "set": ["a", "b"],
        "keyed": [{"name": "k", "value": 1}, {"name": "l"}],
        "map": {"m": 1},
    },
}
DEPLOYMENT = deployment("x")
DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "name": "http"}]
DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "x"},
    "spec": {"selector": {"a": "b"}, "ports": [{"name": "web", "port": 80}, {"name": "tls", "port": 443}]},
}
SECRET: Json = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "x"},
    "data": {"k": "aGk="},
    "type": "Opaque",
}
LEASE: Json = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "x"},
    "spec": {"holderIdentity": "me", "leaseDurationSeconds": 5},
}
ROLE: Json = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "x"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
POLICY: Json = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "x"},
    "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"], "ingress": [{}]},
}
ACCOUNT: Json = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "secrets": [{"name": "s"}]}
POD_TEMPLATE: Json = {
    "apiVersion": "v1",
    "kind": "PodTemplate",
    "metadata": {"name": "x"},
    "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod()["spec"]},
}
SLICE: Json = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "x"},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.1.2.3"]}],
    "ports": [{"name": "web", "port": 80}],
}
BASES: dict[str, tuple[Json, str]] = {
    "configmaps": (config_map("x", a="1", b="2"), "/api/v1/namespaces/{namespace}/configmaps"),
    "deployments": (DEPLOYMENT, "/apis/apps/v1/namespaces/{namespace}/deployments"),
    "services": (SERVICE, "/api/v1/namespaces/{namespace}/services"),
    "secrets": (SECRET, "/api/v1/namespaces/{namespace}/secrets"),
    "leases": (LEASE, "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
    "roles": (ROLE, "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"),
    "networkpolicies": (POLICY, "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"),
    "serviceaccounts": (ACCOUNT, "/api/v1/namespaces/{namespace}/serviceaccounts"),
    "podtemplates": (POD_TEMPLATE, "/api/v1/namespaces/{namespace}/podtemplates"),
    "endpointslices": (SLICE, "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
    "things": (THING, f"/apis/{GROUP}/v1/namespaces/{{namespace}}/things"),
}
PLACES: dict[str, list[tuple[str, ...]]] = {
    "configmaps": [("data",), ("data", "a"), ("data", "new"), ("binaryData",), ("binaryData", "b"), ("immutable",)],
    "secrets": [("data",), ("data", "k"), ("stringData", "k"), ("stringData",), ("immutable",), ("type",)],
    "services": [
        ("spec",),
        ("spec", "ports"),
        ("spec", "selector"),
        ("spec", "selector", "a"),
        ("spec", "type"),
        ("spec", "sessionAffinity"),
        ("spec", "externalName"),
    ],
    "deployments": [
        ("spec", "replicas"),
        ("spec", "paused"),
        ("spec", "selector"),
        ("spec", "strategy"),
        ("spec", "strategy", "type"),
        ("spec", "strategy", "rollingUpdate"),
        ("spec", "template"),
        ("spec", "template", "metadata", "labels"),
        ("spec", "template", "spec", "containers"),
        ("spec", "template", "spec", "nodeSelector"),
        ("spec", "minReadySeconds"),
        ("spec", "nope"),
    ],
    "leases": [
        ("spec",),
        ("spec", "holderIdentity"),
        ("spec", "leaseDurationSeconds"),
        ("spec", "leaseTransitions"),
        ("spec", "renewTime"),
        ("spec", "strategy"),
    ],
    "roles": [("rules",), ("aggregationRule",), ("nope",)],
    "networkpolicies": [
        ("spec",),
        ("spec", "podSelector"),
        ("spec", "podSelector", "matchLabels"),
        ("spec", "policyTypes"),
        ("spec", "ingress"),
        ("spec", "egress"),
    ],
    "serviceaccounts": [("secrets",), ("imagePullSecrets",), ("automountServiceAccountToken",)],
    "podtemplates": [
        ("template",),
        ("template", "metadata", "labels"),
        ("template", "spec", "containers"),
        ("template", "spec", "nodeSelector"),
        ("template", "spec", "restartPolicy"),
        ("template", "spec", "tolerations"),
        ("template", "spec", "hostNetwork"),
    ],
    "endpointslices": [("endpoints",), ("ports",), ("addressType",), ("nope",)],
    "things": [
        ("spec",),
        ("spec", "n"),
        ("spec", "s"),
        ("spec", "e"),
        ("spec", "when"),
        ("spec", "maybe"),
        ("spec", "either"),
        ("spec", "set"),
        ("spec", "list"),
        ("spec", "map"),
        ("spec", "map", "z"),
        ("spec", "keyed"),
        ("spec", "free"),
        ("spec", "free", "deep"),
        ("spec", "nope"),
        ("status",),
        ("status", "n"),
    ],
}
COMMON: list[tuple[str, ...]] = [
    ("metadata", "labels"),
    ("metadata", "labels", "l"),
    ("metadata", "annotations"),
    ("metadata", "annotations", "example.com/a"),
    ("metadata", "finalizers"),
    ("metadata", "generateName"),
    ("metadata", "name"),
    ("metadata", "uid"),
    ("metadata", "resourceVersion"),
    ("metadata", "ownerReferences"),
    ("metadata", "generation"),
    ("metadata",),
    ("kind",),
    ("apiVersion",),
]
WORDS = [
    "",
    "a",
    "b",
    "x",
    "text",
    "bad",
    "one",
    "UPPER",
    "a/b",
    "é",
    "aGk=",
    "1Gi",
    "2024-01-01T00:00:00Z",
    "a" * 64,
    "-",
]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 200),
    st.sampled_from([1 << 31, 1 << 62, 0.5, 1e3]),
    st.sampled_from(WORDS),
)
containers = st.fixed_dictionaries(
    {"name": st.sampled_from(["c", "d", ""])},
    optional={
        "image": st.sampled_from(["i:2", ""]),
        "$patch": st.sampled_from(["delete", "replace", "merge", "nope"]),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.integers(0, 90)}), max_size=2),
        "env": st.lists(st.fixed_dictionaries({"name": st.sampled_from(["A", "B"]), "value": leaves}), max_size=2),
    },
)
keyed = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["k", "l", "m", "web"]), "value": leaves, "port": leaves}
)
values = st.one_of(
    leaves,
    st.lists(leaves, max_size=3),
    st.lists(keyed, max_size=3),
    st.lists(containers, max_size=2),
    st.dictionaries(
        st.sampled_from(["a", "b", "l", "name", "matchLabels", "$patch", "$retainKeys", "type"]), leaves, max_size=3
    ),
)


@st.composite
def documents(draw: st.DrawFn, kind: str) -> Json:
    """A partial object: one to three places with any values."""
    found: Json = {}
    places = PLACES[kind] + COMMON
    for place in draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
        *steps, last = place
        inner = found
        for step in steps:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                break
        if isinstance(inner, dict):
            inner[last] = draw(values)
    return found


@st.composite
def operations(draw: st.DrawFn, kind: str) -> list[Json]:
    """A JSON patch."""
    pointers = ["/" + "/".join(one.replace("/", "~1") for one in place) for place in PLACES[kind] + COMMON]
    pointers += ["", "/", "/spec/ports/0", "/spec/set/-", "/spec/set/9", "/spec/keyed/0/value", "/nope/deep", "nope"]
    found: list[Json] = []
    for _ in range(draw(st.integers(0, 3))):
        step: Json = {"op": draw(st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nope"]))}
        step["path"] = draw(st.sampled_from(pointers))
        if draw(st.booleans()) or step["op"] in ("add", "replace", "test"):
            step["value"] = draw(values)
        if step["op"] in ("move", "copy"):
            step["from"] = draw(st.sampled_from(pointers))
        found.append(step)
    return found


def pod_of(name: str) -> tuple[Json, str]:
    """A pod that no scheduler looks at, and its collection."""
    made = pod(name, schedulerName="nobody", terminationGracePeriodSeconds=1)
    return {
        **made,
        "spec": {**made["spec"], "automountServiceAccountToken": False},
    }, "/api/v1/namespaces/{namespace}/pods"


def merged(base: Any, changes: Any) -> Any:
    """``base`` with changes merged into it; nulls stay."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{key: merged(base.get(key), value) for key, value in changes.items()}}
