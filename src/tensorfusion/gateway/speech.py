"""In whose words a target is asked, and how its answer becomes one in the client's.

Most speak as the client does: bytes go through. A chat completion for a target of Anthropic's, and a message for one of
OpenAI's wire, are said in the other's words (``policy/translate``) on the way there and back. What listens to streams
listens to chunks of chat completions in both cases: so a translated answer moves on, goes on and ends like any other.
"""

import contextlib
import time
from collections.abc import Mapping
from typing import Final, Protocol

from tensorfusion.gateway.apis import Api, Call
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.faults import Words, body_of, invalid
from tensorfusion.gateway.listening import ChunkListener, Join, Listener, Said
from tensorfusion.gateway.outcomes import Broken, is_coded, json_fields
from tensorfusion.gateway.reading import Usage, mend
from tensorfusion.gateway.sse import Events, EventTooLong, data_of, event_of
from tensorfusion.gateway.typed_listening import STOP, MessageListener, ResponseListener
from tensorfusion.gateway.upstreams import Upstream
from tensorfusion.policy.routing.asks import Failure
from tensorfusion.policy.translate import (
    CannotTranslate,
    Flavour,
    StreamToChat,
    StreamToMessages,
    answer_to_chat,
    answer_to_messages,
    error_to_chat,
    error_to_messages,
    request_to_chat,
    request_to_messages,
)
from tensorfusion.wire.messages import Answer

MOST_TOKENS: Final = 4096
"""Of an answer whose request bounds it not, where a message has to have a bound."""
_ANOTHER: Final = 404
"""As a status for routing: another target may do."""
_CHAT: Final = Call(Api.CHAT, "chat/completions", Words.OPENAI)
_MESSAGES: Final = Call(Api.MESSAGES, "messages", Words.ANTHROPIC)
_OPENAIS: Final = ("openai", "azure")
_HEARD: Final = Asked(Api.CHAT, b'{"model":"-","stream":true,"stream_options":{"include_usage":true}}')
"""What a message that is heard as chunks answers, for who listens to it."""


class Voice(Protocol):
    """What the client gets of what was heard."""

    def say(self, data: bytes) -> bytes:
        """Raises Broken: it cannot be said."""
        ...


class Speech:
    """With a target that speaks as the client does."""

    __slots__ = ("asked", "call")

    def __init__(self, asked: Asked, call: Call) -> None:
        self.asked = asked
        """The request as what is listened to is an answer to."""
        self.call = call
        """Where it goes."""

    def body(self, upstream: Upstream, further: Mapping[str, bytes] | None) -> bytes:
        """The body for the target. Raises Broken: it cannot be said in its words."""
        return self.asked.body_for(upstream.target.model, upstream.parameters, further=further)

    def whole(self, found: Answer) -> Answer:
        """The answer, or the error, in the client's words. Raises Broken: it cannot be said in those."""
        return found

    def listener(self, said: Said, join: Join | None) -> Listener:
        asked = self.asked
        if asked.api is Api.RESPONSES:
            return ResponseListener(asked, said)
        return MessageListener(said) if asked.api is Api.MESSAGES else ChunkListener(asked, said, join)

    def voice(self) -> Voice | None:
        """None: what was heard is what the client gets."""
        return None


class ToMessages(Speech):
    """A chat completion, at a target of Anthropic's."""

    __slots__ = ()

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked, _MESSAGES)

    def body(self, upstream: Upstream, further: Mapping[str, bytes] | None) -> bytes:
        try:
            return request_to_messages(super().body(upstream, further), max_tokens=MOST_TOKENS).body
        except CannotTranslate as error:
            raise _unsayable(error, Words.OPENAI) from error

    def whole(self, found: Answer) -> Answer:
        if found.status >= 400:
            return Answer(found.status, json_fields(found), error_to_chat(found.status, _told(found)))
        try:
            return Answer(found.status, json_fields(found), answer_to_chat(found.body, created=int(time.time())).body)
        except CannotTranslate as error:
            raise _no_answer(error) from error

    def listener(self, said: Said, join: Join | None) -> Listener:
        return _HeardAsChat(ChunkListener(self.asked, said, join))


