"""RBAC from the stored objects, by indexes that follow every commit.

A decision looks at the roles bound to one user, never at all bindings, and is cached until a role or binding changes.
A client can ask in words of any length: what is asked at length is decided each time.
Rules with resourceNames make a decision depend on the name: such decisions are cached as the set of allowed names.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorfusion.embedded.access.rules import Attributes, Rule, parse_rules
from tensorfusion.embedded.access.users import User, account_of
from tensorfusion.embedded.objects import decode_object
from tensorfusion.embedded.selectors import LabelTerms, from_object
from tensorfusion.embedded.store import EventKind, ObjectKey, Record, Store, StoreEvent
from tensorfusion.errors import Forbidden
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES

_MOST_DECISIONS = 50_000
_LONGEST_KEPT = 1024
_KINDS = frozenset(resource.id for resource in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS))


@dataclass(frozen=True, slots=True)
class _ClusterRole:
    rules: tuple[Rule, ...]
    labels: Raw
    aggregates: tuple[LabelTerms, ...]


@dataclass(frozen=True, slots=True)
class _Binding:
    """One subject's link to a role; ``namespace`` is where it counts, ``""`` everywhere."""

    namespace: str
    name: str
    role_kind: str
    role: str


class Rbac:
    """Decides. One instance follows one store."""

    def __init__(self, store: Store) -> None:
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._cluster_roles: dict[str, _ClusterRole] = {}
        self._subjects: dict[str, dict[ObjectKey, _Binding]] = {}
        self._bound: dict[ObjectKey, tuple[str, ...]] = {}
        self._decisions: dict[tuple[str, str, str, str, str], bool | frozenset[str]] = {}
        for resource in _KINDS:
            for record in store.scan(resource):
                self._put(record)
        store.on_commit(self._follow)

    # --- deciding ---

    def allows(self, user: User, asked: Attributes) -> bool:
        """Whether the user may do what is asked."""
        if user.is_master:
            return True
        if asked.path:
            return any(rule.covers_path(asked.verb, asked.path) for rule in self.rules_of(user, ""))
        key = (user.key, asked.verb, asked.group, asked.target, asked.namespace)
        decision = self._decisions.get(key)
        if decision is None:
            decision = self._decide(user, asked)
            if sum(map(len, key)) <= _LONGEST_KEPT:
                if len(self._decisions) >= _MOST_DECISIONS:
                    self._decisions.clear()
                self._decisions[key] = decision
        return decision if isinstance(decision, bool) else asked.name in decision

    def check(self, user: User, asked: Attributes) -> None:
        """Raises:
        Forbidden: in the words of a real API server.
        """
        if not self.allows(user, asked):
            raise refusal(user, asked)

    def rules_of(self, user: User, namespace: str) -> Iterator[Rule]:
        """Every rule that counts for a user, cluster-wide and in a namespace (``""``: only cluster-wide)."""
        for _, binding in self._bindings_of(user, namespace):
            yield from self.rules_in(binding.role_kind, binding.role, binding.namespace) or ()

    def _bindings_of(self, user: User, namespace: str) -> list[tuple[str, _Binding]]:
        """The bindings of a user and as what it is bound, those of the whole cluster first."""
        found = [
            (subject, binding)
            for subject in _subjects_of(user)
            for binding in self._subjects.get(subject, {}).values()
            if not binding.namespace or (namespace and binding.namespace == namespace)
        ]
        found.sort(key=lambda item: bool(item[1].namespace))
        return found

    def reason(self, user: User, asked: Attributes) -> str:
        """By which binding a user may do what is asked, in the words of a real API server; empty if by none."""
        if user.is_master:
            return ""
        for subject, binding in self._bindings_of(user, asked.namespace):
            rules = self.rules_in(binding.role_kind, binding.role, binding.namespace) or ()
            if any(_allows(rule, asked) for rule in rules):
                place = f"{binding.name}/{binding.namespace}" if binding.namespace else binding.name
                kind = "RoleBinding" if binding.namespace else "ClusterRoleBinding"
                return f'RBAC: allowed by {kind} "{place}" of {binding.role_kind} "{binding.role}" to {_shown(subject)}'
        return ""

    def rules_in(self, kind: str, name: str, namespace: str) -> tuple[Rule, ...] | None:
        """The rules of a role, aggregated ones included; None when there is no such role."""
        if kind == ROLES.kind:
            return self._roles.get((namespace, name))
        return self._gathered(name, set()) if name in self._cluster_roles else None

    def _gathered(self, name: str, seen: set[str]) -> tuple[Rule, ...]:
        """The rules of a ClusterRole and of all that it gathers, however deep; ``seen`` ends circles."""
        seen.add(name)
        role = self._cluster_roles[name]
        found = role.rules
        for terms in role.aggregates:
            for other, candidate in self._cluster_roles.items():
                if other not in seen and terms.matches(candidate.labels):
                    found += self._gathered(other, seen)
        return found

    def _decide(self, user: User, asked: Attributes) -> bool | frozenset[str]:
        names: set[str] = set()
        for rule in self.rules_of(user, asked.namespace):
            if rule.covers_resource(asked.verb, asked.group, asked.target):
                if not rule.names:
                    return True
                names.update(rule.names)
        return frozenset(names) if names else False

    # --- following the store ---

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.record.key.resource in _KINDS:
                if event.kind is EventKind.DELETED:
                    self._drop(event.record.key)
                else:
                    self._put(event.record)
                self._decisions.clear()

    def _put(self, record: Record) -> None:
        key, obj = record.key, decode_object(record.data)
        self._drop(key)
        if key.resource == ROLES.id:
            self._roles[key.namespace, key.name] = parse_rules(obj.get("rules"))
        elif key.resource == CLUSTER_ROLES.id:
            selectors = (obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
            self._cluster_roles[key.name] = _ClusterRole(
                () if selectors else parse_rules(obj.get("rules")),
                dict(record.labels),
                tuple(from_object(selector) for selector in selectors),
            )
        else:
            reference = obj["roleRef"]
            binding = _Binding(key.namespace, key.name, reference["kind"], reference["name"])
            subjects = tuple(_subject_key(subject, key.namespace) for subject in obj.get("subjects") or ())
            self._bound[key] = subjects
            for subject in subjects:
                self._subjects.setdefault(subject, {})[key] = binding

    def _drop(self, key: ObjectKey) -> None:
        if key.resource == ROLES.id:
            self._roles.pop((key.namespace, key.name), None)
        elif key.resource == CLUSTER_ROLES.id:
            self._cluster_roles.pop(key.name, None)
        for subject in self._bound.pop(key, ()):
            bindings = self._subjects.get(subject)
            if bindings is not None:
                bindings.pop(key, None)
                if not bindings:
                    del self._subjects[subject]


def refusal(user: User, asked: Attributes) -> Forbidden:
    """The 403 of a real API server."""
    if asked.path:
        return Forbidden(f'forbidden: User {_quoted(user.name)} cannot {asked.verb} path "{asked.path}"')
    resource = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    what = f'{resource} "{asked.name}"' if asked.name else resource
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    return Forbidden(
        f'{what} is forbidden: User {_quoted(user.name)} cannot {asked.verb} resource "{asked.target}" '
        f'in API group "{asked.group}" {where}',
        kind=asked.resource,
        group=asked.group,
        name=asked.name,
    )


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _subjects_of(user: User) -> Iterator[str]:
    yield f"User:{user.name}"
    for group in user.groups:
        yield f"Group:{group}"
    account = account_of(user.name)
    if account is not None:
        yield f"ServiceAccount:{account[0]}:{account[1]}"


def _allows(rule: Rule, asked: Attributes) -> bool:
    if asked.path:
        return rule.covers_path(asked.verb, asked.path)
    covered = rule.covers_resource(asked.verb, asked.group, asked.target)
    return covered and (not rule.names or asked.name in rule.names)


def _shown(subject: str) -> str:
    """``User "jane"``, ``ServiceAccount "name/namespace"``."""
    kind, _, name = subject.partition(":")
    if kind == "ServiceAccount":
        namespace, _, account = name.partition(":")
        name = f"{account}/{namespace}"
    return f'{kind} "{name}"'


def _subject_key(subject: Raw, namespace: str) -> str:
    if subject.get("kind") == "ServiceAccount":
        return f"ServiceAccount:{subject.get('namespace') or namespace}:{subject.get('name', '')}"
    return f"{subject.get('kind', '')}:{subject.get('name', '')}"
