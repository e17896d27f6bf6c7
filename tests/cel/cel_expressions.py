"""Random expressions, mostly well typed: from a grammar whose rules say what they give and what they need.

``<int>`` in a rule is a place for any expression of that type. ``$int`` names a new variable of that type, which the
places after it may use: it stands in rules of macros. Now and then a place gets an expression of another type, so that
the checker's complaints and the errors of dynamic values are met too.

What Kubernetes answers differently from time to time is left out: loops over maps of several keys.
"""

import random
import re

_WRONG_TYPE = 0.03
_DYNAMIC = 0.04
_HOLE = re.compile(r"<([a-z ]+)>|\$([a-z ]+)")
_PIECE = re.compile(r"\s+|[A-Za-z_]\w*|\d+|'[^']*'|\S")
# What is put into expressions to break them.
_BITS = ("(", ")", "[", "]", "{", "}", ",", ".", "?", ":", "+", "-", "!", "*", "in", "true", "null", "a", "b.c", "1")
_BITS += ("1.5", "2u", "'s'", "b'x'", "&&", "||", "&", "|", "=", "==", "<", "@", "'", '"', "`", "`x-y`", "for", "é")
_BITS += (" ", "\n", "$", "#", "{'a': 1}", "M{f: 1}", "[1,2]", "f(", "..", ".1", "1.", "0x", "\\")
_BARE = re.compile(r"[\w.']+|\w[\w.]*\([^()]*\)")

# A world with every type; its maps have one key. The loose one is the same without a schema.
SCHEMA = {
    "type": "object",
    "properties": {
        "count": {"type": "integer"},
        "other": {"type": "integer"},
        "ratio": {"type": "number"},
        "name": {"type": "string", "maxLength": 16},
        "note": {"type": "string"},
        "on": {"type": "boolean"},
        "numbers": {"type": "array", "maxItems": 6, "items": {"type": "integer"}},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}},
        "flags": {"type": "array", "items": {"type": "boolean"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "limits": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "integer"}},
        "at": {"type": "string", "format": "date-time"},
        "period": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "absent": {"type": "integer"},
        "inner": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "string"}, "z": {"type": "string"}},
        },
        "entries": {
            "type": "array",
            "items": {"type": "object", "properties": {"key": {"type": "string"}, "weight": {"type": "integer"}}},
        },
        "unique": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    },
}
VALUE = {
    "count": 3,
    "other": -8,
    "ratio": 2.5,
    "name": "middle",
    "note": "a b, c d",
    "on": True,
    "numbers": [5, 0, -2],
    "tags": ["red", "b", ""],
    "flags": [True, False],
    "labels": {"app": "web"},
    "limits": {"cpu": 4},
    "at": "2024-02-29T12:30:45.5Z",
    "period": "1h30m",
    "raw": "aGVsbG8=",
    "port": 80,
    "maybe": None,
    "inner": {"x": 1, "y": "why"},
    "entries": [{"key": "a", "weight": 1}, {"key": "b"}],
    "unique": ["x", "y"],
}

