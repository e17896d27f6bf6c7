"""A walk over refused text by the grammar, in the steps of the generated parser.

The numbers are its states: recovery skips a token when it comes to the same one twice without having moved.
"""

import contextlib
import re
from collections.abc import Callable

from tensorfusion.cel.complaints import grammar as g
from tensorfusion.cel.complaints.grammar import Item, Rule, Sequence, first
from tensorfusion.cel.complaints.strategy import GivenUp, Misfit, Strategy
from tensorfusion.cel.complaints.tokens import END, NAME, QUOTED_NAME, all_tokens, wrong_literal
from tensorfusion.cel.parser import RESERVED

MOST_COMPLAINTS = 100
_RESERVED_FIELD = re.compile(r"no viable alternative at input '\.(true|false|null)'")
_EXPRESSIONS = first((Rule.EXPRESSION,))
_ELEMENTS = first((Rule.ELEMENT,))
_MEMBERS = first((Rule.MEMBER,))
_FIELDS = first((Rule.FIELD,))
_SIGNED = ("NUM_INT", "NUM_FLOAT")


def complaints(source: str) -> list[tuple[str, int]]:
    """What is wrong with the text, with the places; no more than one above ``MOST_COMPLAINTS``.

    Empty if the grammar takes it, or it is nested too deeply for a second look.
    """
    found, unread = all_tokens(source)
    walk = _Walk(source, found, [(at, at + len(text)) for text, at in unread])
    try:
        with contextlib.suppress(GivenUp):
            walk.whole()
    except RecursionError:
        return []
    misfits = [
        (_RESERVED_FIELD.sub(r"mismatched input '\1' expecting IDENTIFIER", text), at) for text, at in walk.problems
    ]
    unknown = [(f"token recognition error at: '{text}'", at) for text, at in unread]
    syntax = [(f"Syntax error: {text}", at) for text, at in unknown + misfits]
    syntax.sort(key=lambda problem: problem[1])
    if len(syntax) > MOST_COMPLAINTS:
        return syntax[: MOST_COMPLAINTS + 1]
    return syntax + walk.remarks if syntax else []


