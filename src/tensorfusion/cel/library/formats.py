"""Named formats: what names, labels and some other strings of Kubernetes look like.

``validate`` gives nothing for a string that has the format, else all that is wrong with it.

Source: apiserver pkg/cel/library/format.go; apimachinery pkg/util/validation; kube-openapi pkg/validation/strfmt.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from tensorfusion.cel import costs
from tensorfusion.cel.declarations import Function, Library, Overload
from tensorfusion.cel.errors import EvaluationError
from tensorfusion.cel.library.url_syntax import check_url
from tensorfusion.cel.types import STRING, list_of, opaque, optional_of
from tensorfusion.cel.values import NOTHING, Opaque, Some, Value

FORMAT = opaque("kubernetes.NamedFormat")

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = f"{_LABEL}(\\.{_LABEL})*"
_OLD_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_LABEL_LENGTH, _SUBDOMAIN_LENGTH = 63, 253
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})")
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))")

_Problems = list[str]
_Check = Callable[[str], _Problems]


@dataclass(frozen=True, slots=True)
class Format(Opaque):
    """A format. ``weight`` is the length of the pattern that matching it costs as much as."""

    name: str
    check: _Check = field(compare=False)
    weight: int = field(compare=False)
    TYPE = FORMAT

    def __str__(self) -> str:
        return self.name


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _pattern_problem(rule: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{rule} (e.g. {shown}regex used for validation is '{pattern}')"


def _too_long(text: str, length: int) -> _Problems:
    return [f"must be no more than {length} characters"] if len(text.encode("utf-8", "replace")) > length else []


def _label(text: str) -> _Problems:
    problems = _too_long(text, _LABEL_LENGTH)
    if _matches(_LABEL, text):
        return problems
    if _matches(_SUBDOMAIN, text):
        return [*problems, "must not contain dots"]
    rule = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return [*problems, _pattern_problem(rule, _LABEL, "my-name", "123-abc")]


def _subdomain(text: str) -> _Problems:
    problems = _too_long(text, _SUBDOMAIN_LENGTH)
    if _matches(_SUBDOMAIN, text):
        return problems
    rule = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return [*problems, _pattern_problem(rule, _SUBDOMAIN, "example.com")]


def _old_label(text: str) -> _Problems:
    problems = _too_long(text, _LABEL_LENGTH)
    if _matches(_OLD_LABEL, text):
        return problems
    rule = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
        "start with an alphabetic character, and end with an alphanumeric character"
    )
    return [*problems, _pattern_problem(rule, _OLD_LABEL, "my-name", "abc-123")]


def _qualified_name(text: str) -> _Problems:
    rule = _pattern_problem(
        "must consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character",
        _QUALIFIED,
        "MyName",
        "my.name",
        "123-abc",
    )
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        return [
            f"a qualified name {rule} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        ]
    problems: _Problems = []
    if slash:
        found = _subdomain(prefix) if prefix else ["must be non-empty"]
        problems += [f"prefix part {problem}" for problem in found]
    found = _too_long(name, _LABEL_LENGTH) if name else ["must be non-empty"]
    if not _matches(_QUALIFIED, name):
        found.append(rule)
    return problems + [f"name part {problem}" for problem in found]


def _label_value(text: str) -> _Problems:
    problems = _too_long(text, _LABEL_LENGTH)
    if _matches(_LABEL_VALUE, text):
        return problems
    rule = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return [*problems, _pattern_problem(rule, _LABEL_VALUE, "MyValue", "my_value", "12345")]


def _before_suffix(check: _Check) -> _Check:
    """The check of a name that something will be appended to: it may end in a dash."""

    def checked(text: str) -> _Problems:
        return check(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)

    return checked


def _uri(text: str) -> _Problems:
    try:
        check_url(text)
    except EvaluationError as error:
        return [str(error)]
    return []


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if not match:
        return False
    year, month, day = map(int, match.groups())
    try:
        date(year or 4, month, day)  # the year 0 is a leap year
    except ValueError:
        return False
    return True


def _is_moment(text: str) -> bool:
    day, mark, rest = text.lower().partition("t")
    match = _TIME.fullmatch(rest.split("t")[0])
    if not mark or not match or not _is_date(day):
        return False
    return match[1] <= "23" and match[2] <= "59" and match[3] <= "59"


def _test(holds: Callable[[str], object], problem: str) -> _Check:
    return lambda text: [] if holds(text) else [problem]


FORMATS = {
    "dns1123Label": Format("DNS1123Label", _label, 30),
    "dns1123Subdomain": Format("DNS1123Subdomain", _subdomain, 60),
    "dns1035Label": Format("DNS1035Label", _old_label, 30),
    "qualifiedName": Format("QualifiedName", _qualified_name, 60),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _before_suffix(_label), 30),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _before_suffix(_subdomain), 60),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _before_suffix(_old_label), 30),
    "labelValue": Format("LabelValue", _label_value, 40),
    "uri": Format("URI", _uri, 1103),
    "uuid": Format("uuid", _test(_UUID.fullmatch, "does not match the UUID format"), 70),
    "byte": Format("byte", _test(_BASE64.fullmatch, "invalid base64"), 84),
    "date": Format("date", _test(_is_date, "invalid date"), 71),
    "datetime": Format("datetime", _test(_is_moment, "invalid datetime"), 71),
}


def _validate(found: Format, text: str) -> Value:
    problems = found.check(text)
    return Some(problems) if problems else NOTHING


def _named(name: str) -> Value:
    found = FORMATS.get(name)
    return NOTHING if found is None else Some(found)


def _cost(arguments: Sequence[Value], _: Value) -> int:
    return costs.matching(costs.size_of(arguments[1]), arguments[0].weight)


NAMED_FORMATS: Library = (
    Function(
        "validate",
        (
            Overload(
                "format-validate",
                (FORMAT, STRING),
                optional_of(list_of(STRING)),
                _validate,
                member=True,
                cost=_cost,
            ),
        ),
    ),
    Function("format.named", (Overload("format-named", (STRING,), optional_of(FORMAT), _named),)),
    *(
        Function(f"format.{name}", (Overload(f"format.{name}", (), FORMAT, lambda found=found: found),))
        for name, found in FORMATS.items()
    ),
)
