"""Documentation markers behind YAML values (``// [!code highlight]``): taken off before parsing, and told.

Guides print code blocks with such markers, and YAML has no ``//`` comments: copied as they are, a quoted value is no
YAML and a plain one becomes a text. Only this marker is taken off; any other ``//`` is left for the parser.
"""

import re
from dataclasses import dataclass

_MARKER = re.compile(r"[ \t]+//[ \t]*\[!code [A-Za-z0-9 :+-]{1,40}\][ \t]*$")


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker that was taken off."""

    line: int
    text: str


def strip_markers(source: str) -> tuple[str, list[Marker]]:
    """The text without markers, line for line, and the markers."""
    if "[!code " not in source:
        return source, []
    lines, markers = [], []
    for number, line in enumerate(source.split("\n"), start=1):
        found = _MARKER.search(line.rstrip("\r"))
        if found is not None:
            markers.append(Marker(number, found.group().strip()))
        lines.append(line if found is None else line[: found.start()])
    return "\n".join(lines), markers
