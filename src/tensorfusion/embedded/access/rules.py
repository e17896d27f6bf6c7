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
    """A PolicyRule, in the order it was written in. Empty ``names`` means every name."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
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
            tuple(rule.get("verbs") or ()),
            tuple(rule.get("apiGroups") or ()),
            tuple(rule.get("resources") or ()),
            tuple(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )
        for rule in rules or ()
    )


def uncovered(owned: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What ``owned`` does not give of ``wanted``: a rule for each target that lacks verbs."""
    missing: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for rule in wanted:
        for part in _parts(rule):
            if not any(_covers(own, part) for own in owned):
                verbs = missing.setdefault((part.groups, part.resources, part.names, part.urls), [])
                verbs.extend(part.verbs)
    return [
        Rule(tuple(verbs), groups, resources, names, urls)
        for (groups, resources, names, urls), verbs in missing.items()
    ]


def _parts(rule: Rule) -> Iterator[Rule]:
    """A rule as rules with one verb and one target each."""
    for group in rule.groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                for name in rule.names or (None,):
                    yield Rule((verb,), (group,), (resource,), () if name is None else (name,))
    for url in rule.urls:
        for verb in rule.verbs:
            yield Rule((verb,), urls=(url,))


def _covers(own: Rule, part: Rule) -> bool:
    (verb,) = part.verbs
    if part.urls:
        return own.covers_path(verb, part.urls[0])
    (group,) = part.groups
    (resource,) = part.resources
    return own.covers_resource(verb, group, resource) and (
        not own.names or (bool(part.names) and part.names[0] in own.names)
    )


def shown(rule: Rule) -> str:
    """A rule as a real API server prints it in its refusals."""
    parts = []
    for label, values in (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("ResourceNames", rule.names),
        ("NonResourceURLs", rule.urls),
        ("Verbs", rule.verbs),
    ):
        if values:
            parts.append(f"{label}:[{' '.join(f'{chr(34)}{value}{chr(34)}' for value in values)}]")
    return "{" + ", ".join(parts) + "}"


def rule_json(rule: Rule) -> Raw:
    """A rule as SelfSubjectRulesReview lists it."""
    if rule.urls:
        return {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.urls)}
    found: Raw = {"verbs": list(rule.verbs), "apiGroups": list(rule.groups), "resources": list(rule.resources)}
    if rule.names:
        found["resourceNames"] = list(rule.names)
    return found
