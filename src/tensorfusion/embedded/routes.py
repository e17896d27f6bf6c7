"""Resource requests: from a parsed target to the operation, and from its result to an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tensorfusion.clock import Clock
from tensorfusion.embedded.access.requests import request_token
from tensorfusion.embedded.access.reviews import Reviews
from tensorfusion.embedded.access.tokens import AccountTokens
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.bodies import Receive, decode_body, decode_config, read_body
from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.changes import Change, Configuration, Patch
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.deletion import Deleted, delete, delete_collection
from tensorfusion.embedded.eviction import evict
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.negotiation import Form, Representation, negotiate
from tensorfusion.embedded.node_endpoint import LogStream
from tensorfusion.embedded.objects import JsonObject, decode_object, encode, metadata_of, text_of
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.options import (
    WriteOptions,
    check_reached,
    delete_options,
    list_options,
    manager_of_agent,
    parse_revision,
    patch_options,
    shown_delete_options,
    shown_options,
    wants_cascade,
    write_options,
)
from tensorfusion.embedded.patching import check_patch_type, is_apply, parse_patch
from tensorfusion.embedded.pod_streams import PodStreams, Said, StreamRequest
from tensorfusion.embedded.reading import keep_of, list_body, object_body, read_page
from tensorfusion.embedded.responses import Response
from tensorfusion.embedded.schema.decode import compile_decoder
from tensorfusion.embedded.schema.schema import Schema
from tensorfusion.embedded.statuses import method_not_allowed, no_such_resource, not_found, success
from tensorfusion.embedded.store import ObjectKey, Page, Record
from tensorfusion.embedded.subresources import bind, change_scale, finalize, scale_of, shown_scale
from tensorfusion.embedded.tables import IncludeObject, include_object, partial, scale_table
from tensorfusion.embedded.targets import Target
from tensorfusion.embedded.tunnels import Tunnel
from tensorfusion.embedded.updates import apply, is_made_through, modify, update
from tensorfusion.embedded.watch_events import Shapes
from tensorfusion.embedded.watching import Watch
from tensorfusion.errors import ApiError, BadRequest

_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_WATCH_SECONDS = 2400.0
_BOOKMARK_EVERY = 50.0
_BODY_SECONDS = 60.0
_TOKEN_REQUEST = ("authentication.k8s.io", "v1", "TokenRequest")
_OF_COLLECTION = frozenset({"list", "create", "deletecollection", "watch"})

Streamed: TypeAlias = Watch | LogStream | Said
Answer: TypeAlias = Response | Streamed | Tunnel


@dataclass(slots=True)
class Request:
    """One request for a resource, its body not read yet."""

    target: Target
    query: dict[str, str]
    user: User
    receive: Receive
    accept: str = ""
    content_type: str = ""
    content_length: bytes | None = None
    agent: str = ""
    method: str = ""
    query_string: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    arrived: bool = False  # the whole body is here: nobody has to be waited for
    repeated: list[str] = field(default_factory=list)  # complaints of keys that the body holds twice
    warnings: list[str] = field(default_factory=list)  # what the client is told beside the answer, or beside a refusal

    async def body(self) -> bytes:
        """Raises:
        ApiError: the client was too slow to send it (408), or sent too much.
        """
        if self.arrived:
            return await read_body(self.receive, self.content_length)
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await read_body(self.receive, self.content_length)
        except TimeoutError as error:
            why = f"the body did not arrive within {_BODY_SECONDS:.0f} s: send it at once, or smaller"
            raise ApiError(why, code=408, reason="Timeout") from error


class Routes:
    """Serves resources. One instance per server."""

    def __init__(
        self,
        operations: Operations,
        reviews: Reviews,
        accounts: AccountTokens,
        *,
        clock: Clock,
        node_socket: Path,
        bookmark_every: float = _BOOKMARK_EVERY,
    ) -> None:
        self._operations = operations
        self._store = operations.store
        self._reviews = reviews
        self._accounts = accounts
        self._clock = clock
        self._bookmark_every = bookmark_every
        self._decode_deletion = compile_decoder(operations.kinds.facts.definitions, _DELETE_OPTIONS)
        self._shapes = Shapes(clock)
        self._streams = PodStreams(operations, node_socket, clock=clock)
        self._reads: dict[str, Callable[[Request, Kind], Answer]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
        }
        self._writes = {
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        self._subresources: dict[str, Callable[[Request, Kind], Awaitable[Answer]]] = {
            "log": self._log,
            "exec": self._connect,
            "attach": self._connect,
            "portforward": self._connect,
            "status": self._status,
            "scale": self._scale,
            "binding": self._binding,
            "eviction": self._eviction,
            "token": self._token,
            "finalize": self._finalize,
        }

    async def answer(self, request: Request, kind: Kind) -> Answer:
        """Carry a request out.

        Raises:
            ApiError: anything that went wrong, ready to be sent.
        """
        target = request.target
        if target.deep or (target.namespace and not kind.namespaced):
            raise no_such_resource()
        answers = self._reviews.answers.get(kind.resource.id)
        if answers is not None:
            return await self._review(request, kind)
        if target.subresource:
            serve = self._subresources.get(target.subresource)
            if serve is None or target.subresource not in kind.subresources:
                raise not_found(kind.resource, target.name) if kind.is_custom else no_such_resource()
            return await serve(request, kind)
        everywhere = kind.namespaced and not target.namespace
        if everywhere and target.name and not kind.is_custom:
            raise no_such_resource()  # there is no such path; a custom kind's path exists and knows no verb
        if target.verb not in kind.verbs:
            raise method_not_allowed()
        misplaced = bool(target.name) is (target.verb in _OF_COLLECTION) and target.verb != "watch"
        if misplaced and not (kind.is_custom and target.verb == "create"):  # whose name counts is the body's
            raise method_not_allowed()
        if everywhere and target.verb not in ("list", "watch"):
            raise method_not_allowed()
        negotiate(request.accept, streamed=target.verb == "watch")  # what cannot be answered is not done
        if "%" in target.name:
            raise BadRequest(f"Name parameter invalid: \"{target.name}\": may not contain '%'")
        read = self._reads.get(target.verb)
        return read(request, kind) if read is not None else await self._writes[target.verb](request, kind)

    # --- reading ---

    def _get(self, request: Request, kind: Kind) -> Response:
        target = request.target
        if "export" in request.query:
            raise BadRequest("the export parameter, deprecated since v1.14, is no longer supported")
        check_reached(parse_revision(request.query.get("resourceVersion", "")), self._store.revision)
        record = self._store.get(ObjectKey(kind.stored.id, target.namespace, target.name))
        if record is None:
            raise not_found(kind.resource, target.name)
        return self._object(request, kind, record)

    def _list(self, request: Request, kind: Kind) -> Response:
        options = list_options(request.query, watch=False)
        representation = negotiate(request.accept)
        page = read_page(self._store, kind, request.target.namespace, options)
        return self._page(request, kind, page, representation)

    def _watch(self, request: Request, kind: Kind) -> Watch:
        options = list_options(request.query, watch=True)
        shown = negotiate(request.accept, streamed=True)
        return Watch(
            self._store,
            self._shapes.of(kind, shown, _include(request, shown)),
            request.target.namespace,
            options,
            name=request.target.name,
            bookmark_every=self._bookmark_every,
            timeout=_WATCH_SECONDS,
        )

    # --- writing ---

    async def _create(self, request: Request, kind: Kind) -> Response:
        options = write_options(request.query, "CreateOptions")
        obj = await self._decoded(request, kind.resource.kind)
        call = _call(request, options)
        record = await create(self._operations, kind, request.target.namespace, obj, call)
        return self._object(request, kind, record, status=201)

    async def _update(self, request: Request, kind: Kind) -> Response:
        options = write_options(request.query, "UpdateOptions")
        target = request.target
        obj = await self._decoded(request, kind.resource.kind)
        call = _call(request, options)
        record, made = await update(
            self._operations, kind, target.namespace, target.name, obj, call, subresource=target.subresource
        )
        return self._object(request, kind, record, status=201 if made else 200)

    async def _patch(self, request: Request, kind: Kind) -> Response:
        check_patch_type(kind, request.content_type)
        applies = is_apply(request.content_type)
        options = patch_options(request.query, applies=applies)
        target = request.target
        body = await request.body()
        call = _call(request, options)
        if applies:
            wanted = await self._configuration(request, kind, body, call, force=bool(options.force))
            record, made = await apply(
                self._operations, kind, target.namespace, target.name, wanted, call, subresource=target.subresource
            )
            return self._object(request, kind, record, status=201 if made else 200)
        patch = self._parsed(request, kind, body)
        call.repeated = patch.repeated
        record = await modify(
            self._operations, kind, target.namespace, target.name, patch, call, subresource=target.subresource
        )
        return self._object(request, kind, record)

    def _parsed(self, request: Request, kind: Kind, body: bytes, *, schema: Schema | None = None) -> Patch:
        """The patch in a body. That what it should change is not there is said before all that is wrong with it."""
        try:
            return parse_patch(kind, request.content_type, body, schema=schema)
        except ApiError:
            self._check_there(kind, request.target)
            raise

    async def _configuration(
        self, request: Request, kind: Kind, body: bytes, call: Call, *, force: bool
    ) -> Configuration:
        """What is to be applied; of parts of an object as ``_parsed``."""
        try:
            return Configuration(await decode_config(body, call), force)
        except ApiError:
            if not is_made_through(kind, request.target.subresource):
                self._check_there(kind, request.target)
            raise

    def _check_there(self, kind: Kind, target: Target) -> None:
        if self._store.latest(ObjectKey(kind.stored.id, target.namespace, target.name)) is None:
            raise not_found(kind.resource, target.name)

    async def _delete(self, request: Request, kind: Kind) -> Response:
        target = request.target
        body = await self._delete_body(request)
        options, dry_run = delete_options(request.query, body)
        call = _delete_call(request, body, dry_run=dry_run)
        deleted = await delete(self._operations, kind, target.namespace, target.name, options, call)
        status = 202 if not deleted.gone and wants_cascade(request.query, body) else 200
        return self._deleted(request, kind, deleted, call, status=status)

    def _deleted(self, request: Request, kind: Kind, deleted: Deleted, call: Call, *, status: int) -> Response:
        if not deleted.gone or kind.returns_deleted:
            return self._object(request, kind, deleted.record, status=status)
        resource = kind.resource
        details = {"name": deleted.record.key.name, "kind": resource.plural, "uid": deleted.record.uid}
        if resource.group:
            details["group"] = resource.group
        return self._plain(request, success(details=details))

    async def _delete_collection(self, request: Request, kind: Kind) -> Response:
        selection = list_options(request.query, watch=False)
        body = await self._delete_body(request)
        options, dry_run = delete_options(request.query, body)
        call = _delete_call(request, body, dry_run=dry_run)
        records = await delete_collection(
            self._operations, kind, request.target.namespace, options, call, keep=keep_of(kind, selection)
        )
        return self._page(request, kind, Page(records, self._store.revision), negotiate(request.accept))

    async def _delete_body(self, request: Request) -> JsonObject | None:
        body = await request.body()
        if not body.strip():
            return None
        options = await decode_body(body, request.content_type, wanted="DeleteOptions", repeated=[])
        named = options.get("kind") in (None, "", "DeleteOptions")
        if not named or not isinstance(options.get("apiVersion") or "", str):
            found = f"{options.get('kind')!r} of {options.get('apiVersion')!r}"
            raise BadRequest(f"the body of a deletion: wanted DeleteOptions, found {found}")
        self._decode_deletion(options, None, [])
        return options

    # --- subresources ---

    async def _status(self, request: Request, kind: Kind) -> Response:
        target = request.target
        match target.verb:
            case "get":
                return self._get(request, kind)
            case "update":
                return await self._update(request, kind)
            case "patch":
                return await self._patch(request, kind)
            case _:
                raise method_not_allowed(kind.resource if kind.is_custom else None, target.verb)

    async def _scale(self, request: Request, kind: Kind) -> Response:
        target = request.target
        call: Call | None = None
        if target.verb == "get":
            found = self._store.get(ObjectKey(kind.resource.id, target.namespace, target.name))
            if found is None:
                raise not_found(kind.resource, target.name)
            return self._scale_shown(request, shown_scale(kind, decode_object(found.data)))
        if target.verb == "update":
            options = write_options(request.query, "UpdateOptions")
            wanted = await self._decoded(request, "Scale")
            call = _call(request, options)
            record = await change_scale(
                self._operations, kind, target.namespace, target.name, lambda current: wanted, call
            )
        elif target.verb == "patch":
            check_patch_type(kind, request.content_type)
            applies = is_apply(request.content_type)
            options = patch_options(request.query, applies=applies)
            call, body = _call(request, options), await request.body()
            change: Change | Configuration
            if applies:
                change = await self._configuration(request, kind, body, call, force=bool(options.force))
            else:
                change = self._parsed(request, kind, body, schema=kind.subresources["scale"].schema)
                call.repeated = change.repeated
            record = await change_scale(self._operations, kind, target.namespace, target.name, change, call)
        else:
            raise method_not_allowed(kind.resource if kind.is_custom else None, target.verb)
        return self._scale_shown(request, scale_of(kind, decode_object(record.data)))

    def _scale_shown(self, request: Request, scale: JsonObject) -> Response:
        """A Scale in the form that was asked for."""
        representation = negotiate(request.accept)
        match representation.form:
            case Form.TABLE:
                include, version = _include(request, representation), representation.version
                scale = scale_table(scale, now=self._clock.now(), include=include, version=version)
            case Form.PARTIAL:
                scale = partial(scale, representation.version)
        return self._plain(request, scale)

    async def _binding(self, request: Request, kind: Kind) -> Response:
        target = request.target
        if target.verb != "create":
            raise method_not_allowed()
        options = write_options(request.query, "CreateOptions")
        binding = await self._decoded(request, "Binding")
        call = _call(request, options)
        await bind(self._operations, kind, target.namespace, target.name, binding, call)
        return self._plain(request, success(code=201), status=201)

    async def _eviction(self, request: Request, kind: Kind) -> Response:
        target = request.target
        if target.verb != "create":
            raise method_not_allowed()
        options = write_options(request.query, "CreateOptions")
        eviction = await self._decoded(request, "Eviction")
        if eviction.get("apiVersion") == "policy/v1beta1":  # the same, in older clients' words
            eviction["apiVersion"] = "policy/v1"
        call = _call(request, options)
        await evict(self._operations, kind, target.namespace, target.name, eviction, call)
        return self._plain(request, success(code=201), status=201)

    async def _token(self, request: Request, kind: Kind) -> Response:
        target = request.target
        if target.verb != "create":
            raise method_not_allowed()
        options = write_options(request.query, "CreateOptions")
        wanted = await self._decoded(request, "TokenRequest")
        call = _call(request, options)
        schema = kind.subresources["token"].schema
        if schema is not None:
            call.warnings += schema.prepare(wanted, strict=options.validation, repeated=request.repeated)
        asked = Asked(
            Operation.CREATE,
            kind,
            target.namespace,
            target.name,
            call,
            wanted,
            subresource="token",
            shape=_TOKEN_REQUEST,
        )
        await self._operations.admission.consult(asked)
        wanted = asked.wanted
        answer = request_token(self._store, self._accounts, target.namespace, target.name, wanted, clock=self._clock)
        return self._plain(request, answer, status=201)

    async def _finalize(self, request: Request, kind: Kind) -> Response:
        target = request.target
        if target.verb != "update":
            raise method_not_allowed()
        options = write_options(request.query, "UpdateOptions")
        wanted = await self._decoded(request, kind.resource.kind)
        call = _call(request, options)
        record = await finalize(self._operations, kind, target.name, wanted, call)
        return self._object(request, kind, record)

    async def _log(self, request: Request, kind: Kind) -> LogStream | Said:
        return await self._streams.log(_stream_request(request), kind)

    async def _connect(self, request: Request, kind: Kind) -> Tunnel:
        return await self._streams.connect(_stream_request(request), kind)

    async def _review(self, request: Request, kind: Kind) -> Response:
        target = request.target
        if target.name:
            raise no_such_resource()
        if target.verb != "create":
            raise method_not_allowed()
        options = write_options(request.query, "CreateOptions")
        review = await self._decoded(request, kind.resource.kind)
        call = _call(request, options)
        call.warnings += kind.schema.prepare(review, strict=options.validation, repeated=request.repeated)
        asked = Asked(Operation.CREATE, kind, target.namespace, text_of(metadata_of(review), "name"), call, review)
        await self._operations.admission.consult(asked)
        answer = self._reviews.answers[kind.resource.id](request.user, asked.wanted, target.namespace)
        return self._plain(request, answer, status=201)

    # --- answers ---

    async def _decoded(self, request: Request, wanted: str) -> JsonObject:
        body = await request.body()
        return await decode_body(body, request.content_type, wanted=wanted, repeated=request.repeated)

    def _object(self, request: Request, kind: Kind, record: Record, *, status: int = 200) -> Response:
        representation = negotiate(request.accept)
        body = object_body(
            kind, record, representation, include=_include(request, representation), now=self._clock.now()
        )
        return Response(body, status, wanted=representation.media_type, warnings=request.warnings)

    def _page(self, request: Request, kind: Kind, page: Page, representation: Representation) -> Response:
        body = list_body(kind, page, representation, include=_include(request, representation), now=self._clock.now())
        return Response(body, wanted=representation.media_type, warnings=request.warnings)

    def _plain(self, request: Request, obj: JsonObject, *, status: int = 200) -> Response:
        """An object that is no stored one: always itself, whatever form was asked for."""
        media_type = negotiate(request.accept).media_type
        return Response(encode(obj) + b"\n", status, wanted=media_type, warnings=request.warnings)


def _call(request: Request, options: WriteOptions) -> Call:
    manager = options.manager or manager_of_agent(request.agent)
    return Call(
        request.user,
        options.dry_run,
        options.validation,
        request.warnings,
        manager=manager,
        repeated=request.repeated,
        options=shown_options(request.query),
    )


def _delete_call(request: Request, body: JsonObject | None, *, dry_run: bool) -> Call:
    shown = shown_delete_options(request.query, body)
    return Call(request.user, dry_run, warnings=request.warnings, options=shown)


def _stream_request(request: Request) -> StreamRequest:
    return StreamRequest(request.target, request.query_string, request.method, request.headers, Call(request.user))


def _include(request: Request, representation: Representation) -> IncludeObject:
    """How much of the objects the rows of a Table carry; it says nothing to anybody else."""
    if representation.form is not Form.TABLE:
        return IncludeObject.METADATA
    return include_object(request.query.get("includeObject", ""))
