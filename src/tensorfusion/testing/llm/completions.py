"""``/v1/completions``: a text goes on. One prompt a request, as text or as numbers of tokens.

Source: OpenAI API reference, completions (legacy); vLLM ``CompletionRequest``.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from tensorfusion.testing.llm.ask import Answer, Ask
from tensorfusion.testing.llm.chat import StreamOptions, choices_of, most_of, stops_of, usage_of
from tensorfusion.testing.llm.refusals import Refusal, wrong
from tensorfusion.testing.llm.wire import DONE, FINGERPRINT, Event, Ticket, data, encode, escaped, read

DEFAULT_MOST: Final = 16
"""Tokens, where a request says nothing: OpenAI's own."""


class CompletionRequest(msgspec.Struct):
    model: str
    prompt: str | list[str | int | list[int]]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: str | list[str] | None = None
    n: int | None = None
    seed: int | None = None
    echo: bool | None = None


_decoder: Final = msgspec.json.Decoder(CompletionRequest)


class Completion:
    """A request for a completion, and its answer's spelling."""

    last: Final = (b"data: [DONE]",)

    def __init__(self, body: bytes) -> None:
        request = read(_decoder, body)
        self.stream = bool(request.stream)
        self._usage = request.stream_options is not None and request.stream_options.include_usage
        text = _prompt(request.prompt)
        self._echo = text if request.echo else ""
        most = most_of(request.max_tokens, "max_tokens")
        self.ask = Ask(
            request.model,
            [("", text)],
            other_tokens=-1,  # a text has no role
            most=DEFAULT_MOST if most is None else most,
            least=request.min_tokens,
            endless=request.ignore_eos,
            stops=stops_of(request.stop),
            seed=request.seed or 0,
            choices=choices_of(request.n),
        )

    def whole(self, answer: Answer, ticket: Ticket) -> bytes:
        choices = [
            {
                "index": index,
                "text": self._echo + "".join(choice.pieces),
                "logprobs": None,
                "finish_reason": choice.stop.reason,
                "stop_reason": choice.stop.text,
            }
            for index, choice in enumerate(answer.choices)
        ]
        return encode(
            {
                "id": f"cmpl-{ticket.name}",
                "object": "text_completion",
                "created": ticket.created,
                "model": answer.model,
                "choices": choices,
                "usage": usage_of(answer),
                "system_fingerprint": FINGERPRINT,
            }
        )

    def events(self, answer: Answer, ticket: Ticket) -> Iterator[Event]:
        head = (
            f'data: {{"id":"cmpl-{ticket.name}","object":"text_completion","created":{ticket.created},'
            f'"model":{escaped(answer.model)},"system_fingerprint":"{FINGERPRINT}","choices":['
        ).encode()
        tail = b'],"usage":null}\n\n' if self._usage else b"]}\n\n"
        form = b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":%b}'
        if self._echo:
            for index in range(len(answer.choices)):
                yield head + form % (index, encode(self._echo), b"null") + tail, -1
        for step in range(max(len(choice.pieces) for choice in answer.choices)):
            for index, choice in enumerate(answer.choices):
                if step < len(choice.pieces):
                    yield head + form % (index, encode(choice.pieces[step]), b"null") + tail, step
        for index, choice in enumerate(answer.choices):
            yield head + form % (index, b'""', encode(choice.stop.reason)) + tail, -1
        if self._usage:
            yield head + b'],"usage":%b}\n\n' % encode(usage_of(answer)), -1
        yield DONE, -1

    def error_event(self, refusal: Refusal) -> bytes:
        return data(refusal.openai())


def _prompt(prompt: str | list[str | int | list[int]]) -> str:
    """Its text: a number of a token is a word.

    Raises:
        Refusal: nothing, or several prompts: this server takes one a request.
    """
    if isinstance(prompt, str):
        return prompt
    if prompt and all(isinstance(each, int) for each in prompt):
        return " ".join(map(str, prompt))
    if len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    if len(prompt) == 1 and isinstance(prompt[0], list):
        return " ".join(map(str, prompt[0]))
    raise wrong(f"{len(prompt)} prompts in one request: this simulated server takes one.", "prompt")
