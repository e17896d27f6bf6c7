"""The words of both for why an answer ended and for what it used.

| chat completions | messages |
|---|---|
| ``stop`` | ``end_turn``; ``stop_sequence`` where vLLM's ``stop_reason`` tells the string |
| ``length`` | ``max_tokens``; ``model_context_window_exceeded`` becomes ``length``, too |
| ``tool_calls``, ``function_call`` | ``tool_use`` |
| ``content_filter`` | ``refusal`` |
| ``stop``, with a warning | ``pause_turn``: the answer is not whole, and is not to be continued over there |
| any other word | the same |

Tokens of a prompt: a chat completion tells all of them and how many of these a cache had (``cached_tokens``) or took
(``cache_write_tokens``); a message tells the three apart (``input_tokens`` without the other two).

Source: as ``request_to_chat``.
"""

from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from tensorfusion.policy.translate.pieces import NULL, CannotTranslate, Warnings, is_text

U = TypeVar("U")

_TO_CHAT: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
}
_TO_MESSAGES: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def finish_reason(stop_reason: str | None, warnings: Warnings) -> str | None:
    """In a chat completion's words."""
    if stop_reason == "pause_turn":
        warnings.lost("stop_reason pause_turn", "is told as stop")
    return None if stop_reason is None else _TO_CHAT.get(stop_reason, stop_reason)


def stop_reason(finish_reason: str | None, sequence: Raw) -> tuple[str | None, Raw]:
    """In a message's words, and the string that was met. ``sequence`` is vLLM's ``stop_reason``."""
    if finish_reason is None:
        return None, NULL
    if finish_reason == "stop" and is_text(sequence):
        return "stop_sequence", sequence
    return _TO_MESSAGES.get(finish_reason, finish_reason), NULL


class _Thinking(msgspec.Struct):
    thinking_tokens: int | None = None


class MessageUsage(msgspec.Struct):
    """As a message tells it. In a stream some come later than others: ``None`` is not told."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _Thinking | None = None

    def joined(self, later: "MessageUsage") -> "MessageUsage":
        """With what was told later in the place of what was told before."""
        return MessageUsage(
            *(
                before if after is None else after
                for before, after in ((getattr(self, name), getattr(later, name)) for name in self.__struct_fields__)
            )
        )


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _SaidDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct):
    """As a chat completion tells it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _SaidDetails | None = None


def chat_usage(usage: MessageUsage) -> dict[str, object]:
    """In a chat completion's words."""
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    prompt, said = (usage.input_tokens or 0) + written + read, usage.output_tokens or 0
    found: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
    }
    details = usage.output_tokens_details
    if details is not None and details.thinking_tokens is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": details.thinking_tokens}
    return found


def message_usage(usage: ChatUsage) -> dict[str, object]:
    """In a message's words."""
    details = usage.prompt_tokens_details or _PromptDetails()
    read, written = details.cached_tokens or 0, details.cache_write_tokens or 0
    found: dict[str, object] = {
        "input_tokens": max((usage.prompt_tokens or 0) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.completion_tokens or 0,
    }
    said = usage.completion_tokens_details
    if said is not None and said.reasoning_tokens:
        found["output_tokens_details"] = {"thinking_tokens": said.reasoning_tokens}
    return found


def read_usage(value: Raw | None, kind: type[U], where: str) -> U:
    """Raises CannotTranslate: it is no usage."""
    if value is None:
        return kind()
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        raise CannotTranslate(where, f"wanted usage: {error}") from error
