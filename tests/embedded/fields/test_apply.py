"""The laws of server-side apply, on generated objects and configurations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import KIND, SCHEMA, applier, objects, updater, version_of

from tensorfusion.embedded.facts import load_facts
from tensorfusion.embedded.fields.apply import Applied, Conflicts, apply
from tensorfusion.embedded.fields.compare import compare, owned
from tensorfusion.embedded.fields.entries import (
    MOST_UPDATERS,
    Entry,
    capped,
    decode_entries,
    encode_entries,
    in_order,
    same_but_time,
)
from tensorfusion.embedded.fields.merge import merged
from tensorfusion.embedded.fields.reconcile import fitted
from tensorfusion.embedded.fields.sets import difference, paths
from tensorfusion.embedded.fields.types import Types
from tensorfusion.embedded.fields.update import Seen, updated

Json = dict[str, Any]


def forced(live: Json, config: Json, entries: list[Entry], name: str = "me") -> Applied:
    return apply(live, config, entries, applier(name), version_of, force=True)


def written(live: Json, new: Json, entries: list[Entry], name: str = "up") -> list[Entry]:
    seen = Seen.of(compare(live, new, KIND), {})
    return updated(entries, updater(name), lambda version: seen)


def plain(value: Any) -> Any:
    """Without what a removal leaves empty: decoding drops it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if plain(item) not in (None, {}, [])}
    return [plain(item) for item in value] if isinstance(value, list) else value


@given(objects, objects)
def test_a_forced_apply_makes_the_values_of_the_configuration_hold(live: Json, config: Json) -> None:
    result = forced(live, config, written({}, live, []))
    held = compare(config, result.obj, KIND)
    assert not [path for path in paths(owned(config, KIND)) if path in set(paths(held.changed))]
    assert difference(owned(config, KIND), held.removed) == owned(config, KIND)


@given(objects, objects)
def test_applying_twice_is_applying_once(live: Json, config: Json) -> None:
    once = forced(live, config, written({}, live, []))
    twice = apply(plain(once.obj), config, once.entries, applier("me"), version_of, force=False)
    assert plain(twice.obj) == plain(once.obj)
    assert not twice.changed
    assert same_but_time(twice.entries, once.entries)
    assert encode_entries(twice.entries) == encode_entries(once.entries)


@given(objects, objects, objects)
def test_a_field_that_is_applied_no_more_goes_unless_somebody_else_owns_it(
    first: Json, other: Json, then: Json
) -> None:
    mine = forced({}, first, [])
    both = forced(plain(mine.obj), other, mine.entries, "other")
    kept = next((entry.fields for entry in both.entries if entry.manager == "other"), {})
    had = next((entry.fields for entry in both.entries if entry.manager == "me"), {})
    result = forced(plain(both.obj), then, both.entries)
    left = set(paths(owned(plain(result.obj), KIND)))
    wanted = set(paths(owned(then, KIND)))
    for path in set(paths(had)) - wanted:
        shared = any(other_path[: len(path)] == path for other_path in (*paths(kept), *wanted))
        assert (path in left) is shared


@given(objects, objects)
def test_nobody_owns_a_field_with_a_value_that_is_not_his(live: Json, config: Json) -> None:
    entries = written({}, live, [], "creator")
    result = forced(live, config, entries)
    changed = set(paths(compare(live, result.obj, KIND).changed))
    creators = [entry.fields for entry in result.entries if entry.manager == "creator"]
    assert not [path for fields in creators for path in paths(fields) if path in changed]


@given(objects, objects)
def test_a_conflict_names_exactly_what_force_would_take(live: Json, config: Json) -> None:
    entries = forced({}, live, [], "owner").entries
    before = {path for entry in entries for path in paths(entry.fields)}
    after = {
        path
        for entry in forced(live, config, entries).entries
        if entry.manager == "owner"
        for path in paths(entry.fields)
    }
    try:
        apply(live, config, entries, applier("me"), version_of, force=False)
        taken = set()
    except Conflicts as conflicts:
        taken = {collision.path for collision in conflicts.collisions}
    assert taken == before - after


