"""Which requests are written down: an audit policy, its first matching rule decides.

Bodies are never written: they may hold secrets, and a log that is safe to keep is worth more than one that is complete.
So the levels are None and Metadata, and a policy that asks for more is refused.

Source: audit.k8s.io/v1 Policy.
"""

from enum import StrEnum

import msgspec
import yaml

from tensorfusion.embedded.access.users import User
from tensorfusion.errors import ConfigError
from tensorfusion.model import keys

FILE = "audit-policy.yaml"
"""File in the cluster's folder that switches the audit log on: a Policy, or empty for the default one."""

_API_VERSION = "audit.k8s.io/v1"


class Level(StrEnum):
    """How much of a request is written."""

    NONE = "None"
    METADATA = "Metadata"


class Stage(StrEnum):
    """When a request is written: once it is over, or, for a watch, also when its answer begins."""

    RESPONSE_STARTED = "ResponseStarted"
    RESPONSE_COMPLETE = "ResponseComplete"


class GroupResources(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Resources of one API group; no resources means all. ``pods`` is not ``pods/log``; ``pods/*`` is."""

    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()

    def matches(self, target: "Subject") -> bool:
        if self.group not in (target.group, "*"):
            return False
        if self.resource_names and target.name not in self.resource_names:
            return False
        return not self.resources or any(_names(pattern, target) for pattern in self.resources)


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One rule: everything that it states has to match. Lists that are empty match everything."""

    level: str
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    paths: tuple[str, ...] = msgspec.field(default=(), name="nonResourceURLs")
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False

    def matches(self, user: User, subject: "Subject") -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.user_groups and not set(self.user_groups).intersection(user.groups):
            return False
        if self.verbs and subject.verb not in self.verbs and "*" not in self.verbs:
            return False
        if self.resources or self.namespaces:
            return subject.resource != "" and self._matches_resource(subject)
        if self.paths:
            return not subject.resource and any(_path_matches(one, subject.path) for one in self.paths)
        return True

    def _matches_resource(self, subject: "Subject") -> bool:
        if self.namespaces and subject.namespace not in self.namespaces:
            return False
        return not self.resources or any(entry.matches(subject) for entry in self.resources)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The rules in order; what none of them matches is not written."""

    api_version: str = _API_VERSION
    kind: str = "Policy"
    metadata: dict[str, object] = msgspec.field(default_factory=dict)
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False
    rules: tuple[Rule, ...] = ()

    def stages(self, user: User, subject: "Subject") -> frozenset[Stage]:
        """At which stages a request is written: none where it is not."""
        for rule in self.rules:
            if rule.matches(user, subject):
                if rule.level == Level.NONE:
                    return frozenset()
                return frozenset(Stage) - {*self.omit_stages, *rule.omit_stages}
        return frozenset()


class Subject(msgspec.Struct, frozen=True):
    """What a request is about. ``resource`` is empty for a path that is no resource."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


_OWN_ACCOUNTS = f"system:serviceaccounts:{keys.SYSTEM_NAMESPACE}"

DEFAULT = Policy(
    rules=(
        Rule(
            level=Level.NONE,
            resources=(
                GroupResources("coordination.k8s.io", ("leases",)),
                GroupResources("", ("events",)),
                GroupResources("events.k8s.io", ("events",)),
            ),
        ),
        Rule(level=Level.NONE, user_groups=(_OWN_ACCOUNTS,), verbs=("get", "list", "watch", "patch")),
        Rule(level=Level.METADATA, resources=(GroupResources("", ("secrets", "serviceaccounts/token")),)),
        Rule(
            level=Level.METADATA, resources=(GroupResources("", ("pods/exec", "pods/attach", "pods/portforward")),)
        ),  # over WebSocket they are GET requests
        Rule(level=Level.NONE, verbs=("get", "list", "watch")),
        Rule(level=Level.METADATA, omit_stages=(Stage.RESPONSE_STARTED,)),
    )
)
"""Every change by a person, every look at a secret, every way into a pod; not the chatter of our own components, leases
and events.
"""


def parse_policy(text: bytes, source: str) -> Policy:
    """A policy from YAML.

    Raises:
        ConfigError: not a policy, or one that asks for more than metadata; names ``source``, the value, what is wanted.
    """
    try:
        policy = msgspec.convert(yaml.safe_load(text), Policy)
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{source}: wanted a Policy of {_API_VERSION}, found something else: {_line(error)}"
        ) from error
    if policy.api_version != _API_VERSION or policy.kind != "Policy":
        found = f"{policy.api_version} {policy.kind}"
        raise ConfigError(f"{source}: wanted apiVersion {_API_VERSION} and kind Policy, found {found}")
    for place, rule in enumerate(policy.rules):
        if rule.level not in tuple(Level):
            raise ConfigError(
                f"{source}: rules[{place}].level: wanted None or Metadata (bodies are not written), "
                f"found {rule.level!r}"
            )
    return policy


def _names(pattern: str, subject: Subject) -> bool:
    resource, slash, subresource = pattern.partition("/")
    if pattern == "*":
        return True
    if not slash:
        return resource == subject.resource and not subject.subresource
    return resource in (subject.resource, "*") and (
        subject.subresource == subresource or (subresource == "*" and subject.subresource != "")
    )


def _path_matches(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
