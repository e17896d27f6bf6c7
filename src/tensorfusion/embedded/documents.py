"""What the API says about itself, by path: discovery, OpenAPI, the version."""

from tensorfusion.embedded.discovery import AGGREGATED_TYPE, Discovery
from tensorfusion.embedded.negotiation import JSON, clauses
from tensorfusion.embedded.responses import Response

_VARY = ((b"vary", b"Accept"),)
_OPENAPI_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_ASKED_OPENAPI_V2_PROTOBUF = "com.github.proto-openapi.spec.v2@v1.0+protobuf"
_EMPTY_OPENAPI_V2 = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1\x42\x00"
"""openapi.v2.Document with version and title and nothing else.

kubectl validates by OpenAPI v3 and asks for this one, as protocol buffers only, when it meets a kind that v3 does not
have. What it looks for is not in a complete document either.
"""


class Documents:
    """The documents of one server. ``address`` is set when it is known where the server listens."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self.address = ""

    def answer(self, path: str, accept: str) -> Response | None:
        """The document at a path, None where there is none.

        Raises:
            NotFound: a group or version that is not served.
        """
        match [part for part in path.split("/") if part]:
            case ["api"]:
                if _wants_aggregated(accept):
                    return Response(self._discovery.aggregated_core(), media_type=AGGREGATED_TYPE, headers=_VARY)
                return Response(self._discovery.core_versions(self.address))
            case ["apis"]:
                if _wants_aggregated(accept):
                    return Response(self._discovery.aggregated_groups(), media_type=AGGREGATED_TYPE, headers=_VARY)
                return Response(self._discovery.groups())
            case ["api", version]:
                return Response(self._discovery.resources("", version))
            case ["apis", group]:
                return Response(self._discovery.group(group))
            case ["apis", group, version]:
                return Response(self._discovery.resources(group, version))
            case ["version"]:
                return Response(self._discovery.version())
            case ["openapi", *rest]:
                return self._openapi(rest, accept)
            case _:
                return None

    def _openapi(self, parts: list[str], accept: str) -> Response | None:
        match parts:
            case ["v2"]:
                if _ASKED_OPENAPI_V2_PROTOBUF in accept:
                    return Response(_EMPTY_OPENAPI_V2, media_type=_OPENAPI_V2_PROTOBUF, headers=_VARY)
                return Response(self._discovery.openapi_v2(), headers=_VARY)
            case ["v3"]:
                return Response(self._discovery.openapi_v3_index())
            case ["v3", "api", version]:
                return Response(self._discovery.openapi_v3("", version))
            case ["v3", "apis", group, version]:
                return Response(self._discovery.openapi_v3(group, version))
            case _:
                return None


def _wants_aggregated(accept: str) -> bool:
    """Whether the client prefers aggregated discovery to the older form."""
    for media_type, parameters in clauses(accept):
        if media_type in (JSON, "*/*", "application/*"):
            if not parameters:
                return False
            if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") == "v2":
                return True
    return False
