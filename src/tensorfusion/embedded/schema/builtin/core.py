"""Rules of the small core kinds: configuration, secrets, nodes, events, priority classes and RBAC bindings.

Source: kubernetes pkg/apis/{core,scheduling,rbac}/validation, texts seen through a real server.
"""

import json
import re
from base64 import b64decode

import msgspec

from tensorfusion.embedded.json_words import MOST_SCANNED, complaint, of_another_type
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector
from tensorfusion.embedded.schema.builtin.workloads import check_template
from tensorfusion.embedded.schema.metadata import check_data_keys
from tensorfusion.embedded.schema.names import config_key, label, label_value, qualified_name, subdomain
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    TOO_LONG,
    complain,
    duplicate,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

DATA_BYTES = 1 << 20
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_DOCKER_KEYS = {kind: keys for kind, keys in _SECRET_KEYS.items() if kind.startswith("kubernetes.io/dockerc")}
_ACCOUNT = "kubernetes.io/service-account.name"
_RBAC_GROUP = "rbac.authorization.k8s.io"
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_SUBJECTS = ("User", "Group", "ServiceAccount")
_PERCENT_NAMED = re.compile(r"[/%]").search


def check_config_map(config_map: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_data(config_map, ("data", "binaryData"), (None, Member("")), problems)
    for key in sorted((config_map.get("data") or {}).keys() & (config_map.get("binaryData") or {}).keys()):
        complain(problems, ((None, "data"), Member(key)), key, ["duplicate of key present in binaryData"])
    if old is not None:
        _check_frozen(config_map, old, ("data", "binaryData"), problems)


def check_secret(secret: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_data(secret, ("data",), (None, "data"), problems)
    kind, data = secret.get("type", ""), secret.get("data") or {}
    for key in _DOCKER_KEYS.get(kind, ()):
        if key in data:
            complain(problems, ((None, "data"), Member(key)), "<secret contents redacted>", _no_config(data[key]))
    missing = [key for key in _SECRET_KEYS.get(kind, ()) if not data.get(key) and not (key in data and _empty(kind))]
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        missing = ["username", "password"]
    problems.extend(Problem(((None, "data"), Member(key)), required(), REQUIRED) for key in missing)
    metadata = secret.get("metadata") or {}
    if kind == "kubernetes.io/service-account-token" and not (metadata.get("annotations") or {}).get(_ACCOUNT):
        at: Path = (((None, "metadata"), "annotations"), Member(_ACCOUNT))
        problems.append(Problem(at, required(), REQUIRED))
    if old is not None:
        if kind != old.get("type", ""):
            complain(problems, (None, "type"), kind, [IMMUTABLE])
        _check_frozen(secret, old, ("data",), problems)


def _empty(kind: str) -> bool:
    """Whether what a secret of a type must have may be empty, or is refused for that elsewhere."""
    return kind != "kubernetes.io/ssh-auth"


def _no_config(data: str) -> list[str]:
    """Why the configuration of a registry's client is none; ``data`` is in base64."""
    text = b64decode(data)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = complaint(text) if len(text) <= MOST_SCANNED else str(error)
        if why:
            return [why]
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return []  # a real server would find nothing
    return [] if isinstance(found, dict | None) else [of_another_type(found, "map[string]interface {}")]


def _check_data(obj: Raw, fields: tuple[str, ...], place: Path, problems: list[Problem]) -> None:
    """``place`` is what is named when it is too much in all: for a ConfigMap, nothing."""
    size = 0
    for field in fields:
        data = obj.get(field)
        if data:
            check_data_keys(data, (None, field), config_key, problems)
            size += sum(len(value) if field == "data" else len(value) * 3 // 4 for value in data.values())
    if size > DATA_BYTES:
        problems.append(Problem(place, f"Too long: may not be more than {DATA_BYTES} bytes", TOO_LONG))


def _check_frozen(obj: Raw, old: Raw, fields: tuple[str, ...], problems: list[Problem]) -> None:
    if not old.get("immutable"):
        return
    text = forbidden("field is immutable when `immutable` is set")
    if not obj.get("immutable"):
        problems.append(Problem((None, "immutable"), text, FORBIDDEN))
    changed = [field for field in fields if (obj.get(field) or {}) != (old.get(field) or {})]
    problems.extend(Problem((None, field), text, FORBIDDEN) for field in changed)


def check_node(node: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = node.get("spec") or {}
    at: Path = ((None, "metadata"), "taints")
    seen: set[tuple[object, object]] = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        key, effect = taint.get("key", ""), taint.get("effect")
        complain(problems, ((at, index), "key"), key, qualified_name(key))
        complain(problems, ((at, index), "value"), taint.get("value", ""), label_value(taint.get("value", "")))
        if not effect:
            problems.append(Problem(((at, index), "effect"), required(), REQUIRED))
        elif effect not in _EFFECTS:
            problems.append(Problem(((at, index), "effect"), unsupported(effect, _EFFECTS), NOT_SUPPORTED))
        if (key, effect) in seen:
            text = f"{duplicate(taint)}: taints must be unique by key and effect pair"
            problems.append(Problem((at, index), text, DUPLICATE))
        seen.add((key, effect))
    if old is not None:
        _check_node_update(spec, old.get("spec") or {}, problems)


def _check_node_update(spec: Raw, old: Raw, problems: list[Problem]) -> None:
    if old.get("podCIDRs") and spec.get("podCIDRs") != old["podCIDRs"]:
        text = forbidden('node updates may not change podCIDR except from "" to valid')
        problems.append(Problem(((None, "spec"), "podCIDRs"), text, FORBIDDEN))
    if old.get("providerID") and spec.get("providerID") != old["providerID"]:
        text = forbidden('node updates may not change providerID except from "" to valid')
        problems.append(Problem(((None, "spec"), "providerID"), text, FORBIDDEN))


def check_event(event: Raw, old: Raw | None, problems: list[Problem]) -> None:
    involved = (event.get("involvedObject") or {}).get("namespace", "")
    namespace = (event.get("metadata") or {}).get("namespace", "")
    at: Path = ((None, "involvedObject"), "namespace")
    if event.get("eventTime"):
        if not involved and namespace not in ("default", "kube-system"):
            complain(problems, at, involved, ["does not match event.namespace"])
        missing = [field for field in _EVENT_NEEDS if not event.get(field)]
        problems.extend(Problem((None, field), required(), REQUIRED) for field in missing)
        if "reportingComponent" in missing:
            complain(problems, (None, "reportingComponent"), "", qualified_name(""))
        for field, most in _EVENT_TEXTS:
            if len(event.get(field, "")) > most:
                complain(problems, (None, field), "", [f"can have at most {most} characters"])
    elif namespace and (involved or "default") != namespace:
        complain(problems, at, involved, ["does not match event.namespace"])


def check_new_event(event: Raw, old: Raw | None, problems: list[Problem]) -> None:
    """The stricter rules of ``events.k8s.io``, for new events only; they speak of fields by their stored names."""
    if not event.get("eventTime"):
        problems[:] = [problem for problem in problems if problem.path not in _OF_TIMED]
    kind = event.get("type", "")
    if kind not in ("Normal", "Warning"):
        complain(problems, (None, "type"), "", [f"has invalid value: {kind}"])
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if event.get(f"deprecated{field[0].upper()}{field[1:]}"):
            complain(problems, (None, field), "", ["needs to be unset"])


_EVENT_NEEDS = ("reportingComponent", "reportingInstance", "action", "reason")
_EVENT_TEXTS = (("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024))
_OF_TIMED = tuple((None, field) for field in ("action", "reason", "reportingController", "reportingInstance"))


def check_namespace(namespace: Raw, old: Raw | None, problems: list[Problem]) -> None:
    for index, finalizer in enumerate((namespace.get("spec") or {}).get("finalizers") or ()):
        at: Path = ((None, "spec"), "finalizers")
        if old is not None:
            at = (at, index)
        complain(problems, at, finalizer, qualified_name(finalizer))
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            complain(problems, at, finalizer, [text])


def check_priority_class(priority_class: Raw, old: Raw | None, problems: list[Problem]) -> None:
    name = (priority_class.get("metadata") or {}).get("name", "")
    if name in SYSTEM_PRIORITIES:  # the two classes that may lie above the users' range
        if priority_class.get("value") == SYSTEM_PRIORITIES[name]:
            problems[:] = [problem for problem in problems if problem.path != (None, "value")]
    elif name.startswith("system-"):
        text = (
            "priority class names with 'system-' prefix are reserved for system use only. error: "
            f"{name} is not a known system priority class"
        )
        problems.append(Problem(((None, "metadata"), "name"), forbidden(text), FORBIDDEN))
    if old is None:
        return
    if priority_class.get("value") != old.get("value"):
        problems.append(Problem((None, "value"), forbidden("may not be changed in an update."), FORBIDDEN))
    policy = priority_class.get("preemptionPolicy")
    if policy != old.get("preemptionPolicy"):
        complain(problems, (None, "preemptionPolicy"), policy, [IMMUTABLE])


def check_role(role: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_rules(role, problems, namespaced=True)


def check_cluster_role(role: Raw, old: Raw | None, problems: list[Problem]) -> None:
    aggregation = role.get("aggregationRule")
    at: Path = ((None, "aggregationRule"), "clusterRoleSelectors")
    stated = aggregation is None or bool(aggregation.get("clusterRoleSelectors"))
    if not stated and not any(problem.path == at for problem in problems):
        text = required("at least one clusterRoleSelector required if aggregationRule is non-nil")
        problems.append(Problem(at, text, REQUIRED))
    for index, selector in enumerate((aggregation or {}).get("clusterRoleSelectors") or ()):
        before = len(problems)
        check_label_selector(selector, (at, index), problems)
        if len(problems) > before:
            complain(problems, (at, index), None, ["invalid label selector."])
    _check_rules(role, problems, namespaced=False)


def _check_rules(role: Raw, problems: list[Problem], *, namespaced: bool) -> None:
    for index, rule in enumerate(role.get("rules") or ()):
        at: Path = ((None, "rules"), index)
        urls = rule.get("nonResourceURLs")
        if urls:
            if namespaced:
                complain(
                    problems, (at, "nonResourceURLs"), urls, ["namespaced rules cannot apply to non-resource URLs"]
                )
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                complain(problems, (at, "nonResourceURLs"), urls, [text])
            continue
        for field, what in (("apiGroups", "api group"), ("resources", "resource")):
            if not rule.get(field):
                text = required(f"resource rules must supply at least one {what}")
                problems.append(Problem((at, field), text, REQUIRED))


def check_role_binding(binding: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_role_reference(binding, ("Role", "ClusterRole"), old, problems)


def check_cluster_role_binding(binding: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_role_reference(binding, ("ClusterRole",), old, problems)


def _check_role_reference(binding: Raw, kinds: tuple[str, ...], old: Raw | None, problems: list[Problem]) -> None:
    reference = binding.get("roleRef") or {}
    kind, name = reference.get("kind"), reference.get("name", "")
    if kind not in kinds:
        problems.append(Problem(((None, "roleRef"), "kind"), unsupported(kind or "", kinds), NOT_SUPPORTED))
    if _PERCENT_NAMED(name):
        complain(problems, ((None, "roleRef"), "name"), name, [f"may not contain '{'/' if '/' in name else '%'}'"])
    wrong = {problem.path for problem in problems}
    for index, subject in enumerate(binding.get("subjects") or ()):
        at: Path = ((None, "subjects"), index)
        if subject.get("kind", "") not in _SUBJECTS:
            if (at, "kind") not in wrong:
                text = unsupported(subject.get("kind", ""), ("ServiceAccount", "User", "Group"))
                problems.append(Problem((at, "kind"), text, NOT_SUPPORTED))
        elif subject["kind"] == "ServiceAccount" and subject.get("name"):
            complain(problems, (at, "name"), subject["name"], subdomain(subject["name"]))
        if subject.get("kind") == "ServiceAccount" and len(kinds) == 1 and not subject.get("namespace"):
            problems.append(Problem((((None, "subjects"), index), "namespace"), required(), REQUIRED))
        wanted = "" if subject.get("kind") == "ServiceAccount" else _RBAC_GROUP
        if subject.get("apiGroup", "") != wanted and subject.get("kind") in _SUBJECTS:
            text = unsupported(subject.get("apiGroup", ""), (wanted,))
            problems.append(Problem((((None, "subjects"), index), "apiGroup"), text, NOT_SUPPORTED))
    if old is not None and reference != old.get("roleRef"):
        complain(problems, (None, "roleRef"), reference, ["cannot change roleRef"])


def check_controller_revision(revision: Raw, old: Raw | None, problems: list[Problem]) -> None:
    data = revision.get("data")
    if old is not None:
        if data != old.get("data"):
            complain(problems, (None, "data"), data, [IMMUTABLE])
    elif data is not None and not isinstance(data, dict):
        problems.append(Problem((None, "data"), required("data must be a valid JSON object"), REQUIRED))


def check_pod_template(template: Raw, old: Raw | None, problems: list[Problem]) -> None:
    check_template(template.get("template") or {}, (None, "template"), problems)


def check_runtime_class(runtime_class: Raw, old: Raw | None, problems: list[Problem]) -> None:
    handler = runtime_class.get("handler") or ""
    if not handler:
        complain(problems, (None, "handler"), handler, label(handler))
    if old is not None and handler != (old.get("handler") or ""):
        complain(problems, (None, "handler"), handler, [IMMUTABLE])


def check_ingress_class(ingress_class: Raw, old: Raw | None, problems: list[Problem]) -> None:
    controller = (ingress_class.get("spec") or {}).get("controller", "")
    at: Path = ((None, "spec"), "controller")
    if old is not None and controller != (old.get("spec") or {}).get("controller", ""):
        complain(problems, at, controller, [IMMUTABLE])
    if controller and "/" not in controller:
        complain(problems, at, controller, ['must be a domain-prefixed path (such as "acme.io/foo")'])