_RULES = {
    "int": """
        0 | 1 | 2 | -1 | 7 | 9223372036854775807 | 0x10 | 3 | 10
        self.count | self.other | self.inner.x | self.limits['cpu'] | self.limits.cpu | self.numbers[<int>] | self.absent
        <int> + <int> | <int> - <int> | <int> * <int> | <int> / <int> | <int> % <int> | -<int>
        size(<string>) | <string>.size() | <ints>.size() | size(<strings>) | size(<texts>) | size(<bytes>)
        <bool> ? <int> : <int> | <ints>[<int>] | <numbers>[<string>]
        int(<string>) | int(<double>) | int(<uint>) | int(<timestamp>) | int('42')
        <string>.indexOf(<string>) | <string>.lastIndexOf(<string>) | <string>.indexOf(<string>, <int>)
        <ints>.sum() | <ints>.min() | <ints>.max() | <ints>.indexOf(<int>) | <strings>.lastIndexOf(<string>)
        <timestamp>.getFullYear() | <timestamp>.getHours() | <timestamp>.getDayOfWeek() | <timestamp>.getMonth('+02:00')
        <timestamp>.getDayOfYear() | <timestamp>.getMilliseconds() | <duration>.getSeconds() | <duration>.getHours()
        <maybe int>.orValue(<int>) | <maybe int>.value() | cel.bind($int, <int>) | cel.bind($string, <int>)
        <quantity>.compareTo(<quantity>) | <quantity>.asInteger() | <quantity>.sign()
        <semver>.major() | <semver>.compareTo(<semver>) | <ip>.family() | <cidr>.prefixLength()
        self.entries[<int>].weight | self.entries.map(e, e.weight)[<int>]
    """,
    "uint": """
        0u | 1u | 7u | 18446744073709551615u | <uint> + <uint> | <uint> - <uint> | <uint> * <uint> | <uint> / <uint>
        <uint> % <uint> | uint(<int>) | uint(<double>) | uint('5') | <bool> ? <uint> : <uint>
    """,
    "double": """
        0.0 | 1.0 | -1.5 | 2.5 | 1e10 | 0.1 | self.ratio | <double> + <double> | <double> - <double> | <double> * <double>
        <double> / <double> | -<double> | double(<int>) | double(<string>) | double('1.5') | <bool> ? <double> : <double>
        <quantity>.asApproximateFloat() | [<double>, <double>].sum()
    """,
    "string": """
        'a' | '' | 'middle' | 'é你' | 'a,b' | "x y" | '10' | 'Ab' | self.name | self.note | self.inner.y | self.inner.z
        self.labels.app | self.labels['app'] | self.tags[<int>] | self.maybe | self.unique[<int>]
        <string> + <string> | <bool> ? <string> : <string> | string(<int>) | string(<double>) | string(<bool>)
        string(<bytes>) | string(<duration>) | string(<timestamp>) | string(<uint>)
        <string>.charAt(<int>) | <string>.lowerAscii() | <string>.upperAscii() | <string>.trim() | <string>.substring(<int>)
        <string>.substring(<int>, <int>) | <string>.replace(<string>, <string>) | <string>.replace(<string>, <string>, <int>)
        <strings>.join() | <strings>.join(<string>) | <string>.find('[a-z]+') | <texts>[<string>] | <strings>[<int>]
        '%s'.format([<string>]) | '%s-%d'.format([<string>, <int>]) | '%s'.format([<double>]) | '%s'.format([<ints>])
        '%.2f'.format([<double>]) | '%s'.format([<dyn>]) | '%x'.format([<int>]) | '%s'.format([<texts>])
        <url>.getHost() | <url>.getScheme() | string(<ip>) | <maybe string>.orValue(<string>)
        cel.bind($string, <string>) | cel.bind($strings, <string>) | <strings>.max() | self.entries[<int>].key
    """,
    "bool": """
        true | false | self.on | self.flags[<int>] | !<bool> | <bool> && <bool> | <bool> || <bool> | <bool> && <bool>
        <bool> || <bool> | <int> == <int> | <int> < <int> | <int> >= <int> | <int> != <int> | <double> < <double>
        <double> == <double> | <int> < <double> | <uint> > <int> | <uint> <= <uint> | <string> == <string>
        <string> < <string> | <string> != <string> | <bool> == <bool> | <bytes> == <bytes> | <bytes> < <bytes>
        <duration> < <duration> | <timestamp> <= <timestamp> | <timestamp> == <timestamp> | <dyn> == <dyn> | <dyn> < <dyn>
        <dyn> == <int> | <string> == <dyn> | <dyn> == null | <dyn> in <ints>
        <int> in <ints> | <string> in <strings> | <string> in <texts> | <ints> == <ints> | <strings> != <strings>
        <texts> == <texts> | <numbers> == <numbers> | <bool> ? <bool> : <bool>
        <string>.contains(<string>) | <string>.startsWith(<string>) | <string>.endsWith(<string>)
        <string>.matches('^[a-z]*$') | <string>.matches('e') | has(self.count) | has(self.absent) | has(self.inner.z)
        has(self.inner) | has(self.labels.nope) | has(self.maybe) | has(<texts>.app) | <ints>.isSorted()
        <strings>.isSorted() | sets.contains(<ints>, <ints>) | sets.intersects(<strings>, <strings>)
        sets.equivalent(<ints>, <ints>) | isQuantity(<string>) | isURL(<string>) | isIP(<string>) | isCIDR(<string>)
        isSemver(<string>) | <quantity>.isLessThan(<quantity>) | <quantity> == <quantity> | <semver>.isLessThan(<semver>)
        <ip> == <ip> | <ip>.isLoopback() | <cidr>.containsIP(<ip>) | <cidr>.containsIP('10.0.0.1') | <cidr> == <cidr>
        <url> == <url> | <maybe int>.hasValue() | <maybe int> == <maybe int> | <maybe string>.hasValue()
        <ints>.all($int, <bool>) | <ints>.exists($int, <bool>) | <ints>.exists_one($int, <bool>)
        <strings>.all($string, <bool>) | <strings>.exists($string, <bool>) | <ints>.all($int, $int, <bool>)
        <strings>.exists($int, $string, <bool>) | <texts>.all($string, <bool>) | <numbers>.all($string, $int, <bool>)
        self.entries.all(e, e.key != <string>) | self.entries.exists(e, has(e.weight) && e.weight > <int>)
        type(<dyn>) == int | type(<int>) == type(<dyn>) | cel.bind($int, <bool>) | cel.bind($ints, <bool>) | bool(<string>)
        <string>.size() < <int> | dyn(<bool>) | <dyn>.contains(<dyn>) | self.unique == <strings>
    """,
    "bytes": """
        b'' | b'hello' | b'\\xff' | self.raw | <bytes> + <bytes> | bytes(<string>) | <bool> ? <bytes> : <bytes>
    """,
    "timestamp": """
        timestamp('2024-02-29T12:30:45Z') | timestamp('2023-12-31T23:59:59.999Z') | timestamp(0) | self.at
        <timestamp> + <duration> | <timestamp> - <duration> | <duration> + <timestamp> | timestamp(<int>) | timestamp(<string>)
    """,
    "duration": """
        duration('1h') | duration('-90s') | duration('1.5s') | duration('0s') | self.period | <duration> + <duration>
        <duration> - <duration> | <timestamp> - <timestamp> | duration(<string>)
    """,
    "ints": """
        [] | [1] | [1, 2, 3] | [<int>] | [<int>, <int>] | [<int>, <int>, <int>] | self.numbers | <ints> + <ints>
        <bool> ? <ints> : <ints> | <ints>.map($int, <int>) | <ints>.filter($int, <bool>) | <ints>.map($int, <bool>, <int>)
        <strings>.map($string, <int>) | <ints>.transformList($int, $int, <int>) | lists.range(3) | <ints>.reverse()
        <ints>.sort() | <ints>.distinct() | <ints>.slice(<int>, <int>) | [<ints>, <ints>].flatten()
        self.entries.filter(e, has(e.weight)).map(e, e.weight)
    """,
    "strings": """
        [] | ['a'] | ['b', 'a'] | [<string>] | [<string>, <string>] | self.tags | self.unique | <strings> + <strings>
        <bool> ? <strings> : <strings> | <strings>.filter($string, <bool>) | <strings>.map($string, <string>)
        <string>.split(<string>) | <string>.split(',', <int>) | <string>.findAll('[a-z]') | <ints>.map($int, <string>)
        <strings>.sort() | <strings>.distinct() | <texts>.map($string, <string>) | self.entries.map(e, e.key)
        <strings>.sortBy($string, <int>) | self.unique + <strings>
    """,
    "texts": """
        {} | {'app': 'x'} | {<string>: <string>} | self.labels | <bool> ? <texts> : <texts>
        <texts>.transformMap($string, $string, <string>)
    """,
    "numbers": "{} | {'cpu': 1} | {<string>: <int>} | self.limits | <numbers>.transformMap($string, $int, <int>)",
    "dyn": """
        dyn(<int>) | dyn(<string>) | dyn(<bool>) | dyn(<double>) | dyn(<uint>) | dyn(null) | dyn(<ints>) | dyn(<texts>)
        self.port | <dyn> + <dyn> | <dyn> ? <dyn> : <dyn> | <dyn> - <dyn> | dyn(self).count | dyn(self).inner.y | dyn(self).nope
        [dyn(1), dyn('a')][<int>] | dyn(<duration>) | dyn(<bytes>) | dyn(self).numbers
    """,
    "maybe int": """
        optional.of(<int>) | optional.none() | self.?count | self.?absent | self.?inner.x | self.?inner.?x | <ints>[?<int>]
        <numbers>[?<string>] | <maybe int>.optMap($int, <int>) | <maybe int>.or(<maybe int>) | optional.ofNonZeroValue(<int>)
        <maybe string>.optMap($string, <int>) | self.limits.?cpu | <ints>.first() | <ints>.last()
        <maybe int>.optFlatMap($int, <maybe int>) | self.limits[?'nope']
    """,
    "maybe string": """
        optional.of(<string>) | self.?name | self.?maybe | self.?inner.?z | self.labels.?app | <texts>[?<string>]
        <strings>[?<int>] | <maybe string>.optMap($string, <string>)
    """,
    "quantity": """
        quantity('1Ki') | quantity('100m') | quantity('5') | quantity('1.5G') | quantity(<string>) | <quantity>.add(<quantity>)
        <quantity>.sub(<int>) | <quantity>.add(<int>)
    """,
    "semver": "semver('1.2.3') | semver('1.10.0-rc.1') | semver('v2', true) | semver(<string>)",
    "ip": "ip('10.0.0.1') | ip('::1') | ip('127.0.0.1') | <cidr>.ip() | ip(<string>)",
    "cidr": "cidr('10.0.0.0/8') | cidr('2001:db8::/32') | <cidr>.masked() | cidr(<string>)",
    "url": "url('https://example.com:80/a?b=c') | url('/x') | url(<string>)",
}
_OPTIONS = {
    kind: [option.strip() for line in text.strip().split("\n") for option in line.split(" | ")]
    for kind, text in _RULES.items()
}
_ENDS = {kind: [option for option in options if _HOLE.search(option) is None] for kind, options in _OPTIONS.items()}
_KINDS = tuple(_OPTIONS)


