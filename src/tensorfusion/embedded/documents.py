"""What the API says about itself, by path: discovery, OpenAPI, the version, and which paths there are.

Aggregated discovery and OpenAPI documents are known by a digest of their content: as an ETag, and of OpenAPI v3 also in
the URL that the index names. Whoever has the content already is told so; a URL with the right digest may be kept.
"""

from datetime import timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.embedded.access.tokens import ISSUER_PATH, KEYS_PATH, AccountTokens
from tensorfusion.embedded.discovery import AGGREGATED_TYPE, Discovery, digest
from tensorfusion.embedded.negotiation import (
    JSON,
    YAML,
    Form,
    NoSuchType,
    clauses,
    negotiate,
    not_acceptable,
    wrong_form,
)
from tensorfusion.embedded.responses import PAGE_NOT_FOUND, Response
from tensorfusion.embedded.statuses import no_such_resource
from tensorfusion.errors import NotFound

_VARY = ((b"vary", b"Accept"),)
_OPENAPI_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_ASKED_OPENAPI_V2_PROTOBUF = "com.github.proto-openapi.spec.v2@v1.0+protobuf"
_EMPTY_OPENAPI_V2 = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1\x42\x00"
"""openapi.v2.Document with version and title and nothing else.

kubectl validates by OpenAPI v3 and asks for this one, as protocol buffers only, when it meets a kind that v3 does not
have. What it looks for is not in a complete document either.
"""
_JWKS = "application/jwk-set+json"
_NO_CACHE = b"no-cache, private"
_FOR_AN_HOUR = b"public, max-age=3600"
_KEPT_FOR = timedelta(days=365)
_NO_DOCUMENT = Response(b"", 404, "")
_WILDCARDS = ("*/*", "application/*")
_ROOTS = 2  # "apis" and a group


