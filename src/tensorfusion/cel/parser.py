"""Tokens to a syntax tree, with macros written out.

Each level of nesting takes a few Python frames. Where the interpreter's limit comes before Kubernetes' 250 levels, it
is reported as that.

Source: CEL language definition, "Syntax".
"""

from collections.abc import Callable

from tensorfusion.cel.lexer import LITERALS, SyntaxProblem, Token, TokenKind, double, number, tokens
from tensorfusion.cel.macros import Macros
from tensorfusion.cel.syntax import (
    Call,
    CreateList,
    CreateMap,
    CreateObject,
    Entry,
    Identifier,
    Literal,
    Node,
    Select,
)

DEEPEST = 250
TOO_DEEP = f"expression recursion limit exceeded: {DEEPEST}"
# Weakest first; all are left-associative.
_PRECEDENCE = {
    "||": 1,
    "&&": 2,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
}
# What may begin an operand, in the words of the original's grammar.
_OPERANDS = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_OPERATORS = {"in": "@in"}
_LITERAL_NAMES = {"true": True, "false": False, "null": None}
RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"package", "namespace", "null", "return", "true", "var", "void", "while"}
)


def parse(source: str, macros: Macros) -> Node:
    """The tree of an expression.

    Raises:
        SyntaxProblem: with the place of the first problem.
    """
    try:
        return _Parser(tokens(source), macros).whole()
    except RecursionError:
        raise SyntaxProblem(TOO_DEEP, 0) from None


