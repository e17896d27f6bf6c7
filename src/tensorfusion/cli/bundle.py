"""What has to exist in a cluster before our components run: CRDs, namespace, service accounts, least-privilege roles,
priority classes, and what is known of the vendors' devices. The same objects for the embedded API and for a real one.

Apart from ``up`` because a real cluster gets them too. Each role names only what its component uses.
"""

import asyncio
from collections.abc import Iterator, Mapping

import msgspec

from tensorfusion.errors import AlreadyExists, NotFound, ServerError
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.crd import all_crds
from tensorfusion.model.meta import Raw
from tensorfusion.model.provider_config import ProviderConfig, ProviderConfigSpec
from tensorfusion.model.provider_defaults import provider_specs
from tensorfusion.model.wire import merge_patch, to_wire
from tensorfusion.policy.names import template_hash

TENANT_ROLE = "tensor-fusion-tenant"
"""What every user sees of the cluster beyond its namespace: the offer, never what others may do with it."""

SHIPPED_HASH = f"{keys.DOMAIN}/shipped-hash"
"""Annotation of a shipped ProviderConfig: what was installed, so that an edit is noticed and kept."""

_DEFINITION_TRIES, _DEFINITION_PAUSE = 100, 0.1

WORKLOADS_ACCOUNT = "tensor-fusion-workloads"
"""Identity of the embedded cluster's controllers of built-in kinds."""

_READ = ["get", "list", "watch"]
_ALL = [*_READ, "create", "update", "patch", "delete"]


def _rule(groups: str | list[str], resources: list[str], verbs: list[str]) -> Raw:
    return {"apiGroups": [groups] if isinstance(groups, str) else groups, "resources": resources, "verbs": verbs}


_CONTROLLER_RULES = [
    _rule("", ["pods"], [*_READ, "create", "patch", "delete"]),  # workers of fixed workloads
    _rule("", ["pods/binding", "pods/eviction"], ["create"]),
    _rule("policy", ["poddisruptionbudgets"], _READ),
    _rule("", ["pods/status"], ["patch"]),
    _rule("", ["nodes"], [*_READ, "patch"]),
    _rule("", ["namespaces", "services"], _READ),
    _rule("", ["events"], ["create", "patch"]),
    _rule("apps", ["deployments"], _READ),
    # the counters of canaries
    _rule("apps", ["replicasets", "statefulsets", "daemonsets"], [*_READ, "patch"]),
    _rule("batch", ["jobs"], [*_READ, "patch"]),
    _rule("", ["replicationcontrollers"], [*_READ, "patch"]),
    _rule("coordination.k8s.io", ["leases"], _ALL),
    _rule("scheduling.k8s.io", ["priorityclasses"], _READ),
    _rule(keys.DOMAIN, ["*"], _ALL),
    _rule(
        "admissionregistration.k8s.io",
        ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        [*_READ, "create", "update", "patch"],
    ),
    {"nonResourceURLs": ["/api/assign-host-port", "/api/assign-index"], "verbs": ["get", "post"]},
    _rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
    _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
]

_HYPERVISOR_RULES = [
    _rule("", ["nodes"], [*_READ, "create", "patch", "delete"]),
    _rule("", ["nodes/status"], ["patch"]),
    _rule("", ["pods"], [*_READ, "delete"]),
    _rule("", ["pods/status"], ["patch"]),
    _rule("", ["events"], ["create", "patch"]),
    _rule("coordination.k8s.io", ["leases"], [*_READ, "create", "update", "patch"]),
    _rule(keys.DOMAIN, ["gpus"], [*_READ, "create", "patch", "delete"]),
    _rule(keys.DOMAIN, ["gpus/status", "gpunodes/status"], ["patch"]),
    _rule(keys.DOMAIN, ["gpunodes", "gpupools"], _READ),
]