class _Walk(Strategy):
    """``remarks`` are complaints about names and literals, which have the right form."""

    remarks: list[tuple[str, int]]

    def whole(self) -> None:
        self.remarks = []
        self._run(self._whole)

    def _run(self, steps: Callable[[], None]) -> None:
        try:
            steps()
        except Misfit as problem:
            self.recover(problem)

    def _rule(self, state: int, steps: Callable[[], None], position: Sequence) -> None:
        """Walk a rule that stands first at this position."""
        self.at(state, *position)
        self.follows.append(position[1:])
        self._run(steps)
        self.follows.pop()
        self.at(state, *position)

    def _whole(self) -> None:
        self._rule(34, self._expression, g.WHOLE)
        self.at(35, *g.WHOLE[1:])
        self.match(END)

    def _optional(self, kind: str, state: int, block: int, *rest: Item) -> None:
        """A token that may come, before the rest of the rule."""
        self.at(block, g.maybe(kind), *rest)
        self.check()
        if self.kind() == kind:
            self.at(state, kind, *rest)
            self.match(kind)

    def _expression(self) -> None:
        self._rule(37, self._or, (Rule.OR, g.CHOICE))
        self.at(43, g.CHOICE)
        self.check()
        if self.kind() == "'?'":
            chosen = g.CHOICE.sequence
            self.at(38, *chosen)
            self.match("'?'")
            self._rule(39, self._or, chosen[1:])
            self.at(40, *chosen[2:])
            self.match("':'")
            self._rule(41, self._expression, chosen[3:])

    def _repeated(
        self, separator: str, loop: g.Maybe, rule: Callable[[], None], states: tuple[int, int, int, int, int]
    ) -> None:
        """A rule, and more of it behind a separator, up to the end of the rule under way."""
        once = loop.sequence[1]
        start, entry, between, again, back = states
        self._rule(start, rule, (once, loop))
        self.at(entry, loop)
        self.check()
        while self.kind() == separator:
            self.at(between, *loop.sequence, loop)
            self.match(separator)
            self._rule(again, rule, (once, loop))
            self.at(back, loop)
            self.check(repeated=True)

    def _or(self) -> None:
        self._repeated("'||'", g.ORS, self._and, (45, 50, 46, 47, 52))

    def _and(self) -> None:
        self._repeated("'&&'", g.ANDS, self._relation, (53, 58, 54, 55, 60))

    def _relation(self, tightest: int = 0) -> None:
        self._rule(62, self._calculation, (Rule.CALCULATION, g.RELATIONS))
        while tightest <= 1 and self.kind() in g.COMPARISONS:
            self.at(65, *g.RELATIONS.sequence, g.RELATIONS)
            self.take()
            self._rule(66, lambda: self._relation(2), (Rule.RELATION, g.RELATIONS))

    def _calculation(self, tightest: int = 0) -> None:
        self._rule(73, self._unary, (Rule.UNARY, g.CALCULATIONS))
        while True:
            if tightest <= 2 and self.kind() in g.PRODUCTS:
                state, operand = 77, self._factor
            elif tightest <= 1 and self.kind() in g.SUMS:
                state, operand = 80, self._term
            else:
                return
            self.take()
            self._rule(state, operand, (Rule.CALCULATION, g.CALCULATIONS))

    def _factor(self) -> None:
        self._calculation(3)

    def _term(self) -> None:
        self._calculation(2)

    def _unary(self) -> None:
        self.at(99, *g.RULES[Rule.UNARY])
        self.check()
        kind = self.kind()
        if kind == "'!'":
            self._signs("'!'", g.NOTS, (88, 87, 90, 92))
        elif kind == "'-'" and self.kind(2) not in _SIGNED:
            if self.kind(2) not in _MEMBERS:
                raise self.no_choice(2)
            self._signs("'-'", g.MINUSES, (94, 93, 96, 98))
        elif kind in _MEMBERS:
            self._rule(86, self._member, (Rule.MEMBER,))
        else:
            raise self.no_choice(1)

    def _signs(self, sign: str, sequence: Sequence, states: tuple[int, int, int, int]) -> None:
        entry, once, back, behind = states
        self.at(entry, *sequence)
        self.check()
        while True:
            self.at(once, *sequence)
            self.match(sign)
            self.at(back, *sequence[1:])
            self.check(repeated=True)
            if self.kind() != sign:
                break
            if sign == "'-'" and self.kind(2) not in _MEMBERS:
                raise self.no_choice(2)
        if sign == "'-'" and self.kind() not in _MEMBERS:
            raise self.no_choice(1)
        self._rule(behind, self._member, (Rule.MEMBER,))

    def _member(self) -> None:
        self._rule(102, self._primary, (Rule.PRIMARY, g.MEMBERS))
        while self.kind() in ("'.'", "'['"):
            self.at(126, *g.MEMBERS.sequence, g.MEMBERS)
            if self.kind() == "'['":
                self._indexed()
            elif self.kind(2) in ("'?'", QUOTED_NAME) or (self.kind(2) == NAME and self.kind(3) != "'('"):
                self._selection()
            elif self.kind(2) == NAME:
                self._method()
            else:
                raise self.no_choice(2)

    def _selection(self) -> None:
        self.at(105, *g.SELECTION, g.MEMBERS)
        self.match("'.'")
        self._optional("'?'", 106, 107, Rule.FIELD_NAME, g.MEMBERS)
        self._rule(109, self._field_name, (Rule.FIELD_NAME, g.MEMBERS))

    def _method(self) -> None:
        for state, kind, rest in ((111, "'.'", 0), (112, NAME, 1), (113, "'('", 2)):
            self.at(state, *g.METHOD[rest:], g.MEMBERS)
            self.match(kind)
        self._call_arguments((115, 114, 117), g.MEMBERS)

    def _call_arguments(self, states: tuple[int, int, int], *behind: Item) -> None:
        block, inside, end = states
        self.at(block, g.ARGUMENTS, "')'", *behind)
        self.check()
        if self.kind() in _EXPRESSIONS:
            self._rule(inside, self._arguments, (Rule.ARGUMENTS, "')'", *behind))
        self.at(end, "')'", *behind)
        self.match("')'")

    def _indexed(self) -> None:
        self.at(119, *g.INDEX, g.MEMBERS)
        self.match("'['")
        self._optional("'?'", 120, 121, *g.INDEX[2:], g.MEMBERS)
        self._rule(123, self._expression, (*g.INDEX[2:], g.MEMBERS))
        self.at(124, "']'", g.MEMBERS)
        self.match("']'")

    def _primary(self) -> None:
        self.at(184, *g.RULES[Rule.PRIMARY])
        self.check()
        kind = self.kind()
        if kind in ("'.'", NAME):
            self._named()
        elif kind == "'('":
            self.at(144, *g.NESTED)
            self.match("'('")
            self._rule(145, self._expression, g.NESTED[1:])
            self.at(146, "')'")
            self.match("')'")
        elif kind == "'['":
            self.at(148, *g.LIST)
            self.match("'['")
            self._contents("']'", Rule.ELEMENTS, self._elements, (150, 149, 153, 152, 155))
        elif kind == "'{'":
            self.at(156, *g.MAP)
            self.match("'{'")
            self._contents("'}'", Rule.ENTRIES, self._entries, (158, 157, 161, 160, 163))
        elif kind == "'-'" or kind in g.LITERALS:
            self._rule(183, self._literal, (Rule.LITERAL,))
        else:
            raise self.no_choice(1)

    def _named(self) -> None:
        """A variable, a call or a message: told apart by what stands behind the names."""
        name = 2 if self.kind() == "'.'" else 1
        if self.kind(name) != NAME:
            raise self.no_choice(name)
        behind = name + 1
        if self.kind(behind) == "'('":
            self._reserved(name)
            self._optional("'.'", 135, 136, *g.CALL[1:])
            for state, kind, rest in ((138, NAME, 1), (139, "'('", 2)):
                self.at(state, *g.CALL[rest:])
                self.match(kind)
            self._call_arguments((141, 140, 143))
            return
        while self.kind(behind) == "'.'" and self.kind(behind + 1) == NAME:
            behind += 2
        if self.kind(behind) == "'{'":
            self._message()
            return
        self._reserved(name)
        self._optional("'.'", 131, 132, NAME)
        self.at(134, NAME)
        self.match(NAME)

    def _reserved(self, ahead: int) -> None:
        token = self.token(ahead)
        if token.text in RESERVED:
            self.remarks.append((f"reserved identifier: {token.text}", self.token().at))

    def _message(self) -> None:
        rest = g.MESSAGE[2:]
        self._optional("'.'", 164, 165, *g.MESSAGE[1:])
        self.at(167, *g.MESSAGE[1:])
        self.match(NAME)
        self.at(172, *rest)
        self.check()
        while self.kind() == "'.'":
            self.at(168, "'.'", NAME, *rest)
            self.match("'.'")
            self.at(169, NAME, *rest)
            self.match(NAME)
            self.at(174, *rest)
            self.check(repeated=True)
        self.at(175, *rest[1:])
        self.match("'{'")
        self._contents("'}'", Rule.FIELDS, self._fields, (177, 176, 180, 179, 182))

    def _contents(self, closing: str, list_of: Rule, rule: Callable[[], None], states: tuple[int, ...]) -> None:
        """What stands in brackets: maybe a list, maybe a comma, and the closing bracket."""
        block, inside, comma_block, comma, end = states
        self.at(block, g.maybe(list_of), g.COMMA, closing)
        self.check()
        if self.kind() in first((list_of,)):
            self._rule(inside, rule, (list_of, g.COMMA, closing))
        self._optional("','", comma, comma_block, closing)
        self.at(end, closing)
        self.match(closing)

    def _arguments(self) -> None:
        self._repeated("','", g.MORE_ARGUMENTS, self._expression, (186, 191, 187, 188, 193))

    def _elements(self) -> None:
        self._rule(194, self._element, (Rule.ELEMENT, g.MORE_ELEMENTS))
        while self.kind() == "','" and self.kind(2) in _ELEMENTS:
            self.at(195, *g.MORE_ELEMENTS.sequence, g.MORE_ELEMENTS)
            self.match("','")
            self._rule(196, self._element, (Rule.ELEMENT, g.MORE_ELEMENTS))

    def _fields(self) -> None:
        self._pair(self._field, g.MORE_FIELDS, (202, 203, 204))
        while self.kind() == "','" and self.kind(2) in _FIELDS:
            self.at(205, *g.MORE_FIELDS.sequence, g.MORE_FIELDS)
            self.match("','")
            self._pair(self._field, g.MORE_FIELDS, (206, 207, 208))

    def _entries(self) -> None:
        self._pair(self._element, g.MORE_ENTRIES, (220, 221, 222))
        while self.kind() == "','" and self.kind(2) in _ELEMENTS:
            self.at(223, *g.MORE_ENTRIES.sequence, g.MORE_ENTRIES)
            self.match("','")
            self._pair(self._element, g.MORE_ENTRIES, (224, 225, 226))

    def _pair(self, rule: Callable[[], None], more: g.Maybe, states: tuple[int, int, int]) -> None:
        """``name: value`` in a loop."""
        first_state, colon, value = states
        pair = (*more.sequence[1:], more)
        self._rule(first_state, rule, pair)
        self.at(colon, *pair[1:])
        self.match("':'")
        self._rule(value, self._expression, pair[2:])

    def _field(self) -> None:
        self._optional("'?'", 215, 216, Rule.FIELD_NAME)
        self._rule(218, self._field_name, (Rule.FIELD_NAME,))

    def _element(self) -> None:
        self._optional("'?'", 237, 238, Rule.EXPRESSION)
        self._rule(240, self._expression, (Rule.EXPRESSION,))

    def _field_name(self) -> None:
        start = self.token()
        self.at(235, *g.RULES[Rule.FIELD_NAME])
        try:
            self.check()
            kind = self.kind()
            if kind not in (NAME, QUOTED_NAME):
                raise self.no_choice(1)
        except Misfit:
            self.remarks.append(("unsupported ident kind", start.at))
            raise
        if kind == QUOTED_NAME:
            self.remarks.append(("unsupported syntax: '`'", start.at))
        self.at(233 if kind == NAME else 234, kind)
        self.match(kind)

    def _literal(self) -> None:
        self.at(256, *g.RULES[Rule.LITERAL])
        self.check()
        negative = self.kind() == "'-'"
        if negative:
            number = self.kind(2)
            if number not in _SIGNED:
                raise self.no_choice(2)
            self.at(242, "'-'", number)
            self.match("'-'")
        elif self.kind() not in g.LITERALS:
            raise self.no_choice(1)
        wrong = wrong_literal(self.token(), negative=negative)
        if wrong:
            self.remarks.append((wrong, self.token().at))
        self.at(245, self.kind())
        self.take()
