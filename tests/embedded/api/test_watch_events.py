"""Events are encoded once for all watches that show a kind in the same way."""

import pytest

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.negotiation import PLAIN, Form, Representation
from tensorfusion.embedded.objects import encode
from tensorfusion.embedded.store import EventKind, ObjectKey, Record
from tensorfusion.embedded.tables import IncludeObject
from tensorfusion.embedded.watch_events import Shape, Shapes
from tensorfusion.testing.clock import VirtualClock

FORMS = [
    PLAIN,
    Representation(managed=False),
    Representation(form=Form.PARTIAL),
    Representation(form=Form.TABLE),
]


def record(name: str, revision: int, size: int = 0) -> Record:
    metadata = {"name": name, "namespace": "d", "resourceVersion": str(revision)}
    data = encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": "y" * size}})
    return Record(ObjectKey("configmaps", "d", name), revision, "u", data, {}, {}, ())


def followed(shape: Shape, *, times: int = 1) -> Shape:
    for _ in range(times):
        shape.join()
    return shape


@pytest.fixture
def shapes() -> Shapes:
    return Shapes(VirtualClock())


@pytest.mark.parametrize("form", FORMS)
def test_watches_of_one_form_share_the_bytes_of_an_event(shapes: Shapes, form: Representation) -> None:
    kind = Kinds.builtin().by_id("configmaps")
    one, other = (followed(shapes.of(kind, form, IncludeObject.METADATA)) for _ in range(2))
    first = one.event(EventKind.ADDED, record("a", 7))
    assert other.event(EventKind.ADDED, record("a", 7)) is first
    assert first == one.new_event(EventKind.ADDED, record("a", 7))
    assert one.event(EventKind.DELETED, record("a", 7)) != first


def test_watches_of_different_forms_and_kinds_do_not(shapes: Shapes) -> None:
    kinds = Kinds.builtin()
    found = [shapes.of(kinds.by_id("configmaps"), form, IncludeObject.METADATA) for form in FORMS]
    found.append(shapes.of(kinds.by_id("configmaps"), FORMS[-1], IncludeObject.NONE))
    found.append(shapes.of(kinds.by_id("secrets"), PLAIN, IncludeObject.METADATA))
    assert len(set(found)) == len(found)


async def test_the_ages_of_a_table_are_those_of_its_time() -> None:
    clock = VirtualClock()
    shape = followed(Shapes(clock).of(Kinds.builtin().by_id("configmaps"), FORMS[-1], IncludeObject.NONE), times=2)
    obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "a",
            "resourceVersion": "7",
            "creationTimestamp": clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    }
    stored = Record(ObjectKey("configmaps", "d", "a"), 7, "u", encode(obj), {}, {}, ())
    before = shape.event(EventKind.ADDED, stored)
    await clock.advance(300)
    assert shape.event(EventKind.ADDED, stored) != before


def test_what_is_kept_of_the_past_is_bounded(shapes: Shapes) -> None:
    shape = followed(shapes.of(Kinds.builtin().by_id("configmaps"), PLAIN, IncludeObject.METADATA), times=2)
    many = [shape.event(EventKind.ADDED, record("a", revision)) for revision in range(1, 2_000)]
    assert shape.event(EventKind.ADDED, record("a", 1)) is not many[0]
    large = [shape.event(EventKind.ADDED, record("a", revision, 400_000)) for revision in range(3_000, 3_010)]
    assert shape.event(EventKind.ADDED, record("a", 3_009)) is large[-1]
    assert 0 < shape.kept_bytes <= 1 << 20


def test_nothing_is_kept_for_a_watch_that_shares_its_form_with_none(shapes: Shapes) -> None:
    shape = followed(shapes.of(Kinds.builtin().by_id("configmaps"), PLAIN, IncludeObject.METADATA), times=2)
    shape.event(EventKind.ADDED, record("a", 1))
    shape.leave()
    assert shape.kept_bytes == 0
    shape.event(EventKind.ADDED, record("a", 2))
    assert shape.kept_bytes == 0
