"""Stories: requests in a row, told to a real API server (``record_stories.py``) and to ours; the answers are the same.

A story is a list of steps ``{METHOD: path, body: ...}``. ``NS`` stands for the namespace that each story gets for
itself. ``keep: name`` remembers a step's answer; ``{name.metadata.uid}`` in later paths and bodies stands for a part of
it. ``compare: false`` asks without comparing, ``loose: true`` compares only what fields are wrong.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent
RECORDS_FILE = HERE / "answers.json"
STORIES: dict[str, list[dict[str, Any]]] = {
    f"{file.stem}: {name}": steps
    for file in sorted(HERE.glob("*.yaml"))
    for name, steps in yaml.load(file.read_text(), yaml.CSafeLoader).items()
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TYPES = {"merge": "application/merge-patch+json", "json": "application/json-patch+json"}
Send = Callable[[str, str, Any, str], tuple[int, Any, list[str]]]
"""Method, path, body, content type; the answer's status, body and Warning headers."""

_OWN = frozenset({"managedFields", "selfLink", "resourceVersion"})
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMESPACE = re.compile(r"\bNS\b")
_PLACE = re.compile(r"\{(\w+)((?:\.[\w-]+)+)\}")


def tell(
    steps: list[dict[str, Any]], namespace: str, send: Send, pause: Callable[[float], None] = lambda seconds: None
) -> list[dict[str, Any]]:
    """The answers to a story's steps, without what differs between any two servers.

    After a step with ``wait`` the teller pauses: the real server's quota admission looks at a cache. Ours needs none.
    """
    kept: dict[str, Any] = {"here": namespace}
    answers = []
    for step in steps:
        method = next(name for name in METHODS if name in step)
        path = filled(step[method], kept)
        body = filled(step.get("body"), kept)
        status, found, warnings = send(method, path, body, TYPES.get(step.get("type", ""), "application/json"))
        if "keep" in step:
            kept[step["keep"]] = found
        pause(step.get("wait", 0))
        if step.get("compare", True):
            body = comparable(found, namespace)
            answer = {"status": status, "body": causes_of(body) if step.get("loose") else body}
            if warnings:
                answer["warnings"] = sorted(comparable(warnings, namespace))
            answers.append(answer)
    return answers


def causes_of(body: Any) -> list[list[str]]:
    """Field and reason of each cause, for answers whose text shows a structure as Go prints it."""
    causes = (body.get("details") or {}).get("causes") or ()
    return sorted([cause.get("field", ""), cause.get("reason", "")] for cause in causes)


def filled(value: Any, kept: dict[str, Any]) -> Any:
    """The value with its references to earlier answers replaced."""
    if isinstance(value, dict):
        return {key: filled(item, kept) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, kept) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole:
        return part(whole, kept)
    value = _NAMESPACE.sub(kept["here"], value)
    return _PLACE.sub(lambda found: str(part(found, kept)), value)


def part(found: re.Match[str], kept: dict[str, Any]) -> Any:
    value = kept[found[1]]
    for step in found[2][1:].split("."):
        value = value[step]
    return value


def comparable(value: Any, namespace: str) -> Any:
    """An answer with times, uids and the namespace made alike, and without what Go leaves out because it is empty."""
    if isinstance(value, dict):
        pairs = {key: comparable(item, namespace) for key, item in value.items() if key not in _OWN}
        if len(pairs.get("causes") or ()) > 1:  # their order is chance
            pairs["causes"].sort(key=lambda cause: json.dumps(cause, sort_keys=True))
        if len((pairs.get("details") or {}).get("causes") or ()) > 1:
            pairs["message"] = "more than one cause"
        return {key: item for key, item in pairs.items() if item not in (None, [], {}, "")}
    if isinstance(value, list):
        return [comparable(item, namespace) for item in value]
    if not isinstance(value, str):
        return value
    return _UIDS.sub("UID", _TIMES.sub("TIME", value)).replace(namespace, "NS").removesuffix("\n")


RECORDS: dict[str, Any] = json.loads(RECORDS_FILE.read_text()) if RECORDS_FILE.exists() else {}


def without_own(value: Any, *, of_list: bool = False) -> Any:
    """Our answer without what it has on purpose and the real one has not.

    Pods always say their service account (the real server was asked without the plugin that fills it in), and the items
    of lists their kind.
    """
    if isinstance(value, dict):
        own = ("serviceAccount", "serviceAccountName") if "containers" in value else ()
        own += ("apiVersion", "kind") if of_list else ()
        return {key: without_own(item, of_list=key == "items") for key, item in value.items() if key not in own}
    return [without_own(item, of_list=of_list) for item in value] if isinstance(value, list) else value


def differences(found: Any, wanted: Any, path: str) -> Iterator[str]:
    """Where two answers differ, one line each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from differences(found.get(key), wanted.get(key), f"{path}.{key}")
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif found != wanted:
        yield f"{path}: ours {found!r}, real {wanted!r}"


@pytest.mark.parametrize("name", STORIES)
def test_a_story_has_the_answers_of_a_real_server(api: Any, name: str) -> None:
    def send(method: str, path: str, body: Any, content_type: str) -> tuple[int, Any, list[str]]:
        answer = api(method, path, body, content_type=content_type)
        return answer.status, answer.body, answer.warnings

    ours = tell(STORIES[name], api.namespace, send)
    found = [
        difference
        for number, (one, real) in enumerate(zip(ours, RECORDS[name], strict=True))
        for difference in differences(without_own(one), real, f"answer {number + 1}")
    ]
    assert not found
