"""YAML as Kubernetes reads it, which is neither YAML 1.1 nor 1.2: ``y`` is true, ``1e3`` a number, ``1:30`` a text.

The first document counts. Dates stay text, tags that are not known change nothing, aliases are written out, up to a
size. Merge keys (``<<``) are followed.

Source: sigs.k8s.io/yaml, go-yaml v2, by behaviour.
"""

import base64
import re
from typing import Any

import msgspec
import yaml

from tensorfusion.embedded.objects import JsonObject, decode

_DEEPEST = 128
_MOST_EXPANDED = 200_000
"""Nodes that a document may come to when its aliases are written out: few letters can stand for a huge value."""
_MOST_TIMES = 10
"""How often, on average, each node of a larger document may be written."""
_TAG = "tag:yaml.org,2002:"
_TRUE = ("y", "yes", "true", "on")
_INTEGER = re.compile(r"[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INT64, _UINT64 = 1 << 63, 1 << 64
LARGEST_PLAIN = 1e21
_RESOLVERS = (
    (
        "bool",
        re.compile(r"(?:[yYnN]|[yY]es|YES|[nN]o|NO|[tT]rue|TRUE|[fF]alse|FALSE|[oO]n|ON|[oO]ff|OFF)$"),
        "yYnNtTfFoO",
    ),
    ("null", re.compile(r"(?:~|[nN]ull|NULL|)$"), ("~", "n", "N", "")),
    ("int", re.compile(r"[-+.0-9][-+.0-9a-zA-Z_]*$"), "-+.0123456789"),
    ("merge", re.compile(r"<<$"), "<"),
)


class BadYaml(Exception):
    """A document that is none, or that has no place in JSON."""


def load_yaml(body: bytes) -> tuple[Any, list[str]]:  # Any: JSON
    """The value as JSON has it, and which keys come twice: of these the last counts.

    Raises:
        BadYaml: it does not parse, is nested too deeply, or cannot be written as JSON.
    """
    try:
        _check_depth(body)
        loader = _Loader(body)
        try:
            node = loader.get_node() if loader.check_node() else None
            if node is None:
                return None, []
            _check_size(node, {})
            value = loader.construct_document(node)
        finally:
            loader.dispose()
        return decode(msgspec.json.encode(value)), loader.twice
    except yaml.YAMLError as error:
        raise BadYaml(f"yaml: {' '.join(str(error).split())}") from error
    except (RecursionError, OverflowError, UnicodeError, TypeError, ValueError) as error:
        raise BadYaml(f"yaml: cannot be written as JSON: {' '.join(str(error).split())}") from error


class _Loader(yaml.CSafeLoader):
    """Notes keys that come ``twice``."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.twice: list[str] = []

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML's own way of configuring a loader


for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))


def _mapping(loader: _Loader, node: yaml.Node) -> JsonObject:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "wanted a map", node.start_mark)
    stated = {id(key) for key, _ in node.value}
    loader.flatten_mapping(node)
    found: JsonObject = {}
    own: set[str] = set()
    for key_node, value_node in node.value:
        key = _key(loader, key_node)
        if id(key_node) in stated:
            if key in own:
                loader.twice.append(f'line {key_node.start_mark.line + 1}: key "{key}" already set in map')
            own.add(key)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _key(loader: _Loader, node: yaml.Node) -> str:
    key = loader.construct_object(node, deep=True)
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return str(key)
    if not isinstance(key, str):
        raise yaml.constructor.ConstructorError(None, None, "keys must be strings", node.start_mark)
    return key


def _boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)).lower() in _TRUE


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    """What begins as a number does: it is one if Go can read it, and a text otherwise."""
    text = str(loader.construct_scalar(node))
    plain = text.replace("_", "")
    if _NO_NUMBER.fullmatch(plain):
        raise yaml.constructor.ConstructorError(None, None, f"unsupported value: {plain}", node.start_mark)
    if _INTEGER.fullmatch(plain):
        digits = plain.lstrip("+-")
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567"
        found = int(digits, 8) if octal else int(digits, 0)
        if plain[0] == "-":
            found = -found
        if -_INT64 <= found < _UINT64:
            return found
    if not _FLOAT.fullmatch(plain):
        return text
    number = float(plain)
    if abs(number) == float("inf"):
        return text
    return int(number) if number.is_integer() and abs(number) < LARGEST_PLAIN else number


def _binary(loader: _Loader, node: yaml.ScalarNode) -> str:
    return base64.b64decode(str(loader.construct_scalar(node)), validate=True).decode()


def _as_if_untagged(loader: _Loader, node: yaml.Node) -> Any:  # Any: JSON
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_constructor(_TAG + "map", _mapping)
_Loader.add_constructor(_TAG + "bool", _boolean)
_Loader.add_constructor(_TAG + "int", _number)
_Loader.add_constructor(_TAG + "float", _number)
_Loader.add_constructor(_TAG + "binary", _binary)
_Loader.add_constructor(_TAG + "timestamp", _as_if_untagged)
_Loader.add_constructor(None, _as_if_untagged)


def _check_depth(body: bytes) -> None:
    """Refuse deep nesting before anything is built."""
    depth = 0
    for event in yaml.parse(body, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise BadYaml(f"nested deeper than {_DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentEndEvent):
            return


def _check_size(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many nodes, and how many levels, a node comes to with its aliases written out."""
    found = known.get(id(node))
    if found is not None:
        if not found[0]:
            raise BadYaml("yaml: an anchor contains itself")
        return found
    known[id(node)] = (0, 0)
    size, depth = 1, 1
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    for part in below:
        parts, levels = _check_size(part, known)
        size += parts
        depth = max(depth, levels + 1)
    if depth > _DEEPEST or (size > _MOST_EXPANDED and size > _MOST_TIMES * len(known)):
        raise BadYaml("yaml: document contains excessive aliasing")
    known[id(node)] = (size, depth)
    return size, depth
