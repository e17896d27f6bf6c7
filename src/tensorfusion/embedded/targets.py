"""What a request is about, from its method, path and query: the resource, or a path that is none.

Source: Kubernetes API concepts, resource URIs; the request info of a real API server.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from tensorfusion.embedded.access.rules import Attributes
from tensorfusion.embedded.statuses import method_not_allowed
from tensorfusion.errors import BadRequest

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_NAMESPACE = frozenset({"status", "finalize"})
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST_PARAMETERS = 1024  # each part of a command that is executed is one


@dataclass(frozen=True, slots=True)
class Target:
    """Where a resource URL points. ``verb`` is the API verb; ``deep`` holds what follows a subresource."""

    verb: str
    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    deep: str = ""

    def attributes(self, *, selected_name: str = "") -> Attributes:
        """What RBAC is asked. A list of one name, by field selector, is a question about that name."""
        namespace = self.name if self.resource == "namespaces" and not self.group else self.namespace
        return Attributes(self.verb, self.group, self.resource, self.subresource, self.name or selected_name, namespace)


def parse_target(method: str, path: str, query: Mapping[str, str]) -> Target | None:
    """The resource that a URL names, None for every other path.

    Raises:
        MethodNotAllowed: the method is not one of watches.
    """
    parts = path.split("/")
    if len(parts) < 4 or parts[0] or parts[1] not in ("api", "apis"):
        return None
    group, rest = ("", parts[2:]) if parts[1] == "api" else (parts[2], parts[3:])
    if rest and rest[-1] == "":
        rest = rest[:-1]
    if len(rest) < 2 or not all(rest):
        return None
    version, rest = rest[0], rest[1:]
    watched = rest[0] == "watch"  # the old way to ask for a watch, and the only one for a watch of one object's path
    if watched:
        rest = rest[1:]
        if not rest:
            return None
        if method not in ("GET", "HEAD"):
            raise method_not_allowed()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _OF_NAMESPACE:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    verb = _VERBS.get(method, "")  # others have no verb, and no resource has them
    if watched:
        verb = "watch"
    elif not name:
        if verb == "get":
            verb = "watch" if is_true(query.get("watch")) else "list"
        elif verb == "delete":
            verb = "deletecollection"
    return Target(verb, group, version, resource, namespace, name, subresource, "/".join(rest[3:]))


def parse_query(query: bytes) -> dict[str, str]:
    """Parameters of a query, the first of each name; of ``dryRun``, the one list among them, all that differ.

    What has an escape that is none counts as not there.

    Raises:
        BadRequest: too many, or not UTF-8.
    """
    if not query:
        return {}
    try:
        text = query.decode("ascii")
        if _BAD_ESCAPE.search(text):
            text = "&".join(part for part in text.split("&") if not _BAD_ESCAPE.search(part))
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise BadRequest(f"the query does not parse: {error}") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value and name == "dryRun":
            found[name] += f'","{value}'
    return found


def is_true(value: str | None) -> bool:
    """A boolean parameter: present, and not false, however that is written."""
    return value is not None and value.lower() not in ("false", "0")
