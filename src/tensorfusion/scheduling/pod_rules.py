"""What a pod asks of the pods beside it: host ports that nobody else has, and where pods like others may be.

Apart from the other facts because nearly every pod has none of it. The rules are hashable in all their parts: what many
pods say in the same words is looked up and counted once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tensorfusion.model.meta import SelectorRequirement, requirement_matches

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  # the wire's own word, nothing is bound

Labels: TypeAlias = tuple[SelectorRequirement, ...]
"""A label selector: every expression holds; without any it is every object. In a fixed order."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """One port of the node's own network. ``address`` 0.0.0.0 takes it on every address."""

    port: int
    protocol: str = "TCP"
    address: str = EVERY_ADDRESS

    def __str__(self) -> str:
        at = "" if self.address == EVERY_ADDRESS else f"{self.address}:"
        return f"{at}{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class PodSelector:
    """Pods by namespace and labels. ``labels`` None is no pod.

    A pod's namespace is named, or its labels satisfy ``namespace_labels`` (None: by name alone).
    """

    labels: Labels | None
    namespaces: tuple[str, ...] = ()
    namespace_labels: Labels | None = None

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels is meant; ``namespace_labels`` are those of its namespace."""
        if self.labels is None or not all(requirement_matches(wish, labels) for wish in self.labels):
            return False
        if namespace in self.namespaces:
            return True
        wanted = self.namespace_labels
        return wanted is not None and all(requirement_matches(wish, namespace_labels) for wish in wanted)

    def __str__(self) -> str:
        if self.labels is None:
            return "no pod (there is no label selector)"
        where = ", ".join(self.namespaces) if self.namespace_labels is None else "selected namespaces"
        return f"pods with {words(self.labels)} in {where}"


@dataclass(frozen=True, slots=True)
class SpreadRule:
    """How evenly the selected pods lie over the values of one node label."""

    key: str
    skew: int
    pods: PodSelector
    required: bool = True
    min_domains: int = 1
    honour_affinity: bool = True
    """Nodes that the pod's own node selector and affinity rule out count for nothing."""
    honour_taints: bool = False


@dataclass(frozen=True, slots=True)
class PodTerm:
    """The selected pods on nodes that have one value of a node label."""

    key: str
    pods: PodSelector


@dataclass(frozen=True, slots=True)
class PodRules:
    """All rules of one pod. ``preferred`` are weights and terms; what is to be avoided has a negative weight."""

    ports: tuple[HostPort, ...] = ()
    spread: tuple[SpreadRule, ...] = ()
    affinity: tuple[PodTerm, ...] = ()
    anti_affinity: tuple[PodTerm, ...] = ()
    preferred: tuple[tuple[int, PodTerm], ...] = ()

    @property
    def counted(self) -> bool:
        """It needs counts of other pods, or others need to know of its terms."""
        return bool(self.spread or self.affinity or self.anti_affinity or self.preferred)


def words(labels: Labels) -> str:
    """A label selector as people write it."""
    said = {"Exists": "{key}", "DoesNotExist": "!{key}", "In": "{key} in ({values})", "NotIn": "{key} notin ({values})"}
    parts = []
    for wish in labels:
        if wish.operator == "In" and len(wish.values) == 1:
            parts.append(f"{wish.key}={wish.values[0]}")
        else:
            form = said.get(wish.operator, "{key}")
            parts.append(form.format(key=wish.key, values=",".join(wish.values)))
    return ",".join(parts) or "any labels"
