"""A collector of traces that reads what it gets by OTLP's public schema, strictly, and answers as it is told."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from tensorfusion.wire.reply import Reply
from tensorfusion.wire.request import Request
from tensorfusion.wire.server import Server


class Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    pass


class Value(Strict):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: str | None = None
    double_value: float | None = None

    @property
    def one(self) -> str | bool | int | float:
        given = [v for v in (self.string_value, self.bool_value, self.double_value) if v is not None]
        if self.int_value is not None:
            given.append(int(self.int_value))
        (only,) = given
        return only


class Attribute(Strict):
    key: str
    value: Value


class Status(Strict):
    code: int = 0
    message: str = ""


class Span(Strict):
    trace_id: str
    span_id: str
    name: str
    kind: int
    start_time_unix_nano: str
    end_time_unix_nano: str
    attributes: list[Attribute]
    status: Status
    flags: int = 0
    parent_span_id: str = ""
    trace_state: str = ""

    def of(self, key: str) -> str | bool | int | float | None:
        return next((one.value.one for one in self.attributes if one.key == key), None)


class Scope(Strict):
    name: str
    version: str = ""


class ScopeSpans(Strict):
    scope: Scope
    spans: list[Span]


class Resource(Strict):
    attributes: list[Attribute]


class ResourceSpans(Strict):
    resource: Resource
    scope_spans: list[ScopeSpans]


class Export(Strict):
    resource_spans: list[ResourceSpans]


@dataclass
class Collector:
    port: int = 0
    spans: list[Span] = field(default_factory=list)
    requests: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    """Path and Authorization."""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    """One for each request to come; then all is well."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: Request, reply: Reply) -> None:
        body = await request.whole(1 << 24)
        assert request.method == b"POST"
        assert request.field(b"content-type") == b"application/json"
        self.requests.append((request.target, request.field(b"authorization")))
        status, said = self.answers.pop(0) if self.answers else (200, b"{}")
        if status == 200:
            export = msgspec.json.decode(body, type=Export)
            (resource,) = export.resource_spans
            assert resource.resource.attributes[0].key == "service.name"
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        reply.send(status, ((b"Content-Type", b"application/json"),), said)


@contextlib.asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    server = Server(found.handle)
    found.port = await server.listen()
    try:
        yield found
    finally:
        await server.drain(0)
