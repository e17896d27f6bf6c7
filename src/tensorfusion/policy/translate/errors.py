"""Errors of the one in the words of the other. The status stays; where a kind has no counterpart, it decides.

| a message's ``error.type`` | a chat completion's ``error.type`` | ``code`` |
|---|---|---|
| ``invalid_request_error`` | ``invalid_request_error`` | |
| ``authentication_error`` | ``invalid_request_error`` | ``invalid_api_key`` |
| ``permission_error`` | ``invalid_request_error`` | ``permission_denied`` |
| ``billing_error`` | ``insufficient_quota`` | ``insufficient_quota`` |
| ``not_found_error`` | ``invalid_request_error`` | ``not_found`` |
| ``request_too_large`` | ``invalid_request_error`` | ``request_too_large`` |
| ``rate_limit_error`` | ``rate_limit_error`` | ``rate_limit_exceeded`` |
| ``timeout_error`` | ``server_error`` | ``timeout`` |
| ``api_error`` | ``server_error`` | |
| ``overloaded_error`` | ``server_error`` | ``overloaded`` |

The other way the code decides, then the type, then the status. A prompt that is too long says so to a chat completion
(``code`` ``context_length_exceeded``), which its clients look for; a message's error tells it in words only ("prompt is
too long"). What is no JSON of such an error - a proxy's page - is told as its text, shortened.

Source: OpenAI API reference, error codes; Anthropic API reference, errors.
"""

from typing import Final

import msgspec

from tensorfusion.policy.translate.pieces import spell

_MOST_TEXT: Final = 500
_TO_CHAT: Final = {
    "invalid_request_error": ("invalid_request_error", None),
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "permission_error": ("invalid_request_error", "permission_denied"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "not_found_error": ("invalid_request_error", "not_found"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "timeout_error": ("server_error", "timeout"),
    "api_error": ("server_error", None),
    "overloaded_error": ("server_error", "overloaded"),
}
_OF_CODE: Final = {
    "invalid_api_key": "authentication_error",
    "permission_denied": "permission_error",
    "insufficient_quota": "billing_error",
    "not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "request_too_large": "request_too_large",
    "rate_limit_exceeded": "rate_limit_error",
    "timeout": "timeout_error",
    "overloaded": "overloaded_error",
    "context_length_exceeded": "invalid_request_error",
}
_OF_STATUS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_LONG: Final = ("prompt is too long", "exceed context limit", "maximum context length")


class _Error(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class _Body(msgspec.Struct):
    error: _Error


def error_to_chat(status: int, body: bytes) -> bytes:
    """The body of the error as OpenAI has it; as the data of an event, too."""
    error = _read(body)
    kind, code = _TO_CHAT.get(error.type or _type_of(status), ("server_error", None))
    if any(words in error.message for words in _TOO_LONG):
        code = "context_length_exceeded"
    return spell({"error": {"message": error.message, "type": kind, "param": error.param, "code": code}})


def error_to_messages(status: int, body: bytes) -> bytes:
    """The body of the error as Anthropic has it; as the data of an event ``error``, too."""
    error = _read(body)
    kind = _OF_CODE.get(str(error.code)) or (error.type if error.type in _TO_CHAT else None) or _type_of(status)
    return spell({"type": "error", "error": {"type": kind, "message": error.message}})


def _type_of(status: int) -> str:
    return _OF_STATUS.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def _read(body: bytes) -> _Error:
    try:
        return msgspec.json.decode(body, type=_Body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body[:_MOST_TEXT].decode("utf-8", "replace").strip()
        return _Error(text or "an error without a body")
