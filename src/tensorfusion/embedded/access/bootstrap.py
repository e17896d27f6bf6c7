"""The roles that every cluster starts with, and what makes them exist.

``admin``, ``edit`` and ``view`` gather every ClusterRole with their aggregation label, as in a real cluster, so that
kinds that come later can join them. Objects that exist keep what an administrator made of them; roles only get the
rules that they lack, unless their annotation ``rbac.authorization.kubernetes.io/autoupdate`` says ``"false"``.

Source: Kubernetes, "Default roles and role bindings".
"""

from collections.abc import Iterator, Sequence

from tensorfusion.embedded.access.tokens import ISSUER_PATH, KEYS_PATH
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.model.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES

_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_UPDATE = {_AUTO_UPDATE: "true"}
_API = CLUSTER_ROLES.api_version
_GROUP = CLUSTER_ROLES.group
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_EVERY = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")

_PROBES = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", *_PROBES, "/openapi", "/openapi/*")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SEEN = _words(
    "bindings configmaps endpoints events limitranges namespaces namespaces/status persistentvolumeclaims "
    "persistentvolumeclaims/status pods pods/log pods/status replicationcontrollers replicationcontrollers/scale "
    "replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts services services/status"
)
_WRITTEN = _words(
    "configmaps endpoints events persistentvolumeclaims pods pods/attach pods/eviction pods/exec pods/portforward "
    "pods/proxy replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services "
    "services/proxy"
)
_READ_TO_EDIT = _words("pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy")
"""Streams over WebSocket are GET requests."""
_APPS_SEEN = _words(
    "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
    "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"
)
_APPS_WRITTEN = _words(
    "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
    "statefulsets/scale"
)

_ISSUER = "system:service-account-issuer-discovery"
_OF_ISSUER = tuple(f"{path}{end}" for path in (ISSUER_PATH, KEYS_PATH) for end in ("", "/"))


def _rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str]) -> JsonObject:
    return {"apiGroups": list(groups), "resources": list(resources), "verbs": list(verbs)}


def _urls(urls: Sequence[str]) -> JsonObject:
    return {"nonResourceURLs": list(urls), "verbs": ["get"]}


def _role(name: str, *rules: JsonObject, into: str = "") -> JsonObject:
    labels = {**_LABELS, **({f"{_GROUP}/aggregate-to-{into}": "true"} if into else {})}
    return {
        "apiVersion": _API,
        "kind": CLUSTER_ROLES.kind,
        "metadata": {"name": name, "labels": labels, "annotations": dict(_UPDATE)},
        "rules": list(rules),
    }


def _gathering(name: str, *, into: str = "") -> JsonObject:
    role = _role(name, into=into)
    del role["rules"]
    role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_GROUP}/aggregate-to-{name}": "true"}}]}
    return role


def cluster_roles() -> list[JsonObject]:
    """The bootstrap ClusterRoles."""
    return [
        _role("cluster-admin", _rule("*", "*", "*"), {"nonResourceURLs": ["*"], "verbs": ["*"]}),
        _role("system:discovery", _urls(_DISCOVERY)),
        _role("system:public-info-viewer", _urls(_PROBES)),
        _role(_ISSUER, _urls(_OF_ISSUER)),
        _role("system:monitoring", _urls(("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz"))),
        _role(
            "system:basic-user",
            _rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
            _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
        ),
        _role(
            "system:auth-delegator",
            _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
            _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
        ),
        _gathering("admin"),
        _gathering("edit", into="admin"),
        _gathering("view", into="edit"),
        _role(
            "system:aggregate-to-view",
            _rule([""], _SEEN, _READ),
            _rule(["apps"], _APPS_SEEN, _READ),
            _rule(["autoscaling"], ["horizontalpodautoscalers", "horizontalpodautoscalers/status"], _READ),
            _rule(["batch"], ["cronjobs", "cronjobs/status", "jobs", "jobs/status"], _READ),
            _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
            _rule(["networking.k8s.io"], ["ingresses", "ingresses/status", "networkpolicies"], _READ),
            _rule(["policy"], ["poddisruptionbudgets", "poddisruptionbudgets/status"], _READ),
            _rule(["resource.k8s.io"], ["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"], _READ),
            _rule(["events.k8s.io"], ["events"], _READ),
            into="view",
        ),
        _role(
            "system:aggregate-to-edit",
            _rule([""], _WRITTEN, _WRITE),
            _rule([""], _READ_TO_EDIT, _READ),
            _rule([""], ["serviceaccounts"], ["impersonate"]),
            _rule([""], ["serviceaccounts/token"], ["create"]),
            _rule(["apps"], _APPS_WRITTEN, _WRITE),
            _rule(["autoscaling"], ["horizontalpodautoscalers"], _WRITE),
            _rule(["batch"], ["cronjobs", "jobs"], _WRITE),
            _rule(["networking.k8s.io"], ["ingresses", "networkpolicies"], _WRITE),
            _rule(["policy"], ["poddisruptionbudgets"], _WRITE),
            _rule(["resource.k8s.io"], ["resourceclaims", "resourceclaimtemplates"], _WRITE),
            _rule(["coordination.k8s.io"], ["leases"], _EVERY),
            _rule(["events.k8s.io"], ["events"], _WRITE),
            into="edit",
        ),
        _role(
            "system:aggregate-to-admin",
            _rule([_GROUP], ["rolebindings", "roles"], _EVERY),
            _rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
            into="admin",
        ),
    ]


def with_missing_rules(role: JsonObject, wanted: JsonObject) -> JsonObject | None:
    """A stored role with the bootstrap rules that it lacks, None when there is nothing to add or nobody may add it."""
    annotations = role["metadata"].get("annotations") or {}
    if annotations.get(_AUTO_UPDATE) != "true":
        return None
    rules = role.get("rules") or []
    missing = [rule for rule in wanted.get("rules") or () if rule not in rules]
    return {**role, "rules": [*rules, *missing]} if missing else None


def cluster_role_bindings() -> list[JsonObject]:
    """The bootstrap ClusterRoleBindings."""
    groups = {
        "cluster-admin": ("system:masters",),
        "system:discovery": ("system:authenticated",),
        "system:basic-user": ("system:authenticated",),
        "system:public-info-viewer": ("system:authenticated", "system:unauthenticated"),
        "system:monitoring": ("system:monitoring",),
        _ISSUER: ("system:serviceaccounts",),
    }
    return [
        {
            "apiVersion": _API,
            "kind": CLUSTER_ROLE_BINDINGS.kind,
            "metadata": {"name": role, "labels": dict(_LABELS), "annotations": dict(_UPDATE)},
            "roleRef": {"apiGroup": _GROUP, "kind": CLUSTER_ROLES.kind, "name": role},
            "subjects": [{"kind": "Group", "apiGroup": _GROUP, "name": group} for group in members],
        }
        for role, members in groups.items()
    ]


def priority_classes() -> list[JsonObject]:
    """The two classes that every cluster has."""
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
        }
        for name, value, description in (
            (
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
            (
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node.",
            ),
        )
    ]


def bootstrap_objects() -> Iterator[JsonObject]:
    """Everything above, in the order it has to be made in."""
    yield from priority_classes()
    yield from cluster_roles()
    yield from cluster_role_bindings()
