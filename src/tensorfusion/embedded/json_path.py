"""The simple JSONPath of printer columns: fields, quoted fields, indexes, ``[*]`` and one filter on equality.

Source: k8s.io/client-go/util/jsonpath, as far as printer columns use it.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

# Any: JSON values; a step gives all that it leads to.
Step = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\.(?P<field>(?:[^.\[\\]|\\.)+)
      | \[(?P<quote>['"])(?P<quoted>(?:[^'"\\]|\\.)*)(?P=quote)\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[\?\(\s*@(?P<key>(?:\.(?:[^.=!\s\\]|\\.)+)+)\s*(?P<operator>==|!=)\s*(?P<wanted>'[^']*'|"[^"]*"|[\w.-]+)\s*\)\]
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")


@lru_cache(maxsize=512)
def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """A function that finds all values at the path; a path that cannot be read finds nothing."""
    steps = _steps(path)

    def find(value: Any) -> list[Any]:
        found: Iterable[Any] = [value] if steps is not None else []
        for step in steps or ():
            found = [inner for outer in found for inner in step(outer)]
        return list(found)

    return find


def _steps(path: str) -> Sequence[Step] | None:
    steps: list[Step] = []
    at = 0
    while at < len(path):
        match = _TOKEN.match(path, at)
        if match is None:
            return None
        steps.append(_step(match))
        at = match.end()
    return steps


def _step(match: re.Match[str]) -> Step:
    if match["field"] is not None:
        return _field(_ESCAPE.sub(r"\1", match["field"]))
    if match["quoted"] is not None:
        return _field(_ESCAPE.sub(r"\1", match["quoted"]))
    if match["index"] is not None:
        return _index(int(match["index"]))
    if match["all"] is not None:
        return _all
    keys = [_ESCAPE.sub(r"\1", key) for key in re.findall(r"\.((?:[^.\\]|\\.)+)", match["key"])]
    return _filter(keys, _literal(match["wanted"]), equal=match["operator"] == "==")


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and value.get(name) is not None:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _filter(keys: Sequence[str], wanted: object, *, equal: bool) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for item in value if isinstance(value, list) else ():
            found: Any = item
            for key in keys:
                found = found.get(key) if isinstance(found, dict) else None
            if (found == wanted) is equal:
                yield item

    return step


def _literal(text: str) -> object:
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return text
