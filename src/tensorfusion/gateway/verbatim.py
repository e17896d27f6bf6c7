"""What the gateway has no form for - audio, images, files, batches, rerank, and what comes after them: passed on as it
came, to the target of its model.

The model is named in a JSON body, in the field ``model`` of a form, or, where neither has one, by ``?model=`` or the
header ``x-tf-route``. An answer is judged by its status alone and goes to the client as its bytes come; one that breaks
off resets the client's connection, so that it is an end in no framing.

Source: OpenAI's API reference, "Audio", "Images", "Files", "Batches"; RFC 7578 (multipart/form-data).
"""

import re
from collections.abc import Mapping
from time import monotonic
from typing import Final
from urllib.parse import parse_qs

from tensorfusion.gateway.apis import Api, Call
from tensorfusion.gateway.asking import BYTES_OF_A_TOKEN, Asked, require_name
from tensorfusion.gateway.attempts import MOST_ANSWER, Attempt
from tensorfusion.gateway.faults import invalid
from tensorfusion.gateway.outcomes import Broken, of_refusal
from tensorfusion.gateway.passing import fields_back
from tensorfusion.gateway.reading import decoded
from tensorfusion.policy.routing.asks import Failure
from tensorfusion.wire.errors import BrokenOff, TimedOut
from tensorfusion.wire.relay import pour
from tensorfusion.wire.request import Request

_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE")
"""Others are for whoever is next: TRACE would say the credential back."""
_BOUNDARY: Final = re.compile(rb';[ \t]*boundary=(?:"([^"]{1,70})"|([!-:<-~]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(rb'content-disposition:[^\r\n]*;[ \t]*name="model"', re.IGNORECASE)
_NAMES: Final = (b'name="model"', b"name=model")
_URLENCODED: Final = b"application/x-www-form-urlencoded"
_MOST_MODEL: Final = 256
_CODING: Final = b"content-encoding"


class AskedVerbatim(Asked):
    """A request that goes on as it is, but for the name of its model."""

    __slots__ = ("_body", "_model_at")

    def __init__(self, request: Request, call: Call, body: bytes, *, routed: bool) -> None:
        """``routed``: the client names its route, so it need not name a model.

        Raises:
            Fault: it names neither.
        """
        self._model_at: tuple[int, int] | None = None
        kind = request.field(b"content-type") or b""
        _require_readable(request, kind, body)
        if (body and b"json" in kind.lower()) or _is_object(body):
            super().__init__(Api.VERBATIM, body, model_wanted=False)
        else:
            self._nothing()
            self.prompt_tokens = 0
        self._body = body
        self.method = request.method
        self.content_type = kind
        if not self.model and kind.lower().startswith(b"multipart/form-data"):
            self._model_at = _model_in(kind, body)
            if sum(body.count(name) for name in _NAMES) > (self._model_at is not None):
                raise invalid("the form names its model twice, or in a way that some read otherwise", param="model")
            if self._model_at is not None:
                self.model = body[slice(*self._model_at)].decode("utf-8", "replace")
        if not self.model:
            self.model = parse_qs(call.path.partition("?")[2]).get("model", [""])[0][:_MOST_MODEL]
        require_name(self.model)
        if not self.model and not routed:
            raise invalid(
                f"{call.path.partition('?')[0]} names no model: say it in the body, as ?model=, or name a route by the "
                "header x-tf-route",
                param="model",
            )
        self.prompt_tokens = self.prompt_tokens or -(-len(body) // BYTES_OF_A_TOKEN)

    def body_for(
        self, model: str, parameters: Mapping[str, bytes], *, further: Mapping[str, bytes] | None = None
    ) -> bytes:
        if "model" in self.parts:
            return super().body_for(model, parameters, further=further)
        if self._model_at is None or not model:
            return self._body
        start, end = self._model_at
        return b"%b%b%b" % (self._body[:start], model.encode(), self._body[end:])


def _is_object(body: bytes) -> bool:
    """Some read it as JSON whatever its type says."""
    return body[:1] in b"{ \t\r\n" and isinstance(decoded(body), dict)


def _require_readable(request: Request, kind: bytes, body: bytes) -> None:
    """Raises Fault: it cannot be seen here which model it asks for."""
    if request.method not in _METHODS:
        raise invalid(f"{request.method[:32].decode('latin-1')} is not passed on", status=405)
    if (request.field(b"content-encoding") or b"identity").lower() != b"identity":
        raise invalid("the body is coded: wanted no Content-Encoding", param="content-encoding", status=415)
    if body and kind.lower().startswith(_URLENCODED):
        raise invalid(f"{_URLENCODED.decode()} is not passed on: wanted JSON or multipart/form-data", status=415)


class VerbatimWay:
    """For one request."""

    __slots__ = ("_told", "first")

    def __init__(self) -> None:
        self._told = False
        self.first: Broken | None = None

    @property
    def told(self) -> bool:
        return self._told

    @property
    def open(self) -> bool:
        return not self._told

    async def attempt(self, attempt: Attempt) -> None:
        job = attempt.job
        started = monotonic()
        try:
            async with attempt.exchange() as exchange:
                if not 200 <= exchange.status < 300:
                    raise of_refusal(await exchange.whole(MOST_ANSWER))
                attempt.first_token()
                now = monotonic()
                job.waited += now - started
                started = now
                self._told = True
                ready = job.answer_lines(attempt.beginning)
                coding = [pair for pair in exchange.fields if pair[0].lower() == _CODING]  # nobody here undoes it
                fields = [*fields_back(exchange.fields), *coding]
                job.reply.start(exchange.status, fields, length=exchange.length, ready=ready)

                def look(data: bytes) -> bytes:
                    job.bytes_out += len(data)
                    return data

                try:
                    await pour(exchange, job.reply, look=look)
                except BrokenOff as error:
                    job.reply.cut()
                    failure = Failure.STALL if isinstance(error, TimedOut) else Failure.RESET
                    raise Broken(failure, f"its answer broke off: {error}") from error
                job.reply.end()
        finally:
            job.waited += monotonic() - started


def _model_in(kind: bytes, body: bytes) -> tuple[int, int] | None:
    """Where in a form the model's name begins and ends; None where it has none."""
    found = _BOUNDARY.search(kind)
    if found is None:
        return None
    mark = b"--" + (found[1] or found[2])
    at = body.find(mark)
    while at >= 0:
        head_end = body.find(b"\r\n\r\n", at)
        if head_end < 0:
            return None
        end = body.find(b"\r\n" + mark, head_end + 2)
        if end < 0:
            return None
        if _NAME.search(body, at, head_end) and end - head_end - 4 <= _MOST_MODEL:
            return head_end + 4, end
        at = end + 2
    return None
