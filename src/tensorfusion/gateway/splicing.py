"""Fitting another target's answer behind the part that the client already has.

Two ways. A target that takes up a beginning (``prefill``) is given what was said, and goes on. Any other one answers
from the start, and what it says is swallowed as long as it is what was said; an event that holds the end of the one and
the beginning of the other is written anew without the former. Where it says something else, the answer cannot be told
to its end: an explicit error is better than two halves of two answers.

Text can be joined, of one choice. Calls of tools, several choices and what is not known here cannot.

Source: the platform's contract, 3.6 (midStream).
"""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.outcomes import Broken
from tensorfusion.gateway.reading import NOTHING, UNREADABLE, Chunk, holds
from tensorfusion.gateway.sse import event_of
from tensorfusion.policy.routing.asks import Failure

_encoder: Final = msgspec.json.Encoder()
_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])
_text: Final = msgspec.json.Decoder(str)
_CONTINUED_BY: Final = ("self-hosted", "vllm", "custom")
_LONG: Final = 32
"""Characters that nobody says twice in a row without beginning anew."""
_FORMS: Final = (
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "json_schema",
    "output_format",
    "regex",
    "ebnf",
    "echo",
)
"""Fields of OpenAI, Anthropic, vLLM, SGLang and llama.cpp."""


class _Format(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    role: str = ""


_format: Final = msgspec.json.Decoder(_Format)
_message: Final = msgspec.json.Decoder(_Message)


class Continued:
    """The target was given what was said, and goes on: only the head of its stream is left out.

    Some begin anew all the same. So what is word by word what was said is kept back until it says something else, or
    has said all of that: then it was the beginning. What is short may well be said twice."""

    __slots__ = ("_kept", "_said", "joined", "text")

    def __init__(self, said: str) -> None:
        self._said = said if len(said) >= _LONG else ""
        self._kept = ""
        self.joined = False
        self.text = ""

    def fit(self, data: bytes, chunk: Chunk) -> bytes:
        choice = chunk.choices[0] if chunk.choices else None
        if choice is None:
            if chunk.opaque and self._kept:
                raise _another("it says what cannot be compared")
            self.joined = chunk.opaque
            return event_of(data) if chunk.opaque else b""
        text = choice.delta.content if choice.delta is not None else choice.text
        more = choice.delta is not None and choice.delta.more_than_text
        if not text and not more and not choice.finish_reason:
            return b""  # who speaks was told
        text = self._kept + (text or "")
        if not more and not choice.finish_reason and len(text) < len(self._said) and self._said.startswith(text):
            self._kept = text
            return b""
        self.joined = True
        self.text = text.removeprefix(self._said)
        return _written_anew(data, self.text)


class Repeated:
    """The target answers from the start: what was said is swallowed as long as it says the same."""

    __slots__ = ("_at", "_said", "joined", "text")

    def __init__(self, said: str) -> None:
        self._said = said
        self._at = 0
        self.joined = False
        self.text = ""

    def fit(self, data: bytes, chunk: Chunk) -> bytes:
        choice = chunk.choices[0] if chunk.choices else None
        if choice is None:
            if chunk.opaque:
                raise _another("it says what cannot be compared")
            return b""
        if choice.index or (choice.delta is not None and choice.delta.more_than_text):
            raise _another("it says what cannot be compared")
        text = choice.delta.content if choice.delta is not None else choice.text
        if text:
            left = len(self._said) - self._at
            if not text.startswith(self._said[self._at : self._at + len(text)]):
                raise _another(f"it differs within {len(text)} characters behind the first {self._at}")
            self._at += min(len(text), left)
            text = text[left:]
        if choice.finish_reason and self._at < len(self._said):
            raise _another(f"it ended after {self._at} of {len(self._said)} characters")
        if self._at == len(self._said) and (text or choice.finish_reason):
            self.joined = True
            self.text = text or ""
            return _written_anew(data, self.text)
        return b""


def further_parts(
    asked: Asked, said: str, pieces: int, provider: str, *, given: Collection[str] = ()
) -> dict[str, bytes] | None:
    """What a request has to say in addition, for its target to go on from what was said. ``given`` are the names of
    what it gets besides from its route.

    None: it has no form that one could go on from: a prompt in tokens, an answer that the client itself has begun, or
    one whose form is prescribed - a grammar would begin it anew."""
    if any(name in given or _prescribes(name, asked.parts.get(name, NOTHING)) for name in _FORMS):
        return None
    parts: dict[str, bytes] = {}
    if asked.api is Api.COMPLETIONS:
        try:
            prompt = _text.decode(asked.parts["prompt"])
        except (KeyError, *UNREADABLE):
            return None
        parts["prompt"] = _encoder.encode(prompt + said)
    else:
        try:
            messages = _messages.decode(asked.parts["messages"])
        except (KeyError, *UNREADABLE):
            return None
        if messages and _role_of(messages[-1]) == "assistant":
            return None
        messages.append(msgspec.Raw(_encoder.encode({"role": "assistant", "content": said})))
        parts["messages"] = _encoder.encode(messages)
        if provider in _CONTINUED_BY:
            parts["add_generation_prompt"] = b"false"
            parts["continue_final_message"] = b"true"
    if asked.max_tokens is not None:
        name = "max_completion_tokens" if "max_completion_tokens" in asked.parts else "max_tokens"
        parts[name] = b"%d" % max(asked.max_tokens - pieces, 1)
    return parts


def _prescribes(name: str, value: msgspec.Raw) -> bool:
    """Whether a field of a request says what form its answer has, or that it repeats the prompt."""
    if not holds(value) or bytes(value) == b"false":
        return False
    if name != "response_format":
        return True
    try:
        return _format.decode(value).type != "text"
    except UNREADABLE:
        return True


def _role_of(message: msgspec.Raw) -> str:
    try:
        return _message.decode(message).role
    except UNREADABLE:
        return ""


def _written_anew(data: bytes, text: str) -> bytes:
    """The event with this text, and without who speaks."""
    try:
        chunk: dict[str, Any] = msgspec.json.decode(data)  # Any: whatever the target sends
    except UNREADABLE as error:
        raise _another(f"it cannot be read: {error}") from error
    choice = chunk["choices"][0]
    if isinstance(choice.get("delta"), dict):
        choice["delta"].pop("role", None)
        if text or "content" in choice["delta"]:
            choice["delta"]["content"] = text
    else:
        choice["text"] = text
    return event_of(_encoder.encode(chunk))


def _another(why: str) -> Broken:
    return Broken(Failure.MALFORMED, f"its answer cannot be joined to the one that broke off: {why}", final=True)