@given(objects, objects)
def test_an_update_owns_what_it_changed_and_nobody_owns_what_it_removed(old: Json, new: Json) -> None:
    entries = written(old, new, written({}, old, [], "creator"))
    change = compare(old, new, KIND)
    mine = {path for entry in entries if entry.manager == "up" for path in paths(entry.fields)}
    assert mine == set(paths(change.changed))
    everything = {path for entry in entries for path in paths(entry.fields)}
    assert not everything & (set(paths(change.removed)) - mine)


@given(objects, objects)
def test_merging_keeps_what_the_configuration_does_not_speak_of(live: Json, config: Json) -> None:
    assert merged(live, {}, KIND) == live
    assert merged(live, live, KIND) == live
    result = merged(live, config, KIND)
    silent = compare(live, result, KIND)
    assert not list(paths(silent.removed))
    assert set(paths(silent.changed)) <= set(paths(compare(live, config, KIND).changed))


@given(objects, st.permutations(["x", "y", "z"]))
def test_a_list_takes_the_order_of_the_configuration(live: Json, order: list[str]) -> None:
    result = merged(live, {"k": [{"n": name} for name in order]}, KIND)
    assert [item["n"] for item in result["k"]] == order


@given(st.integers(0, 30))
def test_there_are_never_too_many_updaters_and_none_of_their_fields_is_lost(count: int) -> None:
    live: Json = {}
    entries: list[Entry] = []
    for number in range(count):
        new = {**live, "m": {**live.get("m", {}), f"k{number}": "v"}}
        entries = written(live, new, entries, f"u{number:02}")
        live = new
    assert len(entries) <= MOST_UPDATERS
    assert capped(entries) == entries
    assert {path for entry in entries for path in paths(entry.fields)} == set(paths(compare({}, live, KIND).changed))


@given(objects, objects)
def test_entries_survive_being_stored(old: Json, new: Json) -> None:
    entries = written(old, new, written({}, old, [], "creator"))
    assert decode_entries(encode_entries(entries)) == in_order(entries)


def test_an_unknown_version_owns_nothing_any_more() -> None:
    gone = Entry("old", "Update", "x.io/v0", "FieldsV1", {"f:a": {}}, "2026-01-01T00:00:00Z")
    result = apply({"a": "x"}, {"a": "y"}, [gone], applier("me"), version_of, force=False)
    assert [entry.manager for entry in result.entries] == ["me"]


def test_a_configuration_that_says_what_is_there_already_leaves_no_time() -> None:
    live = {"a": "x"}
    result = apply(live, {"a": "x"}, written({}, live, []), applier("me"), version_of, force=False)
    assert [entry.time for entry in result.entries if entry.manager == "me"] == [None]


def test_two_conflicts_are_listed_by_manager() -> None:
    entries = forced({}, {"a": "x", "b": 1}, [], "owner").entries
    with pytest.raises(Conflicts) as caught:
        apply({"a": "x", "b": 1}, {"a": "y", "b": 2}, entries, applier("me"), version_of, force=False)
    assert str(caught.value) == 'Apply failed with 2 conflicts: conflicts with "owner":\n- .a\n- .b'


def test_a_list_that_became_one_value_is_owned_as_one() -> None:
    before = owned({"k": [{"n": "x", "v": 1}], "m": {"x": "u"}, "o": {"p": "u"}}, KIND)
    properties = {**SCHEMA["properties"]}
    properties["k"] = {**properties["k"], "x-kubernetes-list-type": "atomic"}
    properties["m"] = {**properties["m"], "x-kubernetes-map-type": "atomic"}
    now = Types(load_facts().definitions).custom({**SCHEMA, "properties": properties})
    assert fitted(before, now) == {"f:k": {}, "f:m": {}, "f:o": {"f:p": {}}}
    assert fitted(before, KIND) is before
