"""The models that a server names, as OpenAI with vLLM's additions and as Anthropic list them.

Source: OpenAI and Anthropic API references, models; vLLM ``ModelCard``.
"""

from typing import Final
from urllib.parse import unquote_to_bytes

from tensorfusion.testing.llm.refusals import unknown_model
from tensorfusion.testing.llm.settings import Settings
from tensorfusion.testing.llm.wire import encode

OWNER: Final = "tensorfusion-testserver"
_CREATED: Final = 1_767_225_600
_CREATED_AT: Final = "2026-01-01T00:00:00Z"


def models(settings: Settings, wanted: bytes, *, anthropic: bool) -> bytes:
    """All of them, or the one whose name is ``wanted``, as it stands in a path.

    Raises:
        Refusal: 404, there is none of that name.
    """
    spell = _anthropic if anthropic else _openai
    names = [*settings.models, *settings.adapters]
    if wanted:
        name = unquote_to_bytes(wanted).decode("utf-8", "replace")
        if name not in names:
            raise unknown_model(name)
        return encode(spell(settings, name))
    rows = [spell(settings, name) for name in names]
    if anthropic:
        return encode({"data": rows, "first_id": names[0], "last_id": names[-1], "has_more": False})
    return encode({"object": "list", "data": rows})


def _openai(settings: Settings, name: str) -> dict[str, object]:
    adapter = name in settings.adapters
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": OWNER,
        "root": settings.weights_of(name),
        "parent": next(iter(settings.models)) if adapter else None,
        "max_model_len": settings.context_length,
    }


def _anthropic(settings: Settings, name: str) -> dict[str, object]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": settings.context_length,
    }
