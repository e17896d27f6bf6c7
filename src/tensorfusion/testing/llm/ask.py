"""What a request asks for, whatever wire it came over, and what the model answers: decided before a byte is sent.

Apart from the wires because the same conversation over any of them gets the same words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tensorfusion.testing.llm import words
from tensorfusion.testing.llm.instance import Json, NoInstance, instance
from tensorfusion.testing.llm.refusals import too_long, unknown_model, wrong
from tensorfusion.testing.llm.settings import Settings

IMAGE_TOKENS: Final = 64
"""What a picture, or another part that is not text, counts."""
MOST_CHOICES: Final = 128
_WORD = re.compile(r"[A-Za-z0-9_.-]+")


class Stop(msgspec.Struct, frozen=True):
    """Why an answer ends: in OpenAI's words. ``text`` is the stop string that was met."""

    reason: str
    text: str | None = None


STOP: Final = Stop("stop")
LENGTH: Final = Stop("length")
TOOLS: Final = Stop("tool_calls")
FILTERED: Final = Stop("content_filter")


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str = ""
    schema: object = None


@dataclass(frozen=True, slots=True)
class Call:
    """Of a tool; ``pieces`` are its arguments, as JSON."""

    name: str
    pieces: list[str]


class Choice:
    """One answer: words, or calls."""

    __slots__ = ("calls", "pieces", "stop", "tokens")

    def __init__(self, pieces: list[str], stop: Stop, calls: Sequence[Call] = ()) -> None:
        self.pieces = pieces
        self.stop = stop
        self.calls = calls
        self.tokens = len(pieces) + (sum([len(call.pieces) for call in calls]) if calls else 0)


class Answer:
    """``tokens`` are all that is said, ``steps`` how many of the longest choice."""

    __slots__ = ("choices", "model", "prompt_tokens", "steps", "tokens")

    def __init__(self, model: str, prompt_tokens: int, choices: list[Choice]) -> None:
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.choices = choices
        self.tokens = self.steps = choices[0].tokens
        if len(choices) > 1:
            each = [choice.tokens for choice in choices]
            self.tokens, self.steps = sum(each), max(each)

    def filtered(self, after: int) -> "Answer":
        """The same, ended by a content filter behind so many tokens."""
        choices = [Choice(choice.pieces[:after], FILTERED) for choice in self.choices]
        return Answer(self.model, self.prompt_tokens, choices)


class Ask(msgspec.Struct):
    """``turns`` are role and text of what was said before; ``begun`` is how the answer begins already."""

    model: str
    turns: list[tuple[str, str]]
    other_tokens: int = 0
    """Of the prompt, beside the words of the turns: pictures, tools."""
    begun: str = ""
    most: int | None = None
    """Tokens of the answer."""
    least: int = 0
    endless: bool = False
    """It goes on to ``most``."""
    stops: Sequence[str] = ()
    seed: int = 0
    choices: int = 1
    tools: Sequence[Tool] = ()
    tool: str = "auto"
    """``auto``, ``none``, ``required``, or the name of one after ``=``."""
    several_tools: bool = True
    schema: object = None
    """Of the JSON that the answer has to be."""


def count(tools: Sequence[Tool]) -> int:
    """Tokens of a prompt that offers them: each its name, and the words of its description."""
    return sum([1 + len(tool.description.split()) for tool in tools]) if tools else 0


def answer(ask: Ask, settings: Settings) -> Answer:
    """Raises Refusal: no such model, beyond the context, or a schema without an instance."""
    weights = settings.weights_of(ask.model)
    if weights is None:
        raise unknown_model(ask.model)
    prompt = len(ask.turns) + ask.other_tokens
    for _, text in ask.turns:
        prompt += words.count(text)
    if ask.begun:
        prompt += words.count(ask.begun)
    context = min(settings.context_length, settings.kv_tokens)
    room = context - prompt
    if room < 1:
        raise too_long(context, prompt, None)
    if ask.most is None:
        most = room
    elif ask.most > room:
        raise too_long(context, prompt, ask.most)
    else:
        most = ask.most
    if ask.tools and not ask.begun and (calls := _calls(ask)):
        return Answer(ask.model, prompt, [Choice([], TOOLS, calls) for _ in range(ask.choices)])
    key = words.key_of(weights, ask.turns, ask.seed)
    choices = []
    for number in range(ask.choices):
        pieces = _structured(ask) if ask.schema is not None else None
        if pieces is None:
            pieces = _words(ask, words.choice_key(key, number), most, settings.answer_tokens)
        choices.append(_ended(pieces, most, ask.stops))
    return Answer(ask.model, prompt, choices)


def spell(value: Json) -> str:
    """As JSON with a space behind each comma and colon: so it has words to be cut at."""
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _structured(ask: Ask) -> list[str] | None:
    """JSON that the schema takes, behind how it begins; None where it cannot begin so."""
    return words.rest(words.pieces_of(spell(_instance(ask.schema, "response_format"))), ask.begun)


def _words(ask: Ask, key: bytes, most: int, length: int) -> list[str]:
    """The words of the answer, behind those that it begins with, one more than wanted where there are more."""
    done = words.count(ask.begun)
    total = length or words.natural_length(key)
    if ask.endless:
        total = done + most
    elif ask.least:
        total = max(total, done + min(ask.least, most))
    said = words.say(key, min(total, done + most + 1))
    if not ask.begun:
        return said
    left = words.rest(said, ask.begun)
    if left is None:  # somebody else's words: it goes on where it would be behind as many of its own
        left = words.say(key, done + min(most + 1, max(total - done, 1)))[done:]
        left[0] = left[0].lstrip() if ask.begun[-1].isspace() else left[0]
    return left


def _ended(pieces: list[str], most: int, stops: Sequence[str]) -> Choice:
    """Up to the first stop string, or the most that is wanted."""
    stop = STOP
    if len(pieces) > most:
        del pieces[most:]
        stop = LENGTH
    if stops:
        text = "".join(pieces)
        found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
        if found:
            at, met = min(found)
            return Choice(words.pieces_of(text[:at]), Stop("stop", met))
    return Choice(pieces, stop)


def _calls(ask: Ask) -> list[Call]:
    """The tools that the last word of the user names; the first where one has to be called."""
    if ask.tool == "none":
        return []
    if ask.tool.startswith("="):
        named = [tool for tool in ask.tools if tool.name == ask.tool[1:]]
        if not named:
            raise wrong(f"tool_choice names {ask.tool[1:]}, which is none of the tools", "tool_choice")
    else:
        role, text = ask.turns[-1] if ask.turns else ("", "")
        spoken = {word.rstrip(".") for word in _WORD.findall(text)} if role == "user" else set()
        named = [tool for tool in ask.tools if tool.name in spoken]
        if not named and ask.tool == "required":
            named = [ask.tools[0]]
    if not ask.several_tools:
        named = named[:1]
    return [Call(tool.name, words.pieces_of(spell(_arguments(tool)))) for tool in named]


def _arguments(tool: Tool) -> Json:
    return _instance(tool.schema, "tools") if tool.schema else {}


def _instance(schema: object, param: str) -> Json:
    try:
        return instance(schema)
    except NoInstance as error:
        raise wrong(f"Invalid schema for {param}: {error}", param) from error
