"""The rules of a definition that is written: whether they compile, what they may cost, where ``oldSelf`` makes sense.

Source: apiextensions-apiserver pkg/apis/apiextensions/validation, texts seen through a real server.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tensorfusion.cel import NEW, STORED, Dialect, Program
from tensorfusion.embedded.schema.path import Member, Path, Problem, text_of
from tensorfusion.embedded.schema.rule_compiler import OLD, RULES, RuleCompiler, check_texts, shown_rule
from tensorfusion.embedded.schema.rule_costs import RuleCosts, copies_below, for_all
from tensorfusion.embedded.schema.sizes import Place, sized
from tensorfusion.embedded.schema.words import complain
from tensorfusion.model.meta import Raw

_INTERNAL = "InternalError"
_NO_TYPE = (
    "Internal error: internal error: failed to construct type information for x-kubernetes-validations rules: "
    "unable to convert structural schema to CEL declarations"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What a definition had before: its expressions stay valid, and so does a schema that does not change."""

    rules: frozenset[str] = frozenset()
    messages: frozenset[str] = frozenset()
    schema: Raw | None = None


NEW_DEFINITION = Known()


def known_expressions(schemas: Sequence[Raw]) -> Known:
    """The expressions of a definition's schemas."""
    entries = [entry for schema in schemas for entry in _entries(schema)]
    rules = frozenset(entry.get("rule") or "" for entry in entries)
    return Known(rules, frozenset(entry.get("messageExpression") or "" for entry in entries))


def _entries(schema: Raw) -> Iterator[Raw]:
    yield from schema.get(RULES) or ()
    for _, inner in _inner(schema, None):
        yield from _entries(inner)


def _inner(schema: Raw, path: Path) -> Iterator[tuple[Path, Raw]]:
    """The schemas right below one."""
    for name, inner in (schema.get("properties") or {}).items():
        yield ((path, "properties"), Member(name)), inner
    for keyword in ("additionalProperties", "items"):
        if isinstance(schema.get(keyword), dict):
            yield (path, keyword), schema[keyword]


@dataclass(frozen=True, slots=True)
class _Site:
    """Where in a schema a place lies."""

    path: Path
    whole_object: bool
    # How many values there can be; None: as many as a request holds.
    copies: int | None = 1
    # The outermost list whose items have no predecessors, if it is inside one.
    list_without_keys: Path = None

    def below(self, schema: Raw, path: Path, inner: Raw) -> "_Site":
        found = replace(
            self,
            path=path,
            whole_object=bool(inner.get("x-kubernetes-embedded-resource")),
            copies=copies_below(schema, self.copies),
        )
        keyed = schema.get("x-kubernetes-list-type") == "map"
        if path is not None and path[1] == "items" and not keyed and self.list_without_keys is None:
            return replace(found, list_without_keys=self.path)
        return found


def check_rules(schema: Raw, path: Path, problems: list[Problem], *, known: Known, compiles: bool) -> None:
    """Add what is wrong with all rules of a whole schema.

    Not ``compiles``: the schema is broken, so that only the texts of its rules are looked at.
    """
    check = _Check(known, compiles=compiles, unchanged=known.schema == schema)
    check.place(schema, _Site(path, whole_object=True))
    check.costs.check_total(path, check.found)
    problems += check.texts + check.found


class _Check:
    def __init__(self, known: Known, *, compiles: bool, unchanged: bool) -> None:
        self.texts: list[Problem] = []
        self.found: list[Problem] = []
        self.costs = RuleCosts(unchanged=unchanged)
        self._known = known
        self._compiles = compiles

    def place(self, schema: Raw, site: _Site) -> None:
        """Everything below a place, then its own rules, which compile if all texts up to there are right."""
        before = len(self.texts)
        for path, inner in _inner(schema, site.path):
            self.place(inner, site.below(schema, path, inner))
        entries = schema.get(RULES) or ()
        at: Path = (site.path, RULES)
        for index, entry in enumerate(entries):
            check_texts(entry, schema, (at, index), self.texts)
        if not entries or not self._compiles or len(self.texts) > before:
            return
        size = sized(schema, whole_object=site.whole_object)
        if size is None:
            self.found.append(Problem(at, _NO_TYPE, _INTERNAL))
            return
        compiler = RuleCompiler(schema, whole_object=site.whole_object)
        copies = size.most_copies if site.copies is None else site.copies
        for index, entry in enumerate(entries):
            here: Path = (at, index)
            program = self._compiled(compiler, "rule", entry, here)
            if program is not None:
                cost = for_all(program.estimated(size.size).most, copies)
                self.costs.add("rule", cost, (here, "rule"), self.found)
                if entry.get("messageExpression"):
                    self._message(compiler, entry, here, size)
            self._check_old(entry, program is not None and OLD in program.variables, here, site)

    def _message(self, compiler: RuleCompiler, entry: Raw, here: Path, size: Place) -> None:
        name = "messageExpression"
        message = self._compiled(compiler, name, entry, here)
        if message is not None:
            self.costs.add(name, message.estimated(size.size).most, (here, name), self.found)

    def _compiled(self, compiler: RuleCompiler, name: str, entry: Raw, here: Path) -> Program | None:
        found = compiler.program(entry, name, self._dialect(name, entry))
        if isinstance(found, Program):
            return found
        self.found.append(Problem((here, name), f"Invalid value: {shown_rule(entry)}: {found}"))
        return None

    def _dialect(self, name: str, entry: Raw) -> Dialect:
        known = self._known.rules if name == "rule" else self._known.messages
        return STORED if entry[name] in known else NEW

    def _check_old(self, entry: Raw, uses_old: bool, here: Path, site: _Site) -> None:
        if uses_old and site.list_without_keys is not None:
            where = text_of(site.list_without_keys)
            text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {where}"
            complain(self.found, (here, "rule"), entry["rule"], [text])
        elif not uses_old and entry.get("optionalOldSelf") is not None:
            text = "may not be set if oldSelf is not used in rule"
            complain(self.found, (here, "optionalOldSelf"), entry["optionalOldSelf"], [text])
