"""Objects of a small kind with every way of owning and merging in it, and field sets."""

from typing import Any

from hypothesis import strategies as st

from tensorfusion.embedded.facts import load_facts
from tensorfusion.embedded.fields.apply import Version
from tensorfusion.embedded.fields.entries import Verb, Writer
from tensorfusion.embedded.fields.sets import Fields
from tensorfusion.embedded.fields.types import Types

API_VERSION = "x.io/v1"
ITEM = {
    "type": "object",
    "properties": {
        "n": {"type": "string"},
        "v": {"type": "integer"},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a": {"type": "string"},
        "b": {"type": "integer"},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "am": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "l": {"type": "array", "items": {"type": "string"}},
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "k": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": ITEM},
        "o": {"type": "object", "properties": {"p": {"type": "string"}, "q": {"type": "string"}}},
    },
}
KIND = Types(load_facts().definitions).custom(SCHEMA)

_names = st.sampled_from("xyz")
_texts = st.sampled_from("uvw")
_maps = st.dictionaries(_names, _texts, min_size=1, max_size=3)


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _items() -> st.SearchStrategy[list[Any]]:
    rest = _some(v=st.integers(0, 3), m=_maps)
    return st.dictionaries(_names, rest, min_size=1, max_size=3).map(
        lambda found: [{"n": name, **item} for name, item in found.items()]
    )


objects = _some(
    a=_texts,
    b=st.integers(0, 3),
    m=_maps,
    am=_maps,
    l=st.lists(_texts, min_size=1, max_size=3),
    s=st.lists(_texts, min_size=1, max_size=3, unique=True),
    k=_items(),
    o=_some(p=_texts, q=_texts).filter(bool),
)
"""Without empty containers: whether those stay is not a law of the algebra, but of each field."""

_steps = st.sampled_from(["f:a", "f:b", 'k:{"n":"x"}', 'v:"u"'])


def _nested(inner: st.SearchStrategy[Fields]) -> st.SearchStrategy[Fields]:
    return st.tuples(st.booleans(), st.dictionaries(_steps, inner, max_size=3)).map(
        lambda made: {**({".": {}} if made[0] and made[1] else {}), **made[1]}
    )


_nodes = st.recursive(st.just({}), _nested, max_leaves=6)
field_sets: st.SearchStrategy[Fields] = st.dictionaries(_steps, _nodes, max_size=3)


def version_of(api_version: str) -> Version | None:
    return Version(KIND, {}) if api_version == API_VERSION else None


def applier(name: str) -> Writer:
    return Writer(name, Verb.APPLY, API_VERSION, "2026-01-01T00:00:00Z")


def updater(name: str) -> Writer:
    return Writer(name, Verb.UPDATE, API_VERSION, "2026-01-01T00:00:00Z")