class _Parser:
    def __init__(self, found: list[Token], macros: Macros) -> None:
        self._tokens = found
        self._next = 0
        self._macros = macros
        self._depth = 0

    def whole(self) -> Node:
        node = self._expression()
        if self._peek().kind is not TokenKind.END:
            raise self._unexpected(self._peek(), "<EOF>")
        return node

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, symbol: str) -> Token | None:
        token = self._tokens[self._next]
        if token.text == symbol and token.kind is TokenKind.SYMBOL:
            self._next += 1
            return token
        return None

    def _expect(self, symbol: str) -> Token:
        token = self._accept(symbol)
        if token is None:
            raise self._unexpected(self._peek(), f"'{symbol}'")
        return token

    def _unexpected(self, token: Token, wanted: str = "") -> SyntaxProblem:
        expecting = f" expecting {wanted}" if wanted else ""
        kind = "extraneous" if token.kind is not TokenKind.END and wanted in ("<EOF>", "','") else "mismatched"
        return SyntaxProblem(f"Syntax error: {kind} input '{token.text}'{expecting}", token.at)

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise SyntaxProblem(TOO_DEEP, 0)
        node = self._binary(1)
        question = self._accept("?")
        if question is not None:
            chosen = self._binary(1)
            self._expect(":")
            node = Call(question.at, "_?_:_", None, [node, chosen, self._expression()])
        self._depth -= 1
        return node

    def _binary(self, weakest: int) -> Node:
        node = self._operand()
        while True:
            operator = self._peek()
            if operator.kind is not TokenKind.SYMBOL and operator.text != "in":
                return node
            precedence = _PRECEDENCE.get(operator.text, 0)
            if precedence < weakest:
                return node
            if precedence <= 2:
                node = self._chain(node, operator.text, precedence)
                continue
            self._take()
            right = self._binary(precedence + 1)
            node = Call(operator.at, _OPERATORS.get(operator.text, f"_{operator.text}_"), None, [node, right])

    def _chain(self, first: Node, symbol: str, precedence: int) -> Node:
        """``a && b && c``: as a balanced tree, so that long chains stay shallow."""
        terms, places = [first], []
        while (operator := self._accept(symbol)) is not None:
            places.append(operator.at)
            terms.append(self._binary(precedence + 1))
        return _balanced(f"_{symbol}_", terms, places)

    def _operand(self) -> Node:
        token = self._peek()
        if token.kind is not TokenKind.SYMBOL or token.text not in "-!":
            return self._member(self._primary())
        count = 0
        while self._accept(token.text):
            count += 1
        following = self._peek()
        if token.text == "-" and count == 1 and following.kind in (TokenKind.NUMBER, TokenKind.DOUBLE):
            count = 0
            self._take()
            read = number if following.kind is TokenKind.NUMBER else double
            minus = self._tokens[self._next - 2]
            node = self._member(Literal(minus.at, read(Token(following.kind, following.text, minus.at), negative=True)))
        else:
            node = self._member(self._primary())
        if count % 2 == 0:
            return node
        return Call(token.at, "-_" if token.text == "-" else "!_", None, [node])

    def _member(self, node: Node) -> Node:
        """What follows an operand: fields, calls and indices."""
        while True:
            token = self._peek()
            if token.kind is not TokenKind.SYMBOL or token.text not in ".[":
                return node
            self._take()
            optional = self._accept("?") is not None
            if token.text == "[":
                index = self._expression()
                self._expect("]")
                node = Call(token.at, "_[?_]" if optional else "_[_]", None, [node, index])
                continue
            name = self._name()
            if optional:
                node = Select(token.at, node, name.text, optional=True)
            elif (opened := self._accept("(")) is not None:
                node = self._call(opened.at, name, node)
            else:
                node = Select(token.at, node, name.text)

    def _name(self) -> Token:
        token = self._peek()
        if token.kind is not TokenKind.NAME or token.text in _LITERAL_NAMES or token.text == "in":
            raise self._unexpected(token, "an identifier")
        return self._take()

    def _primary(self) -> Node:
        token = self._take()
        read = LITERALS.get(token.kind)
        if read is not None:
            return Literal(token.at, read(token))
        if token.kind is TokenKind.NAME:
            if token.text in _LITERAL_NAMES:
                return Literal(token.at, _LITERAL_NAMES[token.text])
            return self._named(token)
        begin = _STARTS.get(token.text) if token.kind is TokenKind.SYMBOL else None
        if begin is None:
            self._next -= 1
            raise self._unexpected(token, _OPERANDS)
        return begin(self, token)

    def _named(self, token: Token, *, dotted: bool = False) -> Node:
        """A name at the start of an operand: a variable, a call, or an object to make."""
        if token.text in RESERVED:
            if token.text == "in":
                raise self._unexpected(token, _OPERANDS)
            raise SyntaxProblem(f"reserved identifier: {token.text}", token.at)
        name = f".{token.text}" if dotted else token.text
        opened = self._accept("(")
        if opened is not None:
            return self._call(opened.at, Token(token.kind, name, token.at), None)
        made = self._object_name(token)
        return CreateObject(*made) if made else Identifier(token.at, name)

    def _object_name(self, first: Token) -> tuple[int, str] | None:
        """The place and name of ``a.b.C{…}``, whose fields are read over; None for anything else."""
        at, names = self._next, [first.text]
        while self._tokens[at].text == "." and self._tokens[at + 1].kind is TokenKind.NAME:
            names.append(self._tokens[at + 1].text)
            at += 2
        if self._tokens[at].text != "{" or self._tokens[at].kind is not TokenKind.SYMBOL:
            return None
        opened = self._tokens[at]
        self._next = at + 1
        while self._accept("}") is None:
            self._accept("?")
            self._name()
            self._expect(":")
            self._expression()
            if self._accept(",") is None and self._peek().text != "}":
                raise self._unexpected(self._peek(), "'}'")
        return opened.at, ".".join(names)

    def _call(self, at: int, name: Token, target: Node | None) -> Node:
        arguments: list[Node] = []
        while self._accept(")") is None:
            arguments.append(self._expression())
            if self._accept(",") is None and self._peek().text != ")":
                raise self._unexpected(self._peek(), "')'")
            if self._tokens[self._next - 1].text == "," and self._peek().text == ")":
                raise self._unexpected(self._peek())
        expand = self._macros.get((name.text, len(arguments), target is not None))
        expanded = expand(at, target, arguments) if expand is not None else None
        return expanded or Call(at, name.text, target, arguments)

    def _nested(self, _: Token) -> Node:
        node = self._expression()
        self._expect(")")
        return node

    def _dotted(self, dot: Token) -> Node:
        name = self._name()
        if name.text in RESERVED:
            raise SyntaxProblem(f"reserved identifier: {name.text}", dot.at)
        return self._named(name, dotted=True)

    def _list(self, opened: Token) -> Node:
        elements: list[Node] = []
        optional: set[int] = set()
        if self._accept(","):  # alone, it means nothing
            self._expect("]")
            return CreateList(opened.at, elements)
        while self._accept("]") is None:
            if self._accept("?"):
                optional.add(len(elements))
            elements.append(self._expression())
            if self._accept(",") is None and self._peek().text != "]":
                raise self._unexpected(self._peek(), "']'")
        return CreateList(opened.at, elements, frozenset(optional))

    def _map(self, opened: Token) -> Node:
        entries: list[Entry] = []
        if self._accept(","):
            self._expect("}")
            return CreateMap(opened.at, entries)
        while self._accept("}") is None:
            optional = self._accept("?") is not None
            key = self._expression()
            colon = self._expect(":")
            entries.append(Entry(colon.at, key, self._expression(), optional))
            if self._accept(",") is None and self._peek().text != "}":
                raise self._unexpected(self._peek(), "'}'")
        return CreateMap(opened.at, entries)


_STARTS: dict[str, Callable[[_Parser, Token], Node]] = {
    "(": _Parser._nested,
    "[": _Parser._list,
    "{": _Parser._map,
    ".": _Parser._dotted,
}


def _balanced(function: str, terms: list[Node], places: list[int]) -> Node:
    if len(terms) == 1:
        return terms[0]
    middle = (len(places)) // 2
    left = _balanced(function, terms[: middle + 1], places[:middle])
    right = _balanced(function, terms[middle + 1 :], places[middle + 1 :])
    return Call(places[middle], function, None, [left, right])