class Documents:
    """The documents of one server. ``address`` is set when it is known where the server listens; ``more_paths`` are
    those that others answer at."""

    def __init__(self, discovery: Discovery, accounts: AccountTokens, *, clock: Clock) -> None:
        self._discovery = discovery
        self._accounts = accounts
        self._clock = clock
        self.address = ""
        self.more_paths: list[str] = []

    def answer(self, path: str, accept: str, *, query: bytes = b"", known: bytes = b"") -> Response:
        """The document at a path; ``known`` are the ETags that the client has the content of.

        Raises:
            NotFound: a version that one of the server's own groups does not have.
            NotAcceptable: the client takes no form that there is.
        """
        parts = path.split("/")[1:]
        if parts[0] == "openapi":
            return self._openapi(parts[1:], accept, query, known)
        if parts == [""]:
            return self._index()
        if parts[-1] == "":
            parts.pop()
        try:
            return self._discovered(parts, accept, known)
        except NotFound:
            if parts[0] != "apis" or self._discovery.is_builtin(parts[1]):
                raise no_such_resource() from None
            return PAGE_NOT_FOUND

    def _discovered(self, parts: list[str], accept: str, known: bytes) -> Response:
        match parts:
            case ["api" | "apis" as root] if _wants_aggregated(accept):
                found = self._discovery
                body = found.aggregated_core() if root == "api" else found.aggregated_groups()
                return _tagged(body, known, media_type=AGGREGATED_TYPE, cache=b"public")
            case ["api"]:
                body = self._discovery.core_versions(self.address)
            case ["apis"]:
                body = self._discovery.groups()
            case ["api", version]:
                body = self._discovery.resources("", version)
            case ["apis", group]:
                body = self._discovery.group(group)
            case ["apis", group, version]:
                body = self._discovery.resources(group, version)
            case ["version"]:
                return _only(JSON, accept, self._discovery.version())
            case [".well-known", "openid-configuration"]:
                body = msgspec.json.encode(self._accounts.issuer(self.address))
                return _only(JSON, accept, body, cache=_FOR_AN_HOUR)
            case ["openid", "v1", "jwks"]:
                return _only(_JWKS, accept, msgspec.json.encode(self._accounts.keys()), cache=_FOR_AN_HOUR)
            case ["version", *_]:
                raise no_such_resource()
            case _:
                return PAGE_NOT_FOUND
        apart = parts[0] == "apis" and len(parts) <= _ROOTS  # these are served, and refused, in a way of their own
        try:
            wanted = negotiate(accept.replace("application/*", JSON) if apart else accept)
        except NoSuchType as error:
            if apart:
                raise wrong_form(JSON, YAML) from error
            raise
        if wanted.form is not Form.OBJECT:
            raise wrong_form(JSON)
        return Response(body, wanted=wanted.media_type)

    def _index(self) -> Response:
        paths = sorted({*self._discovery.paths(), ISSUER_PATH, KEYS_PATH, *self.more_paths})
        return Response(msgspec.json.format(msgspec.json.encode({"paths": paths})))

    def _openapi(self, parts: list[str], accept: str, query: bytes, known: bytes) -> Response:
        if parts == ["v2"] and _ASKED_OPENAPI_V2_PROTOBUF in accept:
            return Response(_EMPTY_OPENAPI_V2, media_type=_OPENAPI_V2_PROTOBUF, headers=_VARY)
        if parts == ["v3"]:
            return Response(self._discovery.openapi_v3_index(), media_type="text/plain; charset=utf-8")
        try:
            match parts:
                case ["v2"]:
                    body = self._discovery.openapi_v2()
                case ["v3", "api", version]:
                    body = self._discovery.openapi_v3("", version)
                case ["v3", "apis", group, version]:
                    body = self._discovery.openapi_v3(group, version)
                case [] | ["v2", *_]:
                    return PAGE_NOT_FOUND
                case _:
                    return _NO_DOCUMENT
        except NotFound:
            return _NO_DOCUMENT
        if not _takes_json(accept):
            return Response(b"", 406, "", headers=_VARY)
        asked = parse_qs(query.decode("latin-1")).get("hash", [""])[0] if parts[0] == "v3" else ""
        if not asked:
            return _tagged(body, known)
        if asked != digest(body):
            location = f"/openapi/{'/'.join(parts)}?hash={digest(body)}".encode()
            return Response(b"", 301, headers=(*_VARY, _tag(body), (b"location", location)))
        expires = format_datetime(self._clock.now() + _KEPT_FOR, usegmt=True).encode()
        return _tagged(body, known, cache=b"public, immutable", more=((b"expires", expires),))


def _only(media_type: str, accept: str, body: bytes, *, cache: bytes = _NO_CACHE) -> Response:
    """A document that there is in one form.

    Raises:
        NotAcceptable: the client takes another one.
    """
    if not any(accepted in (media_type, "*/*") for accepted, _ in clauses(accept)):
        raise not_acceptable(media_type)
    return Response(body, media_type=media_type, cache=cache)


def _tagged(
    body: bytes,
    known: bytes,
    *,
    media_type: str = JSON,
    cache: bytes = _NO_CACHE,
    more: tuple[tuple[bytes, bytes], ...] = (),
) -> Response:
    """A document with its ETag, or that the client has it already."""
    tag = _tag(body)
    headers = (*_VARY, tag, *more)
    if tag[1] in known or known.strip() == b"*":
        return Response(b"", 304, "", headers=headers, cache=cache)
    return Response(body, media_type=media_type, headers=headers, cache=cache)


def _tag(body: bytes) -> tuple[bytes, bytes]:
    return b"etag", f'"{digest(body)}"'.encode()


def _takes_json(accept: str) -> bool:
    return any(media_type in (JSON, *_WILDCARDS) for media_type, _ in clauses(accept))


def _wants_aggregated(accept: str) -> bool:
    """Whether the client takes aggregated discovery at all: those who do would rather have it."""
    return any(
        media_type in (JSON, *_WILDCARDS)
        and (parameters.get("as"), parameters.get("v")) == ("APIGroupDiscoveryList", "v2")
        and parameters.get("g") == "apidiscovery.k8s.io"
        for media_type, parameters in clauses(accept)
    )
