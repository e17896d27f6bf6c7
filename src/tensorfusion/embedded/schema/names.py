"""Which strings are names: the rules that Kubernetes has for them, by the words that the facts use.

Each rule returns the complaints about a string, none when it is fine.

Source: apimachinery util/validation.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

LABEL_LENGTH = 63
SUBDOMAIN_LENGTH = 253
QUALIFIED_NAME_LENGTH = 63
CONFIG_KEY_LENGTH = 253

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED})?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_ENVIRONMENT_NAME = r"[ -<>-~]+"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_label_value = re.compile(_LABEL_VALUE).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_environment_name = re.compile(_ENVIRONMENT_NAME).fullmatch

Rule = Callable[[str], tuple[str, ...]]


def _remembered(rule: Rule) -> Rule:
    """The rule with a memory for strings of a normal length: the same few come with every pod."""
    cached = lru_cache(maxsize=8192)(rule)

    def checked(text: str) -> tuple[str, ...]:
        return cached(text) if len(text) <= SUBDOMAIN_LENGTH else rule(text)

    return checked


_ALNUM = "alphanumeric characters"
_LABEL_TEXT = (
    f"a lowercase RFC 1123 label must consist of lower case {_ALNUM} or '-', and must start and end with an "
    f"alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_SUBDOMAIN_TEXT = (
    f"a lowercase RFC 1123 subdomain must consist of lower case {_ALNUM}, '-' or '.', and must start and end with an "
    f"alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_1035_TEXT = (
    f"a DNS-1035 label must consist of lower case {_ALNUM} or '-', start with an alphabetic character, and end with an "
    f"alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_LABEL_1035}')"
)
_QUALIFIED_TEXT = (
    f"name part must consist of {_ALNUM}, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_TOO_MANY_SLASHES = (
    f"a qualified name must consist of {_ALNUM}, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}') with an "
    "optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_LABEL_VALUE_TEXT = (
    f"a valid label must be an empty string or consist of {_ALNUM}, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL_VALUE}')"
)
_CONFIG_KEY_TEXT = (
    f"a valid config key must consist of {_ALNUM}, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', "
    f"regex used for validation is '{_CONFIG_KEY}')"
)


def _too_long(length: int) -> str:
    return f"must be no more than {length} characters"


@_remembered
def label(text: str) -> tuple[str, ...]:
    """A DNS label: namespaces, containers."""
    found = (_too_long(LABEL_LENGTH),) if len(text) > LABEL_LENGTH else ()
    if _is_label(text):
        return found
    return (*found, "must not contain dots" if _is_subdomain(text) else _LABEL_TEXT)


@_remembered
def subdomain(text: str) -> tuple[str, ...]:
    """A DNS name: most objects."""
    found = (_too_long(SUBDOMAIN_LENGTH),) if len(text) > SUBDOMAIN_LENGTH else ()
    return found if _is_subdomain(text) else (*found, _SUBDOMAIN_TEXT)


@_remembered
def label_1035(text: str) -> tuple[str, ...]:
    """A DNS label that starts with a letter: services."""
    found = (_too_long(LABEL_LENGTH),) if len(text) > LABEL_LENGTH else ()
    return found if _is_label_1035(text) else (*found, _LABEL_1035_TEXT)


@_remembered
def label_value(text: str) -> tuple[str, ...]:
    found = (_too_long(LABEL_LENGTH),) if len(text) > LABEL_LENGTH else ()
    return found if _is_label_value(text) else (*found, _LABEL_VALUE_TEXT)


@_remembered
def qualified_name(text: str) -> tuple[str, ...]:
    """``name`` or ``prefix/name``: keys of labels and annotations, finalizers, resources."""
    prefix, slash, name = text.rpartition("/")
    found: list[str] = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        elif "/" in prefix:
            return (_TOO_MANY_SLASHES,)
        else:
            found += [f"prefix part {complaint}" for complaint in subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > QUALIFIED_NAME_LENGTH:
        found.append(f"name part {_too_long(QUALIFIED_NAME_LENGTH)}")
    if not _is_qualified(name):
        found.append(_QUALIFIED_TEXT)
    return tuple(found)


def config_key(text: str) -> tuple[str, ...]:
    """A key of a ConfigMap's or a Secret's data: also a file name."""
    if text in (".", ".."):
        return (f"must not be '{text}'",)
    if text.startswith(".."):
        return ("must not start with '..'",)
    found = (_too_long(CONFIG_KEY_LENGTH),) if len(text) > CONFIG_KEY_LENGTH else ()
    return found if _is_config_key(text) else (*found, _CONFIG_KEY_TEXT)


def path_segment(text: str) -> tuple[str, ...]:
    """Anything that can stand between two slashes of a URL: RBAC objects, events."""
    if text in (".", ".."):
        return (f"may not be '{text}'",)
    return path_segment_prefix(text)


def path_segment_prefix(text: str) -> tuple[str, ...]:
    """What a name of any kind may begin with."""
    return tuple(f"may not contain '{mark}'" for mark in ("/", "%") if mark in text)


def environment_name(text: str) -> tuple[str, ...]:
    """An environment variable: any printable ASCII character except ``=``."""
    if _is_environment_name(text):
        return ()
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


RULES: Mapping[str, Rule] = {
    "label": label,
    "label1035": label_1035,
    "subdomain": subdomain,
    "qualifiedName": qualified_name,
    "labelValue": label_value,
    "path": path_segment,
}
