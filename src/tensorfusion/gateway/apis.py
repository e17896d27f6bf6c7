"""What can be asked for, by path: which body holds the model's name, how an answer is judged, whose words errors have.

Source: OpenAI's and Anthropic's API references; the platform's contract, 3.1.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tensorfusion.gateway.faults import Words


class Api(StrEnum):
    """One form of request and answer."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    VERBATIM = ""
    """Whatever else is below ``/v1/``: passed on, and judged by its status only."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a path asks for. ``path`` is behind ``/v1/``, with its query."""

    api: Api
    path: str
    words: Words


PREFIX: Final = b"/v1/"
_MODELS: Final = b"/v1/models"
_CONFIGS: Final = b"/v1/configs"
_VIRTUAL_KEYS: Final = b"/v1/virtual-keys"
_OWN: Final = frozenset((_MODELS, b"/v1/usage", b"/v1/logs", _CONFIGS, _VIRTUAL_KEYS))
"""The gateway's own."""
_OWN_BELOW: Final = (_MODELS + b"/", _CONFIGS + b"/", _VIRTUAL_KEYS + b"/")
_ODD: Final = (b"..", b"//", b"%2e", b"%2f", b"%5c", b"\\")
"""Could mean another path to whoever is behind this one."""
_KNOWN: Final = {
    b"/v1/" + api.encode(): Call(api, str(api), Words.ANTHROPIC if api is Api.MESSAGES else Words.OPENAI)
    for api in Api
    if api
}


_ROUTED: Final = re.compile(rb"/routes/([a-z0-9][-a-z0-9.]*)(/v1/.*)", re.DOTALL)


def routed(target: bytes) -> tuple[bytes, bytes] | None:
    """The route's name and the target itself, where a base URL names the route: ``/routes/NAME/v1/...``."""
    found = _ROUTED.fullmatch(target)
    return None if found is None else (found[1], found[2])


def call_of(target: bytes) -> Call | None:
    """What the target of a request asks of a model; None where it is no model's business."""
    found = _KNOWN.get(target)
    if found is not None:
        return found
    path, mark, query = target.partition(b"?")
    if not path.startswith(PREFIX) or not path.isascii() or path in _OWN or path.startswith(_OWN_BELOW):
        return None
    if any(odd in path.lower() for odd in _ODD):
        return None
    known = _KNOWN.get(path)
    text = (path[len(PREFIX) :] + mark + query).decode("latin-1")
    if known is not None:
        return Call(known.api, text, known.words)
    words = Words.ANTHROPIC if path.startswith(b"/v1/messages/") else Words.OPENAI
    return Call(Api.VERBATIM, text, words)
