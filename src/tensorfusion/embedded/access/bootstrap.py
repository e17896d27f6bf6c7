"""The roles that every cluster starts with, and what makes them exist.

They are those of a real cluster (``facts/roles-1.34.json``, written by ``tools/role_facts.py``), also the ones of
components that do not run here: who looks for them finds them. ``admin``, ``edit`` and ``view`` gather every
ClusterRole with their aggregation label, so that kinds that come later can join them. Objects that exist keep what an
administrator made of them; roles only get the rules that they lack, unless their annotation
``rbac.authorization.kubernetes.io/autoupdate`` says ``"false"``.

Source: Kubernetes, "Default roles and role bindings".
"""

from collections.abc import Iterator

from tensorfusion.embedded.facts import load_roles
from tensorfusion.embedded.objects import JsonObject

_AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"


def with_missing_rules(role: JsonObject, wanted: JsonObject) -> JsonObject | None:
    """A stored role with the bootstrap rules that it lacks, None when there is nothing to add or nobody may add it."""
    annotations = role["metadata"].get("annotations") or {}
    if annotations.get(_AUTO_UPDATE) != "true":
        return None
    rules = role.get("rules") or []
    missing = [rule for rule in wanted.get("rules") or () if rule not in rules]
    return {**role, "rules": [*rules, *missing]} if missing else None


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
    yield from load_roles()
