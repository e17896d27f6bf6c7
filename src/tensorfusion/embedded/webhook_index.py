"""Which webhooks concern a write, known without looking at any configuration at the time of the write.

Configurations are compiled when they change. What their rules say about an operation on a resource is remembered per
(operation, group, version, resource, scope), so a write that no webhook cares about costs one dict lookup.

Source: admissionregistration.k8s.io/v1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tensorfusion.cel import CelError
from tensorfusion.embedded.calls import Asked
from tensorfusion.embedded.conditions import Condition
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.selectors import LabelTerms, from_object
from tensorfusion.embedded.store import EventKind, Store, StoreEvent
from tensorfusion.model.resources import MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, Resource
from tensorfusion.telemetry.logs import get_logger

_MOST_REMEMBERED = 4096
NOT_INTERCEPTED = frozenset(
    {
        MUTATING_WEBHOOKS.id,
        VALIDATING_WEBHOOKS.id,
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    }
)
"""A broken webhook must not keep anybody from repairing it."""

log = get_logger(__name__)


class FailurePolicy(StrEnum):
    """What a failed call means."""

    FAIL = "Fail"
    IGNORE = "Ignore"


@dataclass(frozen=True, slots=True)
class _RuleMatch:
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[str, ...]
    scope: str

    def covers(self, asked: Asked, resource: Resource) -> bool:
        """Whether the rule speaks of the write, were it one of ``resource``."""
        return (
            (asked.operation in self.operations or "*" in self.operations)
            and (resource.group in self.groups or "*" in self.groups)
            and (resource.version in self.versions or "*" in self.versions)
            and (self.scope == "*" or (self.scope == "Namespaced") == resource.namespaced)
            and any(_covers(pattern, resource.plural, asked.subresource) for pattern in self.resources)
        )


def _covers(pattern: str, plural: str, subresource: str) -> bool:
    """``*`` is every resource without subresources, ``*/*`` everything, ``pods/*`` pods' subresources."""
    wanted, slash, wanted_sub = pattern.partition("/")
    if wanted not in ("*", plural):
        return False
    return wanted_sub in ("*", subresource) if slash else not subresource


@dataclass(frozen=True, slots=True, eq=False)
class Hook:
    """One compiled webhook. ``url`` is ``""`` where a service is named that has no known address."""

    name: str
    configuration: str
    rules: tuple[_RuleMatch, ...]
    namespaces: LabelTerms
    objects: LabelTerms
    conditions: tuple[Condition | CelError, ...]
    failure_policy: FailurePolicy
    reinvoke: bool
    exact: bool
    timeout: float
    url: str
    server_name: str
    ca_bundle: str
    service: str


@dataclass(frozen=True, slots=True)
class Match:
    """A webhook that concerns a write, and the version that it wants to see it in."""

    hook: Hook
    kind: Kind


class HookIndex:
    """The webhooks of one kind of configuration, in the order they are called in."""

    def __init__(self, store: Store, kinds: Kinds, resource: Resource, services: dict[str, str]) -> None:
        self._resource = resource.id
        self._kinds = kinds
        self._services = services
        self._by_configuration: dict[str, tuple[Hook, ...]] = {}
        self._remembered: dict[tuple[str, str, str, str, str], tuple[Match, ...]] = {}
        kinds.on_change(self._remembered.clear)
        for record in store.scan(resource.id):
            self._by_configuration[record.key.name] = self._compile(decode_object(record.data))
        store.on_commit(self._follow)

    def of(self, asked: Asked) -> tuple[Match, ...]:
        """Webhooks with a rule that covers the write."""
        resource = asked.kind.resource
        key = (asked.operation.value, resource.group, resource.version, resource.plural, asked.subresource)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[key] = () if resource.id in NOT_INTERCEPTED else self._find(asked)
        return found

    def _find(self, asked: Asked) -> tuple[Match, ...]:
        every = [hook for _, hooks in sorted(self._by_configuration.items()) for hook in hooks]
        found = ((hook, self._wanted_by(hook, asked)) for hook in every)
        return tuple(Match(hook, kind) for hook, kind in found if kind is not None)

    def _wanted_by(self, hook: Hook, asked: Asked) -> Kind | None:
        """The kind asked for, or else another version of it, if a rule covers it."""
        others = () if hook.exact else self._kinds.equivalents(asked.kind)
        for kind in (asked.kind, *others):
            if any(rule.covers(asked, kind.resource) for rule in hook.rules):
                return kind
        return None

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            key = event.record.key
            if key.resource == self._resource:
                self._remembered.clear()
                if event.kind is EventKind.DELETED:
                    self._by_configuration.pop(key.name, None)
                else:
                    self._by_configuration[key.name] = self._compile(decode_object(event.record.data))

    def _compile(self, configuration: JsonObject) -> tuple[Hook, ...]:
        name = configuration["metadata"]["name"]
        return tuple(_hook(hook, name, self._services) for hook in configuration.get("webhooks") or ())


def _hook(hook: JsonObject, configuration: str, services: dict[str, str]) -> Hook:
    client = hook.get("clientConfig") or {}
    url, server_name, named = client.get("url") or "", "", ""
    service = client.get("service")
    if service:
        named = f"{service['namespace']}/{service['name']}"
        server_name = f"{service['name']}.{service['namespace']}.svc"
        base = services.get(named, "")
        path = service.get("path") or ""
        url = f"{base.rstrip('/')}/{path.lstrip('/')}" if base else ""
    return Hook(
        name=hook["name"],
        configuration=configuration,
        rules=tuple(_rule(rule) for rule in hook.get("rules") or ()),
        namespaces=from_object(hook.get("namespaceSelector")),
        objects=from_object(hook.get("objectSelector")),
        conditions=tuple(_condition(condition, hook["name"]) for condition in hook.get("matchConditions") or ()),
        failure_policy=FailurePolicy(hook.get("failurePolicy") or "Fail"),
        reinvoke=hook.get("reinvocationPolicy") == "IfNeeded",
        exact=hook.get("matchPolicy") == "Exact",
        timeout=float(hook.get("timeoutSeconds") or 10),
        url=url,
        server_name=server_name,
        ca_bundle=client.get("caBundle") or "",
        service=named,
    )


def _rule(rule: JsonObject) -> _RuleMatch:
    return _RuleMatch(
        frozenset(rule.get("operations") or ()),
        frozenset(rule.get("apiGroups") or ()),
        frozenset(rule.get("apiVersions") or ()),
        tuple(rule.get("resources") or ()),
        rule.get("scope") or "*",
    )


def _condition(condition: JsonObject, hook: str) -> Condition | CelError:
    """A condition that does not compile fails when it is asked: the webhook's failure policy decides then."""
    try:
        return Condition(condition["name"], condition["expression"])
    except CelError as error:
        log.warning("match condition does not compile", webhook=hook, condition=condition["name"], error=str(error))
        return error