class Expressions:
    """A source of expressions; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._names = 0

    def next(self) -> str:
        kind = self._random.choice(("bool", "bool", "bool", *_KINDS))
        return self._of(kind, self._random.randint(1, 4), {})

    def _of(self, kind: str, depth: int, scope: dict[str, str]) -> str:
        chance = self._random.random()
        if chance < _WRONG_TYPE:
            kind = self._random.choice(_KINDS)
        elif chance < _WRONG_TYPE + _DYNAMIC:
            return f"dyn({self._of(self._random.choice((kind, kind, 'dyn')), depth - 1, scope)})"
        known = [name for name, its in scope.items() if its == kind]
        if known and self._random.random() < 0.5:
            return self._random.choice(known)
        options = _OPTIONS[kind] if depth > 0 else _ENDS.get(kind) or _OPTIONS[kind]
        return self._filled(self._random.choice(options), depth, scope)

    def _filled(self, option: str, depth: int, scope: dict[str, str]) -> str:
        """The rule with its places filled; a variable is known only to places after it."""
        inner = dict(scope)
        written, at = [], 0
        for hole in _HOLE.finditer(option):
            written.append(option[at : hole.start()])
            at = hole.end()
            if hole[2]:
                self._names += 1
                name = f"v{self._names % 100}"
                written.append(self._bound(name, hole[2], option, depth, scope))
                inner[name] = hole[2]
            else:
                alone = option[hole.start() - 1 : hole.start()] in ("(", "[") and option[at : at + 1] in (")", "]", ",")
                written.append(self._guarded(self._of(hole[1], depth - 1, inner), alone=alone))
        return "".join([*written, option[at:]])

    def _bound(self, name: str, kind: str, option: str, depth: int, scope: dict[str, str]) -> str:
        """The variable; that of cel.bind comes with its value."""
        if not option.startswith("cel.bind("):
            return name
        return f"{name}, {self._of(kind, depth - 1, scope)}"

    def _guarded(self, text: str, *, alone: bool) -> str:
        """In parentheses, where the expression could fall apart; sometimes it may."""
        if alone or _BARE.fullmatch(text) or self._random.random() < 0.1:
            return text
        return f"({text})"


def request(seed: int) -> dict[str, object]:
    """A request for the oracle: an expression with one of the worlds."""
    choice = random.Random(seed)
    variable: dict[str, object] = {"value": VALUE}
    if choice.random() < 0.7:
        variable["schema"] = SCHEMA
    return {"expression": Expressions(seed).next(), "variables": {"self": variable}}


def broken(seed: int) -> str:
    """Text that is seldom an expression: a few pieces, or an expression with a few pieces too many or too few."""
    choice = random.Random(seed)
    if choice.random() < 0.2:
        return "".join(choice.choices(_BITS, k=choice.randint(1, 8)))
    pieces = _PIECE.findall(Expressions(seed).next()[:80])
    for _ in range(choice.randint(1, 3)):
        at = choice.randrange(len(pieces) + 1)
        pieces[at : at + choice.choice((0, 0, 1, 1))] = choice.choice(((), (choice.choice(_BITS),)))
    return "".join(pieces)
