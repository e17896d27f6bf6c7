"""What a target said of its failure, before it is written down: without keys, and without words of the request.

Targets repeat in their errors what they were sent: a validator shows the message that it does not like, a provider the
key that it does not know. Such texts go into records, metrics' neighbours and the status of a route, where people of
other namespaces read them. So what repeats a stretch of the request loses its words and keeps its status; where that
cannot be looked up cheaply - a large body, or none that was read - the words go as well. The client itself still gets
the target's own answer where that is about its request.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from tensorfusion.gateway.reading import UNREADABLE

MOST_COMPARED: Final = 16 << 10
"""Bytes of a request."""
_STRETCH: Final = 16
"""Letters in a row that are no coincidence."""
_LEAST_WHOLE: Final = 6
"""Letters of a text of the request that counts as repeated when it is there as a whole."""
_KEY: Final = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)\S{6,}|\b(?:sk|pk|rk|tf|gsk|xai|hf|AIza|eyJ|ghp|AKIA)[-_A-Za-z0-9*.]{8,}"
)
_SPACES: Final = re.compile(r"[\s\\\"']+")
_LEFT_OUT: Final = "(its words are left out: they repeat the request)"
_UNSEEN: Final = "(its words are left out)"


def without_keys(text: str) -> str:
    """The text, and stars where it holds what looks like a credential."""
    return _KEY.sub("***", text)


def discreet(text: str, parts: Mapping[str, msgspec.Raw]) -> str:
    """The text as it may be kept; ``parts`` are those of the request's body, by name."""
    text = without_keys(text)
    head, colon, said = text.partition(":")
    if not colon or not said.strip():
        return text
    compared = [raw for name, raw in parts.items() if name != "model"]
    if not parts or sum(map(len, compared)) > MOST_COMPARED:
        return f"{head}: {_UNSEEN}"
    try:
        texts = [_plain(one) for raw in compared for one in _texts(raw)]
    except UNREADABLE:  # what the gateway passes on unread, its target may have read
        return f"{head}: {_UNSEEN}"
    asked, said = "\n".join(texts), _plain(said)
    if any(said[at : at + _STRETCH] in asked for at in range(len(said) - _STRETCH + 1)) or any(
        one in said for one in texts if len(one) >= _LEAST_WHOLE
    ):
        return f"{head}: {_LEFT_OUT}"
    return text


def _plain(text: str) -> str:
    """For comparison: however it is quoted and spaced."""
    return _SPACES.sub(" ", text).strip().lower()


def _texts(raw: msgspec.Raw) -> Iterator[str]:
    """Every text in there, names too."""
    waiting: list[object] = [msgspec.json.decode(raw)]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, list):
            waiting.extend(found)
        elif isinstance(found, dict):
            waiting.extend(found)
            waiting.extend(found.values())
