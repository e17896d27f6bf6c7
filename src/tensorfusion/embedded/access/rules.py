"""One RBAC rule, what it allows, and whether some rules cover another. Pure.

Source: rbac.authorization.k8s.io/v1 PolicyRule; the RBAC authorizer's and escalation check's semantics.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tensorfusion.model.meta import Raw


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for. ``path`` is set for URLs that are no resources, and only then."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""

    @property
    def target(self) -> str:
        """``pods`` or ``pods/status``, as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule. Empty ``names`` means every name."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()

    def covers_resource(self, verb: str, group: str, target: str) -> bool:
        """Whether the rule speaks of this verb and resource, for some names."""
        if verb not in self.verbs and "*" not in self.verbs:
            return False
        if group not in self.groups and "*" not in self.groups:
            return False
        return self._has_resource(target)

    def _has_resource(self, target: str) -> bool:
        if target in self.resources or "*" in self.resources:
            return True
        _, slash, subresource = target.partition("/")
        return bool(slash) and f"*/{subresource}" in self.resources

    def covers_path(self, verb: str, path: str) -> bool:
        if verb not in self.verbs and "*" not in self.verbs:
            return False
        return any(url in ("*", path) or (url.endswith("*") and path.startswith(url[:-1])) for url in self.urls)


def parse_rules(rules: Sequence[Raw] | None) -> tuple[Rule, ...]:
    """The rules of a stored Role or ClusterRole."""
    return tuple(
        Rule(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )
        for rule in rules or ()
    )


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> Rule | None:
    """The first part of ``wanted`` that ``owned`` does not give, None when all of it is covered."""
    for rule in wanted:
        for part in _parts(rule):
            if not any(_covers(own, part) for own in owned):
                return part
    return None


def _parts(rule: Rule) -> Iterator[Rule]:
    """A rule as rules with one verb and one target each."""
    for verb in sorted(rule.verbs):
        one = frozenset((verb,))
        for url in rule.urls:
            yield Rule(one, urls=(url,))
        for group in sorted(rule.groups):
            for resource in sorted(rule.resources):
                names = [frozenset((name,)) for name in sorted(rule.names)] or [frozenset[str]()]
                for name in names:
                    yield Rule(one, frozenset((group,)), frozenset((resource,)), name)


def _covers(own: Rule, part: Rule) -> bool:
    (verb,) = part.verbs
    if part.urls:
        return own.covers_path(verb, part.urls[0])
    (group,) = part.groups
    (resource,) = part.resources
    return own.covers_resource(verb, group, resource) and (
        not own.names or (bool(part.names) and part.names <= own.names)
    )


def shown(rule: Rule) -> str:
    """A rule as a real API server prints it in its refusals."""
    parts = []
    for label, values in (
        ("APIGroups", sorted(rule.groups)),
        ("Resources", sorted(rule.resources)),
        ("ResourceNames", sorted(rule.names)),
        ("NonResourceURLs", list(rule.urls)),
        ("Verbs", sorted(rule.verbs)),
    ):
        if values:
            parts.append(f"{label}:[{' '.join(f'{chr(34)}{value}{chr(34)}' for value in values)}]")
    return "{" + ", ".join(parts) + "}"


def rule_json(rule: Rule) -> Raw:
    """A rule as SelfSubjectRulesReview lists it."""
    if rule.urls:
        return {"verbs": sorted(rule.verbs), "nonResourceURLs": list(rule.urls)}
    found: Raw = {
        "verbs": sorted(rule.verbs),
        "apiGroups": sorted(rule.groups),
        "resources": sorted(rule.resources),
    }
    if rule.names:
        found["resourceNames"] = sorted(rule.names)
    return found
