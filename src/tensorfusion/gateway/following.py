"""Where a stream of a response stands: in the text of its first message, with nothing but that before it, or elsewhere.

Apart from those who listen, since two of them ask: who hears what the client gets, and who compares it with what
another target says. Only text that both find at such a place can be compared. What a model thought, tools it called,
what it refused, a second message and annotations of a text cannot.

Source: OpenAI's API reference, "Responses", "Streaming events".
"""

from enum import Enum, auto
from typing import Final

import msgspec

from tensorfusion.gateway.reading import holds
from tensorfusion.gateway.typed import OfResponse

LIFE: Final = ("response.created", "response.queued", "response.in_progress")
ITEM_ADDED: Final = "response.output_item.added"
PART_ADDED: Final = "response.content_part.added"
DELTA: Final = "response.output_text.delta"
ITEM_DONE: Final = "response.output_item.done"
ENDS: Final = ("response.completed", "response.incomplete")
_TEXT_DONE: Final = "response.output_text.done"
_PART_ENDS: Final = (_TEXT_DONE, "response.content_part.done", ITEM_DONE)
KNOWN: Final = (*LIFE, ITEM_ADDED, PART_ADDED, DELTA, *_PART_ENDS, *ENDS)
"""Events whose form tells where a text stands."""
_OF_RESPONSES: Final = "response."


class Step(Enum):
    """What an event does to the one text."""

    BESIDE = auto()
    """Nothing: it keeps a connection alive, or tells of limits."""
    HEAD = auto()
    """It comes before the text."""
    TEXT = auto()
    """It adds to the text."""
    END = auto()
    """The text, or more than that, ends."""
    OTHER = auto()
    """It says what is more than the text, or what nobody knows."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Of a text: the names of its response and of its message, where that is in the response, and it in that, and which
    events have told of an end of it. None is what has not been told."""

    response: str | None = None
    item: str | None = None
    output: int = 0
    content: int | None = None
    ended: tuple[str, ...] = ()


def follow(place: Place, kind: str, heard: OfResponse | None) -> tuple[Step, Place]:
    """What an event of this kind does, and where the text stands behind it; ``heard`` is None where it has another
    form than is known."""
    if heard is None:
        return Step.OTHER, place
    if kind == DELTA:
        return _follow_text(place, heard)
    if kind in LIFE:
        response = heard.response
        if response is None or holds(response.output) or response.leans:
            return Step.OTHER, place
        name = response.id if place.response is None else place.response
        return Step.HEAD, msgspec.structs.replace(place, response=name)
    if kind == ITEM_ADDED:
        item = heard.item
        if place.item is not None or item is None or item.type != "message" or holds(item.content):
            return Step.OTHER, place
        return Step.HEAD, Place(place.response, item.id, heard.output_index)
    if kind == PART_ADDED:
        part = heard.part
        if not _is_of(place, heard) or place.content is not None or part is None or part.says_more_than_it_begins:
            return Step.OTHER, place
        return Step.HEAD, msgspec.structs.replace(place, content=heard.content_index)
    if kind in _PART_ENDS:
        return _follow_end(place, kind, heard)
    if kind in ENDS:
        return Step.END, place
    beside = kind and not kind.startswith(_OF_RESPONSES)
    return (Step.BESIDE if beside else Step.OTHER), place


def _follow_text(place: Place, heard: OfResponse) -> tuple[Step, Place]:
    if not _is_of(place, heard) or heard.delta is None or place.ended:
        return Step.OTHER, place
    if place.content == heard.content_index:
        return Step.TEXT, place
    if place.content is not None:
        return Step.OTHER, place
    return Step.TEXT, msgspec.structs.replace(place, content=heard.content_index)


def _follow_end(place: Place, kind: str, heard: OfResponse) -> tuple[Step, Place]:
    if kind == ITEM_DONE:
        item = heard.item
        ours = item is not None and item.type == "message" and heard.output_index == place.output
    else:
        ours = _is_of(place, heard) and heard.content_index == place.content
    in_turn = bool(place.ended) if kind != _TEXT_DONE else not place.ended
    if not ours or place.item is None or not in_turn or kind in place.ended:
        return Step.OTHER, place
    return Step.END, msgspec.structs.replace(place, ended=(*place.ended, kind))


def _is_of(place: Place, heard: OfResponse) -> bool:
    """It is about the item in which the text stands."""
    return place.item is not None and heard.item_id == place.item and heard.output_index == place.output
