"""What the API says of itself: groups, versions and resources (legacy and aggregated), OpenAPI, version.

All answers are bytes, made when they are first asked for and kept until the registry changes. Requests for single
documents carry the content's hash, so clients cache them for good.
"""

import hashlib
import platform
from collections.abc import Callable, Sequence

import msgspec

from tensorfusion.embedded.kinds import Kind, Kinds
from tensorfusion.embedded.openapi import document_v2, document_v3
from tensorfusion.errors import NotFound
from tensorfusion.model.meta import Raw

AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BUILD = "tensorfusion"


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
        return _encode(
            {
                **facts,
                "gitVersion": f"{facts['gitVersion']}+{BUILD}",
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "",
                "compiler": f"{platform.python_implementation()} {platform.python_version()}",
                "platform": f"{platform.system().lower()}/{platform.machine()}",
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
            found = self._documents[kinds] = _encode(document_v3(kinds, facts, facts.version["gitVersion"]))
        return found

    def openapi_v2(self) -> bytes:
        """``GET /openapi/v2`` as JSON."""
        facts = self._kinds.facts
        return self._kept("v2", lambda: document_v2(self._kinds.all(), facts, facts.version["gitVersion"]))

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
        for group, versions in self._kinds.groups().items():
            if group:
                named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
                entries.append({"name": group, "versions": named, "preferredVersion": named[0]})
        return entries

    def _resources(self, group: str, version: str) -> Raw:
        entries: list[Raw] = []
        for kind in self._in_group(group, version):
            entries.append(_legacy_entry(kind))
            entries += [_legacy_subresource(kind, name) for name in sorted(kind.subresources)]
        group_version = f"{group}/{version}" if group else version
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}

    def _aggregated(self, *, core: bool) -> Raw:
        items: list[Raw] = []
        for group, versions in self._kinds.groups().items():
            if bool(group) is not core:
                served = [
                    {
                        "version": version,
                        "resources": [_aggregated_entry(kind) for kind in self._kinds.in_group(group, version)],
                        "freshness": "Current",
                    }
                    for version in versions
                ]
                items.append({"metadata": {"name": group} if group else {}, "versions": served})
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}

    def _index(self) -> Raw:
        paths: Raw = {}
        for group, versions in self._kinds.groups().items():
            for version in versions:
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                digest = hashlib.sha256(self.openapi_v3(group, version)).hexdigest().upper()
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return {"paths": paths}


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
