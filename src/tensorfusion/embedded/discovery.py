"""What the API says of itself: groups, versions and resources (legacy and aggregated), OpenAPI, version.

All answers are bytes, made when they are first asked for and kept until the registry changes. Requests for single
documents carry the content's hash, so clients cache them for good.
"""

import hashlib
import platform
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.openapi import document_v2, document_v3
from tensorfusion.errors import NotFound
from tensorfusion.model.meta import Raw

AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BUILD = "tensorfusion"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
"""What Kubernetes calls the machines that it runs on."""
_ORDER = (
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
)
"""Groups in which clients look for a kind first; all others come behind, by name."""


class Discovery:
    """The discovery documents of a registry."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._answers: dict[str, bytes] = {}
        self._documents: dict[tuple[Kind, ...], bytes] = {}
        kinds.on_change(self._answers.clear)

    def version(self) -> bytes:
        """``GET /version``."""
        facts = self._kinds.facts.version
        major, minor = facts["major"], facts["minor"]
        return _encode(
            {
                "major": major,
                "minor": minor,
                "emulationMajor": major,
                "emulationMinor": minor,
                "minCompatibilityMajor": major,
                "minCompatibilityMinor": str(int(minor) - 1),
                "gitVersion": f"{facts['gitVersion']}+{BUILD}",
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "none",
                "compiler": f"{platform.python_implementation()} {platform.python_version()}",
                "platform": f"{platform.system().lower()}/{_MACHINES.get(platform.machine(), platform.machine())}",
            }
        )

    def core_versions(self, address: str) -> bytes:
        """``GET /api``. ``address`` is host and port that clients reach the server at."""
        server = {"clientCIDR": "0.0.0.0/0", "serverAddress": address}
        return _encode({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [server]})

    def groups(self) -> bytes:
        """``GET /apis``."""
        return self._kept("groups", lambda: {"kind": "APIGroupList", "apiVersion": "v1", "groups": self._groups()})

    def group(self, group: str) -> bytes:
        """``GET /apis/GROUP``.

        Raises:
            NotFound: no such group.
        """
        found = next((entry for entry in self._groups() if entry["name"] == group), None)
        if found is None:
            raise NotFound("the server could not find the requested resource", group=group)
        return _encode({"kind": "APIGroup", "apiVersion": "v1", **found})

    def resources(self, group: str, version: str) -> bytes:
        """``GET /api/v1`` and ``GET /apis/GROUP/VERSION``.

        Raises:
            NotFound: no such group and version.
        """
        return self._kept(f"resources/{group}/{version}", lambda: self._resources(group, version))

    def aggregated_core(self) -> bytes:
        """``GET /api`` for clients that ask for aggregated discovery."""
        return self._kept("aggregated-core", lambda: self._aggregated(core=True))

    def aggregated_groups(self) -> bytes:
        """``GET /apis`` for clients that ask for aggregated discovery."""
        return self._kept("aggregated", lambda: self._aggregated(core=False))

    def openapi_v3_index(self) -> bytes:
        """``GET /openapi/v3``."""
        return self._kept("v3", self._index)

    def openapi_v3(self, group: str, version: str) -> bytes:
        """``GET /openapi/v3/api/v1`` and ``GET /openapi/v3/apis/GROUP/VERSION``.

        Raises:
            NotFound: no such group and version.
        """
        kinds = tuple(self._in_group(group, version))
        found = self._documents.get(kinds)
        if found is None:
            facts = self._kinds.facts
            for stale in [
                key for key in self._documents if key[0].resource.api_version == kinds[0].resource.api_version
            ]:
                del self._documents[stale]
            found = self._documents[kinds] = _encode(document_v3(kinds, facts, self._minor_version()))
        return found

    def openapi_v2(self) -> bytes:
        """``GET /openapi/v2`` as JSON."""
        facts = self._kinds.facts
        return self._kept("v2", lambda: document_v2(self._kinds.all(), facts, self._minor_version()))

    def is_builtin(self, group: str) -> bool:
        """Whether a group is the server's own."""
        return self._kinds.is_builtin(group)

    def paths(self) -> list[str]:
        """Where there is discovery."""
        found = ["/api", "/apis", "/apis/", "/openapi/v2", "/openapi/v3", "/openapi/v3/", "/version"]
        for group, versions in self._kinds.groups().items():
            root = f"/apis/{group}" if group else "/api"
            found += [f"{root}/{version}" for version in versions]
            if group:
                found.append(root)
        return found

    def _minor_version(self) -> str:
        return f"{self._kinds.facts.version['major']}.{self._kinds.facts.version['minor']}"

    def _ordered(self) -> list[tuple[str, Sequence[str]]]:
        """The groups and their versions, as clients are to look through them; the core one first."""
        rank = {group: number for number, group in enumerate(("", *_ORDER))}
        return sorted(self._kinds.groups().items(), key=lambda item: (rank.get(item[0], len(rank)), item[0]))

    def _kept(self, key: str, make: Callable[[], Raw]) -> bytes:
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = _encode(make())
        return found

    def _in_group(self, group: str, version: str) -> Sequence[Kind]:
        kinds = self._kinds.in_group(group, version)
        if not kinds:
            raise NotFound("the server could not find the requested resource", group=group)
        return kinds

    def _groups(self) -> list[Raw]:
        entries = []
        for group, versions in self._ordered():
            if group:
                named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
                entries.append({"name": group, "versions": named, "preferredVersion": named[0]})
        return entries

    def _resources(self, group: str, version: str) -> Raw:
        entries: list[Raw] = []
        for kind in self._in_group(group, version):
            entries.append(_legacy_entry(kind))
            entries += [_legacy_subresource(kind, name) for name in sorted(kind.subresources)]
        entries.sort(key=lambda entry: str(entry["name"]))
        group_version = f"{group}/{version}" if group else version
        stated = {"apiVersion": "v1"} if group else {}  # what says it of the core group does not say its own version
        return {"kind": "APIResourceList", **stated, "groupVersion": group_version, "resources": entries}

    def _aggregated(self, *, core: bool) -> Raw:
        items: list[Raw] = []
        for group, versions in self._ordered():
            if bool(group) is not core:
                served = [
                    {
                        "version": version,
                        "resources": [
                            _aggregated_entry(kind)
                            for kind in sorted(self._kinds.in_group(group, version), key=_plural)
                        ],
                        "freshness": "Current",
                    }
                    for version in versions
                ]
                items.append({"metadata": {"name": group} if group else {}, "versions": served})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    def _index(self) -> Raw:
        paths: Raw = {}
        for group, versions in self._ordered():
            for version in versions:
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                paths[path] = {
                    "serverRelativeURL": f"/openapi/v3/{path}?hash={digest(self.openapi_v3(group, version))}"
                }
        return {"paths": paths}


@lru_cache(maxsize=64)
def digest(document: bytes) -> str:
    """What a document is known by to those who have it already."""
    return hashlib.sha512(document).hexdigest().upper()


def _plural(kind: Kind) -> str:
    return kind.resource.plural


def _legacy_entry(kind: Kind) -> Raw:
    entry: Raw = {
        "name": kind.resource.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.resource.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    return entry


def _legacy_subresource(kind: Kind, name: str) -> Raw:
    sub = kind.subresources[name]
    entry: Raw = {
        "name": f"{kind.resource.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": sub.kind,
        "verbs": list(sub.verbs),
    }
    if (sub.group, sub.version) != (kind.resource.group, kind.resource.version):
        entry |= {"group": sub.group, "version": sub.version}
    return entry


def _aggregated_entry(kind: Kind) -> Raw:
    resource = kind.resource
    entry: Raw = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    if kind.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for _, sub in sorted(kind.subresources.items())
        ]
    return entry


def _encode(answer: Raw) -> bytes:
    return msgspec.json.encode(answer)