_OWNERS = {
    "": ["pods", "services"],
    "apps": ["deployments", "replicasets", "statefulsets", "daemonsets"],
    "batch": ["jobs", "cronjobs"],
}
"""What owns objects that the built-in controllers make."""

_WORKLOADS_RULES = [
    _rule("", ["pods"], _ALL),
    _rule("", ["pods/status"], ["patch"]),
    _rule("", ["events"], ["create", "patch"]),
    _rule("", ["nodes"], ["get", "patch"]),
    _rule("", ["services"], _READ),
    _rule("", ["endpoints"], _ALL),
    _rule("", ["persistentvolumeclaims"], [*_READ, "create", "patch"]),
    _rule("", ["persistentvolumes"], ["create", "delete"]),
    _rule("", ["persistentvolumeclaims/status", "persistentvolumes/status"], ["patch"]),
    _rule("apps", ["deployments", "replicasets", "controllerrevisions"], _ALL),
    _rule("apps", ["statefulsets", "daemonsets"], _READ),
    _rule("batch", ["jobs"], [*_READ, "create", "delete"]),
    _rule("batch", ["cronjobs"], _READ),
    _rule("discovery.k8s.io", ["endpointslices"], _ALL),
    _rule("policy", ["poddisruptionbudgets"], _READ),
    _rule("policy", ["poddisruptionbudgets/status"], ["patch"]),
    _rule("resource.k8s.io", ["resourceclaims"], [*_READ, "create", "delete"]),
    _rule("resource.k8s.io", ["resourceclaimtemplates"], _READ),
    *(_rule(group, [f"{kind}/status" for kind in _OWNERS[group]], ["patch"]) for group in ("apps", "batch")),
    *(_rule(group, [f"{kind}/finalizers" for kind in kinds], ["update"]) for group, kinds in _OWNERS.items()),
]

_PROCESS_NODE_RULES = [
    _rule("", ["nodes"], ["get", "create", "patch"]),
    _rule("", ["nodes/status"], ["patch"]),
    _rule("", ["pods"], [*_READ, "delete"]),
    _rule("", ["pods/status"], ["patch"]),
    _rule("", ["services"], _READ),
    _rule("", ["events"], ["create", "patch"]),
    _rule("coordination.k8s.io", ["leases"], ["create", "patch"]),
]
"""The embedded API adds the ConfigMaps and Secrets that the node's own pods name."""

_GATEWAY_RULES = [
    _rule(keys.DOMAIN, ["llmroutes", "llmkeys", "azuregpusources"], _READ),
    _rule(keys.DOMAIN, ["llmroutes/status", "llmkeys/status"], ["patch"]),
    _rule("", ["services"], _READ),
    _rule("discovery.k8s.io", ["endpointslices"], _READ),
    _rule("", ["events"], ["create", "patch"]),
]
GATEWAY_CREDENTIALS = f"{keys.GATEWAY_ACCOUNT}-credentials"
"""Leave to read Secrets. The gateway asks for those that targets name, by name; which those are, tenants decide. So it
is bound over the whole cluster, apart from everything else, and may be bound in single namespaces instead."""

GATEWAY_KEYS = f"{keys.GATEWAY_ACCOUNT}-keys"
"""Leave to make, change and delete LLMKeys, for keys with scope ``admin`` that do so over HTTP. Bound over the whole
cluster, apart like the credentials, so that it may be taken away or bound in single namespaces."""

ACCOUNTS = {
    keys.CONTROLLER_ACCOUNT: _CONTROLLER_RULES,
    keys.HYPERVISOR_ACCOUNT: _HYPERVISOR_RULES,
    WORKLOADS_ACCOUNT: _WORKLOADS_RULES,
    keys.GATEWAY_ACCOUNT: _GATEWAY_RULES,
}
PROCESS_NODE_ACCOUNTS = {**ACCOUNTS, keys.PROCESS_NODE_ACCOUNT: _PROCESS_NODE_RULES}
"""The accounts of a cluster with a process node."""


