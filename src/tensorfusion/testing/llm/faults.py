"""The ways in which a simulated model server can be told to fail, and the rules that say which request does.

A fault is written ``name`` or ``name;setting=value;...``. One table is the whole truth: what can be said, what
``--help`` and the guide show.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.suggestions import did_you_mean

_AFTER: Final = {"after": 3.0}
FAULTS: Final[Mapping[str, tuple[Mapping[str, float], str]]] = {
    "rate-limit": ({}, "429 without Retry-After"),
    "rate-limit-seconds": ({"seconds": 1.0}, "429 with Retry-After in seconds"),
    "rate-limit-date": ({"seconds": 1.0}, "429 with Retry-After as an HTTP date"),
    "quota": ({}, "429 that no waiting helps: code insufficient_quota"),
    "unauthorized": ({}, "401, the key is not known"),
    "error": ({}, "500"),
    "unavailable": ({}, "503"),
    "overloaded": ({}, "529, as Anthropic has it"),
    "status": ({"code": 502.0}, "any status: `code`"),
    "context-length": ({}, "400, code context_length_exceeded, as OpenAI spells it"),
    "context-length-vllm": ({}, "400, the same as vLLM spells it"),
    "content-filter": ({}, "400, code content_filter: the prompt is refused"),
    "prefill-rejected": ({}, "400 for a request whose answer has begun already; others are served"),
    "reset": ({}, "the connection is reset before an answer"),
    "hang": ({}, "no answer at all"),
    "slow-head": ({"seconds": 1.0}, "the head of the answer is late"),
    "slow-start": ({"seconds": 1.0}, "the head comes, the first token is late"),
    "slow-drip": ({"bytes": 8.0, "seconds": 0.01}, "the body comes in drops: so many `bytes`, a pause"),
    "cut": (_AFTER, "the connection is closed after so many events, in the middle of the framing"),
    "cut-reset": (_AFTER, "the connection is reset after so many events"),
    "short-end": (_AFTER, "the body ends well after so many events, without finish_reason and [DONE]"),
    "broken-chunk": (_AFTER, "the connection is closed inside a chunk, after so many events"),
    "stall": (_AFTER, "nothing more comes after so many events; the connection stays"),
    "error-event": (_AFTER, "an event with an error after so many events, and the end"),
    "malformed-event": (_AFTER, "an event that is no JSON after so many; then the stream goes on"),
    "oversized-event": ({"after": 3.0, "bytes": float(1 << 20)}, "one more event of so many `bytes`"),
    "filter-stream": (_AFTER, "finish_reason content_filter after so many tokens"),
    "no-done": ({}, "the last event of a stream ([DONE], message_stop, response.completed) is missing"),
    "invalid-json": ({}, "200 with a body that is cut in the middle, or one such event"),
    "wrong-content-type": ({}, "200 with a page of HTML"),
}
"""By name: settings with their defaults, and what happens. Events and tokens are counted from 0."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One of ``FAULTS``, with its settings."""

    name: str
    after: int = 0
    seconds: float = 0.0
    code: int = 0
    bytes: int = 0
    text: str = ""
    """As it was written."""


def fault_of(text: str) -> Fault:
    """Read a fault.

    Raises:
        ConfigError: no such fault or setting, or a value that is no number of it.
    """
    name, *settings = (part.strip() for part in text.split(";"))
    if name not in FAULTS:
        raise ConfigError(f"no fault {name!r}{did_you_mean(name, FAULTS)}")
    known = FAULTS[name][0]
    values = dict(known)
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            raise ConfigError(f"fault {name} has no setting {key!r}{did_you_mean(key, known) or ': it has none'}")
        try:
            values[key] = float(value)
        except ValueError as error:
            raise ConfigError(f"fault {name}: {key} is {value!r}: wanted a number") from error
        if not 0 <= values[key] < 1e9 or (key == "code" and not 400 <= values[key] <= 599):
            raise ConfigError(f"fault {name}: {key} is {value}: wanted {_RANGES.get(key, 'a number from 0 on')}")
    whole = {key: value if key == "seconds" else int(value) for key, value in values.items()}
    return Fault(name, text=text, **whole)  # type: ignore[arg-type] # seconds is the one float


_RANGES: Final = {"code": "a status from 400 to 599"}


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    """Which requests have a fault: those of ``model`` and ``path`` (empty: any that ask a model), and of them

    - the ``nth``, counted from 1, or
    - the first ``times``, or
    - ``bad`` ones after every ``good`` ones, or
    - with ``probability``, from random numbers of ``seed``;
    without any of these, all.
    """

    fault: str
    model: str = ""
    path: str = ""
    nth: list[int] | None = None
    times: int | None = None
    good: int = 0
    bad: int = 0
    probability: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        try:
            fault_of(self.fault)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.good and not self.bad:
            raise ValueError("good without bad: wanted how many fail after so many good ones")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}: wanted 0 to 1")


class RuleList(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[Rule]


class _Counted:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.fault = fault_of(rule.fault)
        self.matched = 0
        self.failed = 0
        self._dice = random.Random(rule.seed)

    def takes(self, path: str, model: str, *, asks: bool) -> bool:
        rule = self.rule
        if (rule.path != path if rule.path else not asks) or (rule.model and rule.model != model):
            return False
        self.matched += 1
        if rule.nth is not None:
            hit = self.matched in rule.nth
        elif rule.times is not None:
            hit = self.matched <= rule.times
        elif rule.bad:
            hit = (self.matched - 1) % (rule.good + rule.bad) >= rule.good
        else:
            hit = rule.probability is None or self._dice.random() < rule.probability
        return hit


class Rules:
    """The rules of a server; the first that takes a request decides, every one counts it. False where there is none."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._rules = [_Counted(rule) for rule in rules]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def set(self, rules: Sequence[Rule]) -> None:
        """Replace them; counts begin anew."""
        self._rules = [_Counted(rule) for rule in rules]

    def add(self, rule: Rule) -> None:
        self._rules.append(_Counted(rule))

    def choose(self, path: bytes, model: str, *, asks: bool = True) -> Fault | None:
        """What becomes of this request; ``asks``: it is one to a model."""
        taken = [rule for rule in self._rules if rule.takes(path.decode("latin-1"), model, asks=asks)]
        if not taken:
            return None
        taken[0].failed += 1
        return taken[0].fault

    def spelled(self) -> bytes:
        found = [
            {**msgspec.to_builtins(each.rule), "matched": each.matched, "failed": each.failed} for each in self._rules
        ]
        return msgspec.json.encode({"rules": found})


def table() -> str:
    """All faults, one a line, for a terminal."""
    width = max(map(len, FAULTS))
    return "\n".join(f"{name:{width}}  {spelled(name)}" for name in FAULTS)


def spelled(name: str) -> str:
    """What a fault does, and its settings with their defaults."""
    settings, what = FAULTS[name]
    shown = ", ".join(f"{key}={value:g}" if value < 1e6 else f"{key}={value:.0f}" for key, value in settings.items())
    return f"{what} ({shown})" if shown else what
