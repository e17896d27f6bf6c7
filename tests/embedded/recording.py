"""What real servers answered, on file: everything that the version says whose answers ours are, and of a newer version
only what it says otherwise, in a file beside. So a check against either notices any change, and a new case is recorded
on each version that ``make kube-assets`` builds, the older one first.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tensorfusion.testing.control_plane import kubernetes_version

OURS = (1, 34)
"""The version whose answers the embedded API gives."""

Parts = Callable[[Any], Mapping[str, Any]]


def arguments_of(description: str | None) -> argparse.Namespace:
    """The command line of a recorder: ``assets`` names the server's folder, ``check`` only compares."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n", 1)[0])
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="only compare with what is recorded")
    return parser.parse_args()


def settle(arguments: argparse.Namespace, file: Path, text: str, parts: Parts) -> None:
    """Write down what a server said, or with ``--check`` compare it.

    ``text`` is the whole as JSON; ``parts`` takes it apart into what is compared, each part under its own name.

    Raises:
        SystemExit: another answer than the recorded one; names the parts.
    """
    version = kubernetes_version(arguments.assets)
    found = dict(parts(json.loads(text)))
    if version != OURS:
        recorded = parts(json.loads(file.read_text()))
        file = file.with_suffix(f".{version[0]}.{version[1]}.json")
        found = {name: answer for name, answer in found.items() if recorded.get(name) != answer}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(part, sort_keys=True)}" for name, part in found.items())
        text = f"{{\n{lines}\n}}\n"
        parts = dict
    if not arguments.check:
        file.write_text(text)
        print(f"{file}: {len(found)} answers")
    elif changed := _changed(found, parts(json.loads(file.read_text()) if file.exists() else {})):
        raise SystemExit(
            f"{file} is not what the server in {arguments.assets} says (record it without --check): "
            f"{json.dumps(changed, indent=1)}"
        )


def _changed(found: Mapping[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    names = [*found, *(name for name in recorded if name not in found)]
    return {
        name: {"recorded": recorded.get(name), "found": found.get(name)}
        for name in names
        if found.get(name) != recorded.get(name)
    }


def steps_of(stories: Mapping[str, list[Any]]) -> dict[str, Any]:
    """The answers of stories of several steps, each under the story's name and its number."""
    return {f"{name} [{number}]": step for name, steps in stories.items() for number, step in enumerate(steps)}
