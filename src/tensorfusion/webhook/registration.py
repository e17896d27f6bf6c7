"""Tell the API server which requests to ask us about.

Match conditions keep everything else away from us, for two reasons: a request that is not asked about costs nothing,
and with ``failurePolicy: Fail`` a webhook that is down must not block what it has no say in. So creations reach us only
with a key of ours, updates only when labels or annotations change by another hand than the system's, and our own
namespace never waits for a webhook that runs in it.

Source: admissionregistration.k8s.io/v1.
"""

import asyncio
import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tensorfusion.clock import Clock
from tensorfusion.errors import AlreadyExists, ApiError
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Raw
from tensorfusion.policy.guards import Accounts
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.webhook.service import MUTATE_POD, RESIZE_POD, VALIDATE_BINDING, VALIDATE_POD

_TIMEOUT_SECONDS = 10
_PAUSE = 2.0

log = get_logger(__name__)
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


def mutating_configuration(address: Address, *, prefix: str, accounts: Accounts, native_pods: bool = False) -> Raw:
    """The MutatingWebhookConfiguration: pods that are created with a key of ours, and edits of a worker's amounts."""
    condition, expression = "has-our-keys", f"{_has_key('labels')} || {_has_key('annotations')}"
    if native_pods:
        condition, expression = "has-our-keys-or-devices", f"{expression} || {_asks_for_devices()}"
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
        "matchConditions": [{"name": condition, "expression": expression}],
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
    client: Api,
    address: Address,
    *,
    accounts: Accounts | None = None,
    prefix: str = keys.SYSTEM_NAMESPACE,
    native_pods: bool = False,
) -> None:
    """Create both configurations, or bring them up to date. Safe to run again and in several replicas.

    ``native_pods``: pods that ask for any extended resource reach us too, with or without a key of ours.

    Raises:
        ApiError: the server refused.
    """
    known = accounts or Accounts()
    mutating = mutating_configuration(address, prefix=prefix, accounts=known, native_pods=native_pods)
    await _ensure(client, r.MUTATING_WEBHOOKS, mutating)
    await _ensure(client, r.VALIDATING_WEBHOOKS, validating_configuration(address, prefix=prefix, accounts=known))


class Registrar:
    """Keeps the registration as the settings want it. ``changed`` may be called at any time."""

    def __init__(self, client: Api, address: Address, *, native_pods: Callable[[], bool], clock: Clock) -> None:
        self._client = client
        self._address = address
        self._native_pods = native_pods
        self._clock = clock
        self._changed = asyncio.Event()
        self._registered: bool | None = None

    def changed(self) -> None:
        """The settings are others now."""
        self._changed.set()

    async def register(self) -> None:
        """Bring the registration up to date once.

        Raises:
            ApiError: the server refused.
        """
        wanted = self._native_pods()
        if wanted != self._registered:
            await register(self._client, self._address, native_pods=wanted)
            self._registered = wanted
            log.info("webhooks are registered", native_pods=wanted)

    async def run(self) -> None:
        """Follow the settings until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.register()
            except ApiError as error:
                log.warning("webhooks could not be registered, trying again", error=error)
                await self._clock.sleep(_PAUSE)
                self._changed.set()


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


def _asks_for_devices() -> str:
    """Extended resources have a domain in their names; cpu, memory and their like have none."""
    parts = " || ".join(
        f"(has(c.resources.{kind}) && c.resources.{kind}.exists(k, k.contains('/')))" for kind in ("limits", "requests")
    )
    return f"object.spec.containers.exists(c, has(c.resources) && ({parts}))"


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
