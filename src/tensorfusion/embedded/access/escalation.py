"""Nobody grants what they do not have: checked when a role or a binding is written.

``escalate`` on the role, or ``bind`` on the role that a binding names, lifts the check.

Source: RBAC, "Privilege escalation prevention and bootstrapping".
"""

from tensorfusion.embedded.access.rbac import Rbac
from tensorfusion.embedded.access.rules import Attributes, parse_rules, shown, uncovered
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.objects import JsonObject
from tensorfusion.embedded.statuses import Escalation, not_found
from tensorfusion.model.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    Resource,
)

CHECKED = frozenset(resource.id for resource in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS))


def check_grant(rbac: Rbac, user: User, resource: Resource, obj: JsonObject, *, old: JsonObject | None) -> None:
    """Refuse a role or binding that gives more than its writer has.

    Raises:
        Forbidden: names what the writer does not hold.
        NotFound: a binding names a role that does not exist.
    """
    if user.is_master or (old is not None and _granted(old) == _granted(obj)):
        return
    metadata = obj["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
    if resource.id in (ROLES.id, CLUSTER_ROLES.id):
        wanted = parse_rules(obj.get("rules"))
        lifted = Attributes("escalate", resource.group, resource.plural, "", name, namespace)
        if obj.get("aggregationRule") or (old or {}).get("aggregationRule"):
            wanted += parse_rules(_EVERYTHING)
    else:
        reference = obj["roleRef"]
        role = ROLES if reference["kind"] == ROLES.kind else CLUSTER_ROLES
        lifted = Attributes("bind", role.group, role.plural, "", reference["name"], namespace)
        found = rbac.rules_in(reference["kind"], reference["name"], namespace)
        if found is None:
            if rbac.allows(user, lifted):
                return
            raise not_found(resource, reference["name"])
        wanted = found
    if rbac.allows(user, lifted):
        return
    missing = uncovered(tuple(rbac.rules_of(user, namespace)), wanted)
    if missing:
        groups = " ".join(f'"{group}"' for group in user.groups)
        listed = "\n".join(sorted(shown(rule) for rule in missing))
        raise Escalation(
            f'{resource.id} "{name}" is forbidden: user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC '
            f"permissions not currently held:\n{listed}",
            kind=resource.plural,
            group=resource.group,
            name=name,
        )


def _granted(obj: JsonObject) -> tuple[object, ...]:
    """Everything that decides what an object gives: labels too, because aggregation follows them."""
    metadata = obj["metadata"]
    parts = (obj.get("rules"), obj.get("aggregationRule"), obj.get("roleRef"), obj.get("subjects"))
    return (*parts, metadata.get("labels"), metadata.get("annotations"))


_EVERYTHING: list[JsonObject] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]
"""What the writer of an aggregated role must hold: anybody who may label a role decides what it holds."""