_TENANT_RULES = [
    _rule(keys.DOMAIN, ["gpus", "gpunodes", "gpupools", "schedulingconfigtemplates"], _READ),
    {"nonResourceURLs": ["/api/simulate-schedule"], "verbs": ["post"]},
]
_NAMESPACE_KINDS = ["tensorfusionconnections", "tensorfusionworkloads", "workloadprofiles"]
_AGGREGATED = {
    "view": [_rule(keys.DOMAIN, ["gpuresourcequotas", "llmkeys", *_NAMESPACE_KINDS], _READ)],
    "edit": [_rule(keys.DOMAIN, _NAMESPACE_KINDS, ["create", "update", "patch", "delete", "deletecollection"])],
    # who makes keys sets their limits: the business of who gives rights in the namespace
    "admin": [_rule(keys.DOMAIN, ["llmkeys"], ["create", "update", "patch", "delete", "deletecollection"])],
}
"""What our kinds add to the cluster's own roles; ``admin`` includes ``edit``, and ``edit`` includes ``view``."""


def user_roles() -> Iterator[tuple[r.Resource, Raw]]:
    """The roles of people: one over the cluster, and what joins view, edit and admin of their namespaces."""
    yield r.CLUSTER_ROLES, {**_object(r.CLUSTER_ROLES, TENANT_ROLE), "rules": _TENANT_RULES}
    for role, rules in _AGGREGATED.items():
        body = _object(r.CLUSTER_ROLES, f"tensor-fusion-{role}")
        body["metadata"]["labels"] |= {f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"}
        yield r.CLUSTER_ROLES, {**body, "rules": rules}


def account_objects(accounts: Mapping[str, list[Raw]]) -> Iterator[tuple[r.Resource, Raw]]:
    """Namespace, service accounts and their roles."""
    yield r.NAMESPACES, _object(r.NAMESPACES, keys.SYSTEM_NAMESPACE)
    for account, rules in accounts.items():
        yield r.SERVICE_ACCOUNTS, _object(r.SERVICE_ACCOUNTS, account, namespace=keys.SYSTEM_NAMESPACE)
        yield r.CLUSTER_ROLES, {**_object(r.CLUSTER_ROLES, account), "rules": rules}
        yield r.CLUSTER_ROLE_BINDINGS, _bound(account, account)


def own_namespace_roles() -> Iterator[tuple[r.Resource, Raw]]:
    """Leave to use objects of our own namespace: the dynamic configuration and what was assigned to pods, and the Lease
    of the gateway that writes the status of routes."""
    config = [_rule("", ["configmaps"], [*_READ, "create", "patch"])]
    yield from _own_role(keys.CONTROLLER_ACCOUNT, "config", config)
    leases = _rule("coordination.k8s.io", ["leases"], ["create"])
    held = {**_rule("coordination.k8s.io", ["leases"], ["get", "patch"]), "resourceNames": [keys.GATEWAY_LEASE]}
    yield from _own_role(keys.GATEWAY_ACCOUNT, "lease", [leases, held])


def _own_role(account: str, what: str, rules: list[Raw]) -> Iterator[tuple[r.Resource, Raw]]:
    name = f"{account}-{what}"
    yield r.ROLES, {**_object(r.ROLES, name, namespace=keys.SYSTEM_NAMESPACE), "rules": rules}
    yield (
        r.ROLE_BINDINGS,
        {
            **_object(r.ROLE_BINDINGS, name, namespace=keys.SYSTEM_NAMESPACE),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [_subject(account)],
        },
    )


def gateway_extras() -> Iterator[tuple[r.Resource, Raw]]:
    """See ``GATEWAY_CREDENTIALS`` and ``GATEWAY_KEYS``."""
    for role, rule in (
        (GATEWAY_CREDENTIALS, _rule("", ["secrets"], _READ)),
        (GATEWAY_KEYS, _rule(keys.DOMAIN, ["llmkeys"], ["create", "patch", "delete"])),
    ):
        yield r.CLUSTER_ROLES, {**_object(r.CLUSTER_ROLES, role), "rules": [rule]}
        yield r.CLUSTER_ROLE_BINDINGS, _bound(role, keys.GATEWAY_ACCOUNT)


def _bound(role: str, account: str) -> Raw:
    return {
        **_object(r.CLUSTER_ROLE_BINDINGS, role),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [_subject(account)],
    }


def _subject(account: str) -> Raw:
    return {"kind": "ServiceAccount", "name": account, "namespace": keys.SYSTEM_NAMESPACE}


def priority_classes() -> Iterator[tuple[r.Resource, Raw]]:
    """The classes that admission gives to pods of high and critical quality of service."""
    for name, value in keys.PRIORITY_VALUES.items():
        yield (
            r.PRIORITY_CLASSES,
            {
                **_object(r.PRIORITY_CLASSES, name),
                "value": value,
                "description": f"Priority of GPU workloads of QoS {name.removeprefix('tensor-fusion-')}.",
            },
        )


def bundle(accounts: Mapping[str, list[Raw]] = ACCOUNTS) -> Iterator[tuple[r.Resource, Raw]]:
    """Every object, in the order in which they can be created."""
    for crd in all_crds():
        yield r.CUSTOM_RESOURCE_DEFINITIONS, crd
    yield from account_objects(accounts)
    yield from user_roles()
    yield from own_namespace_roles()
    yield from gateway_extras()
    yield from priority_classes()


async def install(client: Api, accounts: Mapping[str, list[Raw]] = ACCOUNTS) -> None:
    """Create or update the whole bundle. Safe to run again."""
    for resource, body in bundle(accounts):
        await ensure(client, resource, body)
    for name, spec in provider_specs().items():
        await install_provider(client, name, spec)


async def install_provider(client: Api, name: str, spec: ProviderConfigSpec) -> None:
    """Create a shipped ProviderConfig, or bring it up to date unless somebody has edited it.

    Raises:
        ApiError: the server refused, or does not serve the kind yet ten seconds after its definition was made.
    """
    resource, wanted = r.PROVIDER_CONFIGS, _digest(spec)
    annotations = {SHIPPED_HASH: wanted}
    body = _object(resource, name)
    body["metadata"]["annotations"] = annotations
    body["spec"] = to_wire(spec)
    for attempt in range(_DEFINITION_TRIES):
        try:
            await client.create(resource, body)
        except AlreadyExists:
            break
        except NotFound:  # the definition is not established yet
            if attempt == _DEFINITION_TRIES - 1:
                raise
            await asyncio.sleep(_DEFINITION_PAUSE)
        else:
            return
    found = await client.get(resource, ProviderConfig, name)
    shipped = found.metadata.annotations.get(SHIPPED_HASH)
    if shipped == _digest(found.spec) and shipped != wanted:
        patch = merge_patch(to_wire(found.spec), to_wire(spec))
        await client.patch(resource, name, {"metadata": {"annotations": annotations}, "spec": patch})


def _digest(spec: ProviderConfigSpec) -> str:
    return template_hash(msgspec.json.encode(to_wire(spec), order="sorted").decode())


async def ensure(client: Api, resource: r.Resource, body: Raw) -> None:
    """Create an object, or bring the fields we own to the wanted value.

    Raises:
        ApiError: the server refused.
    """
    metadata = body["metadata"]
    namespace = str(metadata.get("namespace", ""))
    for _ in range(3):
        try:
            await client.create(resource, body, namespace=namespace)
        except AlreadyExists:
            try:
                await client.patch(resource, str(metadata["name"]), body, namespace=namespace)
            except NotFound:
                continue
        return
    raise ServerError(
        f"{resource.kind} {metadata['name']}: appears and vanishes while it is being installed; try again"
    )


def _object(resource: r.Resource, name: str, *, namespace: str = "") -> Raw:
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "tensorfusion"}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
