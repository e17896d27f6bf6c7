"""What a client is told when it gets no answer: a status, and a body in the words of the API it speaks.

Apart from ``tensorfusion.errors`` because these are for the other end of a connection, whose client libraries map
status and type to exceptions of their own.

Source: the platform's contract, 3.3 (types and codes); OpenAI's and Anthropic's API references (bodies and types).
"""

from enum import StrEnum
from typing import Final

import msgspec

from tensorfusion.errors import TensorFusionError
from tensorfusion.wire.fields import Fields

JSON: Final = (b"Content-Type", b"application/json")


class Words(StrEnum):
    """Whose error bodies a client reads."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Fault(TensorFusionError):
    """A request that gets no answer of a model.

    ``type`` and ``code`` are the contract's; ``param`` is the field of the request at fault; ``fields`` go with the
    answer (``Retry-After``).
    """

    def __init__(
        self, status: int, type: str, message: str, *, code: str = "", param: str = "", fields: Fields = ()
    ) -> None:
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.fields = fields
        super().__init__(message)


def invalid(message: str, *, param: str = "", code: str = "", status: int = 400) -> Fault:
    """The request itself is wrong."""
    return Fault(status, "invalid_request_error", message, code=code, param=param)


def not_found(message: str) -> Fault:
    """No route takes the model."""
    return Fault(404, "model_not_found", message, code="model_not_found", param="model")


def no_healthy_target(message: str, *, retry_after: int = 0) -> Fault:
    """Nobody is left to ask."""
    fields = ((b"Retry-After", b"%d" % retry_after),) if retry_after else ()
    return Fault(503, "no_healthy_target", message, code="no_healthy_target", fields=fields)


def upstream_failed(message: str) -> Fault:
    """Those who were asked failed."""
    return Fault(502, "upstream_error", message, code="upstream_error")


def upstream_timeout(message: str) -> Fault:
    """Those who were asked did not answer in time."""
    return Fault(504, "upstream_timeout", message, code="upstream_timeout")


def overloaded(message: str) -> Fault:
    """The gateway itself cannot, for a moment."""
    return Fault(503, "internal_error", message, code="overloaded", fields=((b"Retry-After", b"1"),))


def gateway_ending() -> Fault:
    """The gateway was told to end, and has waited for the answer as long as it may."""
    why = "the gateway ends before the answer was whole: ask again"
    return Fault(503, "internal_error", why, code="gateway_ending", fields=((b"Retry-After", b"1"),))


_TYPES_OF_STATUS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_encoder: Final = msgspec.json.Encoder()


def body_of(fault: Fault, words: Words) -> bytes:
    """The body of the answer that tells of it; as the data of an event, too, where an answer has begun."""
    if words is Words.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(fault.status) or ("api_error" if fault.status >= 500 else "invalid_request_error")
        return _encoder.encode({"type": "error", "error": {"type": kind, "message": str(fault)}})
    error = {"message": str(fault), "type": fault.type, "code": fault.code or None, "param": fault.param or None}
    return _encoder.encode({"error": error})


def refusal(status: int, why: str) -> Fault:
    """What the connection refused, as a fault."""
    kind = _TYPES_OF_STATUS.get(status) or ("internal_error" if status >= 500 else "invalid_request_error")
    return Fault(status, kind, why)