class ToChat(Speech):
    """A message, at a target of OpenAI's wire."""

    __slots__ = ()

    def __init__(self, message: Asked, upstream: Upstream) -> None:
        """Raises Broken: it cannot be said in its words."""
        flavour = Flavour.OPENAI if upstream.target.provider in _OPENAIS else Flavour.VLLM
        try:
            body = request_to_chat(message.body_for(message.model, {}), flavour).body
        except CannotTranslate as error:
            raise _unsayable(error, Words.ANTHROPIC) from error
        super().__init__(Asked(Api.CHAT, body), _CHAT)

    def whole(self, found: Answer) -> Answer:
        if found.status >= 400:
            return Answer(found.status, json_fields(found), error_to_messages(found.status, _told(found)))
        try:
            return Answer(found.status, json_fields(found), answer_to_messages(found.body).body)
        except CannotTranslate as error:
            raise _no_answer(error) from error

    def voice(self) -> Voice:
        return _SaidAsMessages()


class InMiddle(Speech):
    """A message at a target of Anthropic's, of which the client has the beginning: heard as chunks, as what is joined
    is, and said as a message again by ``message_voice``."""

    __slots__ = ()

    def listener(self, said: Said, join: Join | None) -> Listener:
        return _HeardAsChat(ChunkListener(_HEARD, said, join))


def message_voice() -> Voice:
    """Goes on with a message of which the client has the beginning: some of its first text."""
    return _SaidAsMessages(begun=True)


class _HeardAsChat:
    """Listens to a message as to chunks of a chat completion."""

    def __init__(self, inner: ChunkListener) -> None:
        self._inner = inner
        self._events = Events()
        self._stream = StreamToChat(created=int(time.time()), include_usage=True)
        self._dropped = 0
        self.failure: Broken | None = None

    @property
    def spoken(self) -> bool:
        return self._inner.spoken

    @property
    def finished(self) -> bool:
        return self._inner.finished

    @property
    def done(self) -> bool:
        return self._inner.done

    @property
    def finish_reason(self) -> str:
        return self._inner.finish_reason

    @property
    def usage(self) -> Usage | None:
        return self._inner.usage

    @property
    def dropped(self) -> int:
        return self._dropped + self._inner.dropped

    def take(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        try:
            for event in self._events.feed(data):
                told = data_of(event)
                if told is not None:
                    parts += [event_of(one) for one in self._heard(told)]
        except EventTooLong as error:
            self.failure = Broken(Failure.MALFORMED, str(error))
        passed = self._inner.take(b"".join(parts)) if parts else b""
        self.failure = self.failure or self._inner.failure
        return passed

    def end(self) -> bytes:
        told = self._inner.take(b"".join(map(event_of, self._heard(STOP)))) if self._inner.finished else b""
        return told + self._inner.end()

    def _heard(self, told: bytes) -> list[bytes]:
        with contextlib.suppress(CannotTranslate):
            return self._stream.feed(told)
        mended = mend(told)
        if mended is not None:
            with contextlib.suppress(CannotTranslate):
                return self._stream.feed(mended.read)
        self._dropped += 1
        return []


class _SaidAsMessages:
    """Says chunks of a chat completion as events of a message. What it gets are whole events."""

    def __init__(self, *, begun: bool = False) -> None:
        self._stream = StreamToMessages(begun=begun)

    def say(self, data: bytes) -> bytes:
        events = Events()
        parts: list[bytes] = []
        for event in events.feed(data):
            told = data_of(event)
            if told is not None:
                try:
                    parts += [event_of(one, name=name) for name, one in self._stream.feed(told)]
                except CannotTranslate as error:
                    raise _no_answer(error) from error
        return b"".join(parts)


def speech_for(asked: Asked, call: Call, upstream: Upstream) -> Speech:
    """How a target is asked for this.

    Raises:
        Broken: it cannot be.
    """
    if upstream.anthropic:
        if asked.api is Api.CHAT:
            return ToMessages(asked)
        if asked.api in (Api.COMPLETIONS, Api.EMBEDDINGS, Api.RESPONSES):
            raise _unsayable(CannotTranslate("", f"target {upstream.target.name} has no {asked.api}"), call.words)
    elif asked.api is _MESSAGES.api:
        return ToChat(asked, upstream)
    return Speech(asked, call)


def _unsayable(error: CannotTranslate, words: Words) -> Broken:
    """The request is the client's to change, unless another target can do with it."""
    fault = invalid(str(error), param=error.where)
    answer = Answer(400, ((b"Content-Type", b"application/json"),), body_of(fault, words))
    return Broken(Failure.STATUS, str(error), status=_ANOTHER, answer=answer)


def _no_answer(error: CannotTranslate) -> Broken:
    """The target is not to blame: those who speak as it does may like its answer."""
    why = f"its answer cannot be said in the client's words: {error}"
    return Broken(Failure.STATUS, why, status=_ANOTHER)


def _told(found: Answer) -> bytes:
    return b"" if is_coded(found) else found.body
