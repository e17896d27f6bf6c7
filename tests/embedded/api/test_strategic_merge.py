"""Strategic merge patch: keyed lists, directives and order."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from tensorfusion.embedded.strategic import strategic_patch
from tensorfusion.errors import BadRequest


@dataclass(frozen=True)
class Shape:
    """A schema in miniature."""

    children: dict[str, "Shape"] = field(default_factory=dict)
    items: "Shape | None" = None
    merge_key: str = ""
    strategies: frozenset[str] = frozenset()

    def child(self, name: str) -> "Shape | None":
        return self.children.get(name)


PORTS = Shape(items=Shape(), merge_key="containerPort", strategies=frozenset({"merge"}))
CONTAINERS = Shape(items=Shape({"ports": PORTS}), merge_key="name", strategies=frozenset({"merge"}))
POD = Shape(
    {
        "containers": CONTAINERS,
        "finalizers": Shape(strategies=frozenset({"merge"})),
        "args": Shape(),
        "strategy": Shape({"type": Shape(), "rolling": Shape()}, strategies=frozenset({"retainKeys"})),
        "exact": Shape(strategies=frozenset({"replace"})),
        "nested": Shape({"deeper": Shape()}),
    }
)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"nested": {"deeper": 1, "x": 2}}, {"nested": {"deeper": 5}}, {"nested": {"deeper": 5, "x": 2}}),
        ({"args": [1, 2]}, {"args": [3]}, {"args": [3]}),
        ({"exact": {"a": 1}}, {"exact": {"b": 2}}, {"exact": {"b": 2}}),
        ({"nested": {"x": 1}}, {"nested": {"$patch": "replace", "y": 2}}, {"nested": {"y": 2}}),
        ({"nested": {"x": 1}}, {"nested": {"$patch": "delete"}}, {"nested": {}}),
        ({"finalizers": ["a", "b"]}, {"finalizers": ["c", "a"]}, {"finalizers": ["c", "a", "b"]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        (
            {"strategy": {"type": "Rolling", "rolling": {"x": 1}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
        ),
    ],
)
def test_objects_and_plain_lists(target: Any, patch: Any, result: Any) -> None:
    assert strategic_patch(target, patch, POD) == result


def names(pod: Any) -> list[str]:
    return [container["name"] for container in pod["containers"]]


def test_elements_merge_by_their_key_and_new_ones_are_appended() -> None:
    target = {"containers": [{"name": "a", "image": "1", "env": 1}, {"name": "b", "image": "1"}]}
    patched = strategic_patch(target, {"containers": [{"name": "a", "image": "2"}, {"name": "c", "image": "3"}]}, POD)
    by_name = {container["name"]: container for container in patched["containers"]}
    assert by_name == {
        "a": {"name": "a", "image": "2", "env": 1},
        "b": {"name": "b", "image": "1"},
        "c": {"name": "c", "image": "3"},
    }


def test_keyed_lists_inside_keyed_lists_merge_too() -> None:
    target = {"containers": [{"name": "a", "ports": [{"containerPort": 1, "x": 1}, {"containerPort": 2}]}]}
    patch = {"containers": [{"name": "a", "ports": [{"containerPort": 1, "x": 9}]}]}
    assert strategic_patch(target, patch, POD) == {
        "containers": [{"name": "a", "ports": [{"containerPort": 1, "x": 9}, {"containerPort": 2}]}]
    }


def test_an_element_is_deleted_by_its_key() -> None:
    target = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert names(strategic_patch(target, {"containers": [{"$patch": "delete", "name": "a"}]}, POD)) == ["b"]


def test_a_list_is_replaced_on_demand() -> None:
    target = {"containers": [{"name": "a"}, {"name": "b"}]}
    patch = {"containers": [{"name": "z"}, {"$patch": "replace"}]}
    assert strategic_patch(target, patch, POD) == {"containers": [{"name": "z"}]}


def test_set_element_order_orders_and_keeps_what_the_patch_does_not_know() -> None:
    target = {"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b"}]}
    patch = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "2"}]}
    patched = strategic_patch(target, patch, POD)
    assert [name for name in names(patched) if name != "sidecar"] == ["b", "a"]
    assert "sidecar" in names(patched)


def test_order_without_content_only_reorders() -> None:
    target = {"containers": [{"name": "a"}, {"name": "b"}]}
    patch = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}
    assert names(strategic_patch(target, patch, POD)) == ["b", "a"]


def test_a_directive_that_is_null_says_nothing() -> None:
    patch = {"nested": {"$patch": None, "a": 1, "c": {"$patch": None, "d": 1}}, "args": [{"$patch": None, "e": 1}]}
    taken = {"nested": {"a": 1, "c": {"d": 1}}, "args": [{"e": 1}]}
    assert strategic_patch({"nested": "text"}, patch, POD) == taken


def test_where_there_is_nothing_to_merge_with_only_patch_directives_and_nulls_are_dropped() -> None:
    patched = strategic_patch(
        {},
        {
            "nested": {"$retainKeys": ["a"], "a": 1, "b": None, "c": {"$patch": "replace", "d": 1}},
            "containers": [{"name": "a", "$patch": "delete"}],
        },
        POD,
    )
    assert patched == {"nested": {"$retainKeys": ["a"], "a": 1}, "containers": []}


@pytest.mark.parametrize(
    "patch",
    [
        [1],
        {"nested": {"$patch": "explode"}},
        {"containers": [{"image": "1"}]},
        {"containers": [{"$patch": "merge", "name": "a"}]},
        {"containers": ["a"]},
        {"containers": [{"name": {"a": 1}}]},
        {"$setElementOrder/args": [1], "args": [1]},
        {"$setElementOrder/containers": 1},
        {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}, {"name": "b"}]},
        {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]},
        {"strategy": {"$retainKeys": 1}},
        {"strategy": {"$retainKeys": ["type"], "rolling": 1}},
        {"$deleteFromPrimitiveList/finalizers": [1]},
    ],
)
def test_malformed_patches_are_refused_in_one_line(patch: Any) -> None:
    target = {"containers": [{"name": "a"}], "nested": {"x": 1}, "strategy": {"type": "a"}, "finalizers": ["x"]}
    with pytest.raises(BadRequest) as caught:
        strategic_patch(target, patch, POD)
    assert "\n" not in str(caught.value)
