"""The body of a request: read as little as a decision needs, and written anew with the name its target knows.

The top level of the object is taken apart into names and bytes, and put together again for each target: what the
gateway does not know passes through as it came, and a name that came twice goes out once, so that the gateway and the
target never read two different models out of one body. Messages are never decoded, but for the last one of a user where
a route asks for it.

Source: OpenAI's API reference, "Create chat completion".
"""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from tensorfusion.gateway.apis import Api
from tensorfusion.gateway.faults import invalid
from tensorfusion.gateway.reading import NOTHING, UNREADABLE, is_list

_T = TypeVar("_T")
MOST_MODEL: Final = 256
"""Characters of a model's name."""
BYTES_OF_A_TOKEN: Final = 4
_JSON: Final = b"application/json"
_TRUE: Final = msgspec.Raw(b"true")
_PROMPTS: Final = ("messages", "prompt", "input", "instructions", "system", "tools")
_COMPLETIONS: Final = Api.COMPLETIONS
_CHUNKED_APIS: Final = (Api.CHAT, _COMPLETIONS)
_parts: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")


class _TextPart(msgspec.Struct, gc=False):
    text: str = ""


_text: Final = msgspec.json.Decoder(str)
_flag: Final = msgspec.json.Decoder(bool | None)
_count: Final = msgspec.json.Decoder(int | None)
_options: Final = msgspec.json.Decoder(_StreamOptions | None)
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_messages: Final = msgspec.json.Decoder(list[_Message])
_text_parts: Final = msgspec.json.Decoder(list[_TextPart])


class Asked:
    """One request's body, taken apart."""

    __slots__ = (
        "api",
        "choices",
        "content_type",
        "max_tokens",
        "method",
        "model",
        "parts",
        "prompt_tokens",
        "stream",
        "usage_wanted",
        "user",
    )

    parts: dict[str, msgspec.Raw]
    max_tokens: int | None

    def __init__(self, api: Api, body: bytes, *, model_wanted: bool = True) -> None:
        """Raises Fault: it is no JSON object, or what must be read of it has another type."""
        try:
            parts = _parts.decode(body)
        except UNREADABLE as error:
            raise invalid(f"the body is no JSON object: {error}") from error
        self.api = api
        self.parts = parts
        self.method = b"POST"
        self.content_type = _JSON
        for name in parts:
            if len(name) == 5 and name != "model" and name.lower() == "model":
                raise invalid(f"the body has a field {name!r}: some take it for 'model', so leave it out", param=name)
        self.model = _read(_text, parts, "model", "a string") if "model" in parts else ""
        require_name(self.model)
        if not self.model and model_wanted:
            raise invalid("the body names no model: wanted a string under 'model'", param="model")
        self.stream = "stream" in parts and bool(_read(_flag, parts, "stream", "a boolean"))
        self.usage_wanted = self.stream and "stream_options" in parts and self._wants_usage()
        self.max_tokens = None
        for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
            if name in parts:
                self.max_tokens = _read(_count, parts, name, "an integer")
                if self.max_tokens is not None:
                    if self.max_tokens < 0:
                        raise invalid(f"{name} is {self.max_tokens}: wanted at least 0", param=name)
                    break
        self.choices = self._choices() if "n" in parts or api is _COMPLETIONS else 1
        self.user = _read(_text, parts, "user", "a string") if _given(parts, "user") else ""
        size = BYTES_OF_A_TOKEN - 1
        for name in _PROMPTS:
            if name in parts:
                size += len(parts[name])
        self.prompt_tokens = size // BYTES_OF_A_TOKEN

    def _wants_usage(self) -> bool:
        """Raises Fault."""
        options = _read(_options, self.parts, "stream_options", "an object")
        return bool(options and options.include_usage)

    def _nothing(self) -> None:
        """As of a request that says nothing."""
        self.api = Api.VERBATIM
        self.parts = {}
        self.method = b"POST"
        self.content_type = _JSON
        self.model = ""
        self.stream = False
        self.usage_wanted = False
        self.max_tokens = None
        self.choices = 1
        self.user = ""
        self.prompt_tokens = 0
        """An estimate: nothing is counted by a tokenizer."""

    def _choices(self) -> int:
        """How many answers are asked for at once. Raises Fault."""
        count = 1
        if "n" in self.parts:
            count = _read(_count, self.parts, "n", "an integer") or 1
        prompt = self.parts.get("prompt")
        if self.api is _COMPLETIONS and prompt is not None and bytes(prompt).startswith(b"["):
            prompts = _read(_list, self.parts, "prompt", "a string or a list")
            if prompts and bytes(prompts[0])[:1] in (b'"', b"["):  # and not one prompt, as tokens
                count *= len(prompts)
        return count

    @property
    def inputs(self) -> int:
        """How many embeddings are asked for."""
        raw = self.parts.get("input", NOTHING)
        try:
            found = _list.decode(raw) if is_list(raw) else []
        except UNREADABLE:
            found = []
        several = found and bytes(memoryview(found[0])[:1]) in (b'"', b"[", b"{")  # and not one, as tokens
        return len(found) if several else 1

    def last_user_message(self) -> str:
        """The text of the last message of a user; empty where there is none."""
        raw = self.parts.get("messages")
        if raw is None:
            return ""
        try:
            content = next(message.content for message in reversed(_messages.decode(raw)) if message.role == "user")
            if bytes(content).startswith(b'"'):
                return _text.decode(content)
            return "\n".join(part.text for part in _text_parts.decode(content) if part.text)
        except (StopIteration, *UNREADABLE):
            return ""

    def body_for(
        self, model: str, parameters: Mapping[str, bytes], *, further: Mapping[str, bytes] | None = None
    ) -> bytes:
        """The body for a target: its name of the model, its ``parameters`` (JSON) where the client gave none, and
        ``further`` ones that replace what the client gave. A stream of chunks tells its usage."""
        parts = dict(self.parts)
        if model:
            parts["model"] = msgspec.Raw(_encoder.encode(model))
        for name, value in parameters.items():
            if name not in parts:
                parts[name] = msgspec.Raw(value)
        if self.stream and not self.usage_wanted and self.api in _CHUNKED_APIS:
            parts["stream_options"] = self._options_with_usage()
        if further is not None:
            for name, value in further.items():
                parts[name] = msgspec.Raw(value)
        return _encoder.encode(parts)

    def _options_with_usage(self) -> msgspec.Raw:
        given = self.parts.get("stream_options")
        options = _parts.decode(given) if given is not None and _given(self.parts, "stream_options") else {}
        options["include_usage"] = _TRUE
        return msgspec.Raw(_encoder.encode(options))


def require_name(model: str) -> None:
    """Raises Fault: it cannot be the name of a model, nor be told in a header field."""
    if len(model) > MOST_MODEL:
        raise invalid(f"the model's name has {len(model)} characters: wanted at most {MOST_MODEL}", param="model")
    if not model.isprintable():
        raise invalid(f"the name of the model is {model!r}: wanted printable characters", param="model")


def _read(decoder: msgspec.json.Decoder[_T], parts: Mapping[str, msgspec.Raw], name: str, wanted: str) -> _T:
    try:
        return decoder.decode(parts[name])
    except UNREADABLE as error:
        raise invalid(f"{name} has the wrong type: wanted {wanted} ({error})", param=name) from error


def _given(parts: Mapping[str, msgspec.Raw], name: str) -> bool:
    """It is there, and not null."""
    return name in parts and bytes(parts[name]) != b"null"
