"""A file of YAML documents as the texts of each, so that of a file that changed only what changed is parsed.

A line that begins with ``---`` begins a document, wherever it stands: no text of a document can hold one. Where other
rules are in play (directives, ``...``, unusual ends of lines), nothing is parted and the file is one text.

Source: YAML 1.2.2, 9.1 (document markers); 5.4 (line breaks), and those of YAML 1.1.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Final

_BEGIN: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_OTHER_RULES: Final = re.compile(r"^%|^\.\.\.|\r(?!\n)|[\x85\u2028\u2029\ufeff]", re.MULTILINE)


def parts_of(text: str) -> Sequence[str]:
    """The texts of its documents, each with the line that begins it; some may be empty."""
    if _OTHER_RULES.search(text):
        return (text,)
    edges = [0, *(found.start() for found in _BEGIN.finditer(text)), len(text)]
    return tuple(text[start:end] for start, end in itertools.pairwise(edges))
