"""Matching a regular expression in time that grows with the text and not faster, whatever the expression.

All ways through the expression are taken at once: the places they have reached are the bits of one number. Slower than
Python's ``re`` on a usual expression, so it is for those on which ``re`` could go back and forth for long.

Source: Thompson, "Regular Expression Search Algorithm" (1968); the steps as in Cox, "Regular Expression Matching: the
Virtual Machine Approach".
"""

import re
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.policy.routing.expressions import Character, Choice, Node, Place, Repeat, Sequence

MOST_STEPS = 1000
_KEPT = 4096
_BEGIN, _END, _NEW_LINE_BEFORE, _NEW_LINE_AFTER, _WORD_BEFORE, _WORD_AFTER = (1 << bit for bit in range(6))
_WORD = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")


@dataclass(slots=True)
class _Step:
    """A character to read (then the next step), a place to be at, or steps to go on with. None of them: the end."""

    character: re.Pattern[str] | None = None
    place: str = ""
    ways: tuple[int, ...] = ()


class LinearPattern:
    """One expression. ``search`` says whether it matches anywhere in a text."""

    def __init__(self, tree: Node) -> None:
        """Raises: InvalidRequest: the expression is too large."""
        self._steps: list[_Step] = []
        self._emit(tree)
        self._add(_Step())
        self._end = 1 << (len(self._steps) - 1)
        self._places = any(step.place for step in self._steps)
        self._reached: dict[tuple[int, int], int] = {}
        self._reading: dict[str, int] = {}

    def search(self, text: str) -> bool:
        here, around = 1, 0
        for at in range(len(text) + 1):
            if self._places:
                around = _around(text, at)
            reached = self._reached.get((here, around))
            if reached is None:
                reached = self._reach(here, around)
            if reached & self._end:
                return True
            if at < len(text):
                reading = self._reading.get(text[at])
                if reading is None:
                    reading = self._readers_of(text[at])
                here = (reached & reading) << 1 | 1
        return False

    def _reach(self, here: int, around: int) -> int:
        """The steps that read a character, and the end, that can be reached without reading."""
        found = seen = 0
        waiting = [at for at in range(here.bit_length()) if here >> at & 1]
        while waiting:
            at = waiting.pop()
            if seen >> at & 1:
                continue
            seen |= 1 << at
            step = self._steps[at]
            if step.place:
                if _is_at(step.place, around):
                    waiting.append(at + 1)
            elif step.ways:
                waiting.extend(step.ways)
            else:
                found |= 1 << at
        if len(self._reached) >= _KEPT:
            self._reached.clear()
        self._reached[here, around] = found
        return found

    def _readers_of(self, character: str) -> int:
        """The steps that read this character."""
        found = sum(
            1 << at for at, step in enumerate(self._steps) if step.character and step.character.match(character)
        )
        if len(self._reading) >= _KEPT:
            self._reading.clear()
        self._reading[character] = found
        return found

    def _add(self, step: _Step) -> int:
        if len(self._steps) >= MOST_STEPS:
            raise InvalidRequest(f"wanted an expression of at most {MOST_STEPS} steps, counted repetitions written out")
        self._steps.append(step)
        return len(self._steps) - 1

    def _emit(self, node: Node) -> None:
        """Append the steps of the expression; its end is the step after them."""
        match node:
            case Character(pattern):
                self._add(_Step(character=pattern))
            case Place(kind):
                self._add(_Step(place=kind))
            case Sequence(parts):
                for part in parts:
                    self._emit(part)
            case Choice(options):
                jumps = []
                for option in options:
                    fork = self._add(_Step())
                    self._emit(option)
                    jumps.append(self._add(_Step()))
                    self._steps[fork].ways = (fork + 1, len(self._steps))
                nowhere = self._add(_Step(place="nowhere"))
                for jump in jumps:
                    self._steps[jump].ways = (nowhere + 1,)
            case Repeat(part, least, most):
                self._repeat(part, least, most)

    def _repeat(self, part: Node, least: int, most: int | None) -> None:
        for _ in range(least):
            self._emit(part)
        if most is None:
            fork = self._add(_Step())
            self._emit(part)
            back = self._add(_Step(ways=(fork,)))
            self._steps[fork].ways = (fork + 1, back + 1)
            return
        forks = []
        for _ in range(most - least):
            forks.append(self._add(_Step()))
            self._emit(part)
        for fork in forks:
            self._steps[fork].ways = (fork + 1, len(self._steps))


def _around(text: str, at: int) -> int:
    """What stands before and after a place."""
    found = 0
    if at == 0:
        found |= _BEGIN
    else:
        before = text[at - 1]
        found |= _NEW_LINE_BEFORE if before == "\n" else _WORD_BEFORE if before in _WORD else 0
    if at == len(text):
        found |= _END
    else:
        after = text[at]
        found |= _NEW_LINE_AFTER if after == "\n" else _WORD_AFTER if after in _WORD else 0
    return found


def _is_at(place: str, around: int) -> bool:
    at_word = bool(around & _WORD_BEFORE) != bool(around & _WORD_AFTER)
    match place:
        case r"(?:\A)":
            return bool(around & _BEGIN)
        case r"(?:\Z)":
            return bool(around & _END)
        case "(?m:^)":
            return bool(around & (_BEGIN | _NEW_LINE_BEFORE))
        case "(?m:$)":
            return bool(around & (_END | _NEW_LINE_AFTER))
        case r"(?a:\b)":
            return at_word
        case r"(?!(?a:\b))":
            return not at_word
        case _:
            return False
