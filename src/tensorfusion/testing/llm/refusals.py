"""Refusals of a model server, as OpenAI, vLLM and Anthropic spell them.

Source: OpenAI API reference, error codes; vLLM ``ErrorResponse``; Anthropic API reference, errors.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

_ANTHROPIC: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "api_error",
    529: "overloaded_error",
}
_OPENAI: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "requests",
}


class Refusal(Exception):
    """An answer that is an error. ``code`` and ``param`` are OpenAI's words for what went wrong and where."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "",
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.fields = fields
        super().__init__(message)

    def openai(self) -> bytes:
        kind = self.kind or _OPENAI.get(self.status, "server_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def anthropic(self) -> bytes:
        kind = _ANTHROPIC.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": self.message}})


def wrong(message: str, param: str | None = None) -> Refusal:
    """A request that breaks its schema."""
    return Refusal(400, message, param=param)


def unknown_model(name: str) -> Refusal:
    return Refusal(404, f"The model `{name}` does not exist.", code="model_not_found", param="model")


def too_long(context_length: int, prompt: int, answer: int | None) -> Refusal:
    """A prompt, or a prompt with the answer that is wanted, beyond the context."""
    head = f"This model's maximum context length is {context_length} tokens. However, "
    if answer is None:
        tail = f"your messages resulted in {prompt} tokens. Please reduce the length of the messages."
    else:
        tail = (
            f"you requested {prompt + answer} tokens ({prompt} in the messages, {answer} in the completion). "
            "Please reduce the length of the messages or completion."
        )
    return Refusal(400, head + tail, code="context_length_exceeded", param="messages")
