"""The grammar of CEL as sequences of what may come, and the tokens that may come first or next.

Left recursion is written out to loops. A text is a token's kind; a ``Rule`` is the name of a sequence in ``RULES``.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from tensorfusion.cel.complaints.tokens import END, NAME, QUOTED_NAME

# In a set of tokens: that nothing may come as well.
NOTHING = ""


class Rule(StrEnum):
    EXPRESSION = "expr"
    OR = "conditionalOr"
    AND = "conditionalAnd"
    RELATION = "relation"
    CALCULATION = "calc"
    UNARY = "unary"
    MEMBER = "member"
    PRIMARY = "primary"
    ARGUMENTS = "exprList"
    ELEMENTS = "listInit"
    FIELDS = "fieldInitializerList"
    FIELD = "optField"
    ENTRIES = "mapInitializerList"
    FIELD_NAME = "escapeIdent"
    ELEMENT = "optExpr"
    LITERAL = "literal"


@dataclass(frozen=True, slots=True)
class Maybe:
    """What may come or not; ``repeated``: any number of times."""

    sequence: "Sequence"
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    choices: tuple["Sequence", ...]


Item = str | Rule | Maybe | OneOf
Sequence = tuple[Item, ...]


def many(*sequence: Item) -> Maybe:
    return Maybe(sequence, repeated=True)


def maybe(*sequence: Item) -> Maybe:
    return Maybe(sequence)


def any_of(*kinds: str) -> OneOf:
    return OneOf(tuple((kind,) for kind in kinds))


COMPARISONS = ("'<'", "'<='", "'>='", "'>'", "'=='", "'!='", "'in'")
PRODUCTS = ("'*'", "'/'", "'%'")
SUMS = ("'+'", "'-'")
LITERALS = ("NUM_INT", "NUM_UINT", "NUM_FLOAT", "STRING", "BYTES", "'true'", "'false'", "'null'")
CHOICE = maybe("'?'", Rule.OR, "':'", Rule.EXPRESSION)
ORS = many("'||'", Rule.AND)
ANDS = many("'&&'", Rule.RELATION)
RELATIONS = many(any_of(*COMPARISONS), Rule.RELATION)
CALCULATIONS = many(OneOf(((any_of(*PRODUCTS), Rule.CALCULATION), (any_of(*SUMS), Rule.CALCULATION))))
ARGUMENTS = maybe(Rule.ARGUMENTS)
SELECTION: Sequence = ("'.'", maybe("'?'"), Rule.FIELD_NAME)
METHOD: Sequence = ("'.'", NAME, "'('", ARGUMENTS, "')'")
INDEX: Sequence = ("'['", maybe("'?'"), Rule.EXPRESSION, "']'")
MEMBERS = many(OneOf((SELECTION, METHOD, INDEX)))
NOTS: Sequence = ("'!'", many("'!'"), Rule.MEMBER)
MINUSES: Sequence = ("'-'", many("'-'"), Rule.MEMBER)
COMMA = maybe("','")
LIST: Sequence = ("'['", maybe(Rule.ELEMENTS), COMMA, "']'")
MAP: Sequence = ("'{'", maybe(Rule.ENTRIES), COMMA, "'}'")
VARIABLE: Sequence = (maybe("'.'"), NAME)
CALL: Sequence = (*VARIABLE, "'('", ARGUMENTS, "')'")
NESTED: Sequence = ("'('", Rule.EXPRESSION, "')'")
MESSAGE: Sequence = (*VARIABLE, many("'.'", NAME), "'{'", maybe(Rule.FIELDS), COMMA, "'}'")
MORE_ARGUMENTS = many("','", Rule.EXPRESSION)
MORE_ELEMENTS = many("','", Rule.ELEMENT)
MORE_FIELDS = many("','", Rule.FIELD, "':'", Rule.EXPRESSION)
MORE_ENTRIES = many("','", Rule.ELEMENT, "':'", Rule.EXPRESSION)
WHOLE: Sequence = (Rule.EXPRESSION, END)
RULES: dict[Rule, Sequence] = {
    Rule.EXPRESSION: (Rule.OR, CHOICE),
    Rule.OR: (Rule.AND, ORS),
    Rule.AND: (Rule.RELATION, ANDS),
    Rule.RELATION: (Rule.CALCULATION, RELATIONS),
    Rule.CALCULATION: (Rule.UNARY, CALCULATIONS),
    Rule.UNARY: (OneOf(((Rule.MEMBER,), NOTS, MINUSES)),),
    Rule.MEMBER: (Rule.PRIMARY, MEMBERS),
    Rule.PRIMARY: (OneOf((VARIABLE, CALL, NESTED, LIST, MAP, MESSAGE, (Rule.LITERAL,))),),
    Rule.ARGUMENTS: (Rule.EXPRESSION, MORE_ARGUMENTS),
    Rule.ELEMENTS: (Rule.ELEMENT, MORE_ELEMENTS),
    Rule.FIELDS: (Rule.FIELD, "':'", Rule.EXPRESSION, MORE_FIELDS),
    Rule.FIELD: (maybe("'?'"), Rule.FIELD_NAME),
    Rule.ENTRIES: (Rule.ELEMENT, "':'", Rule.EXPRESSION, MORE_ENTRIES),
    Rule.FIELD_NAME: (any_of(NAME, QUOTED_NAME),),
    Rule.ELEMENT: (maybe("'?'"), Rule.EXPRESSION),
    Rule.LITERAL: (OneOf((("'-'", "NUM_INT"), ("'-'", "NUM_FLOAT"), (any_of(*LITERALS),))),),
}
# The order in which complaints list tokens.
_ORDER = [END, "'=='", "'!='", "'in'", "'<'", "'<='", "'>='", "'>'", "'&&'", "'||'", "'['", "']'", "'{'", "'}'"]
_ORDER += ["'('", "')'", "'.'", "','", "'-'", "'!'", "'?'", "':'", "'+'", "'*'", "'/'", "'%'", "'true'", "'false'"]
_ORDER += ["'null'", "NUM_FLOAT", "NUM_INT", "NUM_UINT", "STRING", "BYTES", NAME, QUOTED_NAME]


@lru_cache(maxsize=1024)
def first(sequence: Sequence) -> frozenset[str]:
    """The tokens that a sequence may begin with; NOTHING among them if it may be empty."""
    found: frozenset[str] = frozenset()
    for item in sequence:
        here = _first_of(item)
        found |= here - {NOTHING}
        if NOTHING not in here:
            return found
    return found | {NOTHING}


def _first_of(item: Item) -> frozenset[str]:
    if isinstance(item, Rule):
        return first(RULES[item])
    if isinstance(item, Maybe):
        return first(item.sequence) | {NOTHING}
    if isinstance(item, OneOf):
        return frozenset().union(*map(first, item.choices))
    return frozenset({item})


def listed(kinds: frozenset[str]) -> str:
    """Tokens as complaints name them."""
    names = sorted(kinds, key=_ORDER.index)
    return names[0] if len(names) == 1 else "{" + ", ".join(names) + "}"
