"""Tell the API server which requests to ask us about.

Match conditions keep everything else away from us, for two reasons: a request that is not asked about costs nothing,
and with ``failurePolicy: Fail`` a webhook that is down must not block what it has no say in. So creations reach us only
with a key of ours, updates only when labels or annotations change by another hand than the system's, and our own
namespace never waits for a webhook that runs in it.

Source: admissionregistration.k8s.io/v1.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tensorfusion.errors import AlreadyExists
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Raw
from tensorfusion.policy.guards import Accounts
from tensorfusion.webhook.service import MUTATE_POD, RESIZE_POD, VALIDATE_BINDING, VALIDATE_POD

_TIMEOUT_SECONDS = 10
_ANNOTATIONS = ("object.metadata.annotations", "oldObject.metadata.annotations")


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """A Service in front of the webhook."""

    namespace: str
    name: str
    port: int = 443


@dataclass(frozen=True, slots=True)
class Address:
    """How the API server reaches us: a base URL, or a Service; and the CA (PEM) that signed our certificate."""

    ca: bytes
    url: str = ""
    service: ServiceAddress | None = None

    def client_config(self, path: str) -> Raw:
        bundle = base64.b64encode(self.ca).decode()
        if self.service is None:
            return {"url": f"{self.url.rstrip('/')}{path}", "caBundle": bundle}
        service = {
            "namespace": self.service.namespace,
            "name": self.service.name,
            "port": self.service.port,
            "path": path,
        }
        return {"service": service, "caBundle": bundle}


def mutating_configuration(address: Address, *, prefix: str, accounts: Accounts) -> Raw:
    """The MutatingWebhookConfiguration: pods that are created with a key of ours, and edits of a worker's amounts."""
    webhook = {
        **_common("mpod", address, MUTATE_POD),
        "sideEffects": "NoneOnDryRun",  # the counter of a canary
        "rules": [_rule(["pods"], "CREATE")],
        "reinvocationPolicy": "IfNeeded",
        "namespaceSelector": {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [keys.SYSTEM_NAMESPACE]}
            ]
        },
        "matchConditions": [
            {"name": "has-our-keys", "expression": f"{_has_key('labels')} || {_has_key('annotations')}"}
        ],
    }
    resizing = {
        **_common("mresize", address, RESIZE_POD),
        "rules": [_rule(["pods"], "UPDATE")],
        "matchConditions": [
            {"name": "by-others", "expression": _by_others(accounts)},
            {"name": "amounts-change", "expression": _amounts_change()},
        ],
    }
    return _configuration(r.MUTATING_WEBHOOKS, f"{prefix}-mutating-webhook", [webhook, resizing])


def validating_configuration(address: Address, *, prefix: str, accounts: Accounts) -> Raw:
    """The ValidatingWebhookConfiguration: changes of labels and annotations of pods, and every Binding."""
    pods = {
        **_common("vpod", address, VALIDATE_POD),
        "rules": [_rule(["pods", "pods/status", "pods/ephemeralcontainers", "pods/resize"], "UPDATE")],
        "matchConditions": [
            {"name": "by-others-or-answers", "expression": f"{_by_others(accounts)} || {_answers(accounts)}"},
            {"name": "keys-change", "expression": f"{_changed('annotations')} || {_changed('labels')}"},
        ],
    }
    bindings = {
        **_common("vbinding", address, VALIDATE_BINDING),
        "rules": [_rule(["pods/binding", "bindings"], "CREATE")],
        "matchConditions": [
            {
                "name": "not-the-default-scheduler",
                "expression": "request.userInfo.username != 'system:kube-scheduler'"
                " || (has(object.metadata.annotations) && size(object.metadata.annotations) > 0)",
            }
        ],
    }
    return _configuration(r.VALIDATING_WEBHOOKS, f"{prefix}-validating-webhook", [pods, bindings])


async def register(
    client: Api, address: Address, *, accounts: Accounts | None = None, prefix: str = keys.SYSTEM_NAMESPACE
) -> None:
    """Create both configurations, or bring them up to date. Safe to run again and in several replicas.

    Raises:
        ApiError: the server refused.
    """
    known = accounts or Accounts()
    for resource, configuration in (
        (r.MUTATING_WEBHOOKS, mutating_configuration),
        (r.VALIDATING_WEBHOOKS, validating_configuration),
    ):
        await _ensure(client, resource, configuration(address, prefix=prefix, accounts=known))


async def _ensure(client: Api, resource: r.Resource, body: Raw) -> None:
    try:
        await client.create(resource, body)
    except AlreadyExists:
        await client.patch(resource, str(body["metadata"]["name"]), {"webhooks": body["webhooks"]})


def _common(name: str, address: Address, path: str) -> Raw:
    return {
        "name": f"{name}.{keys.DOMAIN}",
        "clientConfig": address.client_config(path),
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": _TIMEOUT_SECONDS,
        "admissionReviewVersions": ["v1"],
    }


def _rule(resources: list[str], operation: str) -> Raw:
    return {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": [operation],
        "resources": resources,
        "scope": "Namespaced",
    }


def _configuration(resource: r.Resource, name: str, webhooks: list[Mapping[str, object]]) -> Raw:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "tensorfusion"}},
        "webhooks": webhooks,
    }


def _has_key(field: str) -> str:
    path = f"object.metadata.{field}"
    return f"(has({path}) && {path}.exists(k, k.startsWith('{keys.DOMAIN}/')))"


def _changed(field: str) -> str:
    new, old = f"object.metadata.{field}", f"oldObject.metadata.{field}"
    return f"(has({new}) ? {new} : {{}}) != (has({old}) ? {old} : {{}})"


def _by_others(accounts: Accounts) -> str:
    names = _listed(accounts.system)
    return f"(!(request.userInfo.username in [{names}]) && !('system:nodes' in request.userInfo.groups))"


def _answers(accounts: Accounts) -> str:
    """The scheduler takes a pod's wish for other amounts away: its answer is fenced like a Binding."""
    new, old = (f"(has({path}) && '{keys.RESIZE}' in {path})" for path in _ANNOTATIONS)
    return f"(request.userInfo.username in [{_listed(accounts.scheduler)}] && {old} && !{new})"


def _amounts_change() -> str:
    new, old = (f"(has({path}) && k in {path} ? {path}[k] : '')" for path in _ANNOTATIONS)
    return f"[{_listed(keys.RESIZABLE_KEYS)}].exists(k, {new} != {old})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
