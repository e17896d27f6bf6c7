"""What the API says about itself: discovery, OpenAPI, the version. Answers paths that are no resources."""

from tensorfusion.embedded.discovery import Discovery
from tensorfusion.embedded.negotiation import JSON, clauses
from tensorfusion.embedded.responses import Response

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_VERSIONS = ("v2", "v2beta1")


class Documents:
    """The documents of one server."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    def answer(self, path: str, accept: str) -> Response | None:
        """The document at a path, None where there is none.

        Raises:
            NotFound: a group or version that is not served.
        """
        parts = [part for part in path.split("/") if part]
        match parts:
            case ["api"]:
                return self._groups(accept, core=True)
            case ["apis"]:
                return self._groups(accept, core=False)
            case ["api", version]:
                return Response(self._discovery.resources("", version))
            case ["apis", group]:
                return Response(self._discovery.group(group))
            case ["apis", group, version]:
                return Response(self._discovery.resources(group, version))
            case ["version"]:
                return Response(self._discovery.version())
            case ["openapi", "v2"]:
                return Response(self._discovery.openapi_v2())
            case ["openapi", "v3"]:
                return Response(self._discovery.openapi_index())
            case ["openapi", "v3", *rest]:
                return Response(self._discovery.openapi_v3("/".join(rest)))
            case _:
                return None

    def _groups(self, accept: str, *, core: bool) -> Response:
        version = _aggregated(accept)
        if version:
            body = self._discovery.aggregated_core() if core else self._discovery.aggregated_groups()
            return Response(body, media_type=_AGGREGATED.format(version), headers=((b"vary", b"Accept"),))
        return Response(self._discovery.legacy_core() if core else self._discovery.legacy_groups())


def _aggregated(accept: str) -> str:
    """The version of aggregated discovery that the client prefers to the legacy form, ``""`` for none."""
    for media_type, parameters in clauses(accept):
        if media_type in (JSON, "*/*", "application/*"):
            if not parameters:
                return ""
            if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") in _VERSIONS:
                return parameters["v"]
    return ""
