"""Rollout steps: never over the surge, never under the available minimum, and always arriving."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.embedded.controllers.objects import Deployment, DeploymentSpec, RollingUpdate, Strategy, template_hash
from tensorfusion.embedded.controllers.rollout import Bounds, SetSize, bounds, recreate_step, rolling_step


def deployment(replicas: int, surge: int | str, unavailable: int | str) -> Deployment:
    strategy = Strategy(rolling_update=RollingUpdate(max_surge=surge, max_unavailable=unavailable))
    return Deployment(spec=DeploymentSpec(replicas=replicas, strategy=strategy))


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (4, "25%", "25%", Bounds(5, 3)),
        (10, "25%", "25%", Bounds(13, 8)),
        (1, "25%", "25%", Bounds(2, 1)),
        (3, 0, 0, Bounds(3, 2)),
        (3, 2, 1, Bounds(5, 2)),
        (2, 0, "100%", Bounds(2, 0)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    replicas: int, surge: int | str, unavailable: int | str, expected: Bounds
) -> None:
    assert bounds(deployment(replicas, surge, unavailable)) == expected


@given(
    st.integers(0, 12),
    st.integers(0, 4),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=3),
    st.integers(0, 12),
    st.data(),
)
def test_a_step_keeps_within_its_bounds(
    replicas: int, surge: int, unavailable: int, olds: list[tuple[int, int]], new_wanted: int, data: st.DataObject
) -> None:
    limits = bounds(deployment(replicas, surge, unavailable))
    old = [SetSize(f"old-{n}", wanted, min(available, wanted)) for n, (wanted, available) in enumerate(olds)]
    new = SetSize("new", new_wanted, data.draw(st.integers(0, new_wanted)))
    changes = rolling_step(replicas, limits, new, old)
    total_before = new.wanted + sum(entry.wanted for entry in old)
    total_after = changes.get("new", new.wanted) + sum(changes.get(entry.name, entry.wanted) for entry in old)
    assert all(size >= 0 for size in changes.values())
    assert total_after <= max(limits.most, total_before)
    surely_available = min(new.available, changes.get("new", new.wanted)) + sum(
        min(entry.available, changes.get(entry.name, entry.wanted)) for entry in old
    )
    available_before = new.available + sum(entry.available for entry in old)
    if changes.get("new", new.wanted) >= new.wanted:
        assert surely_available >= min(limits.least, available_before)


@given(st.integers(0, 10), st.integers(0, 3), st.integers(0, 3), st.integers(0, 10))
def test_a_rollout_arrives(replicas: int, surge: int, unavailable: int, before: int) -> None:
    """Every pod becomes available in time: the old ReplicaSet ends at nothing, the new one at the wanted size."""
    limits = bounds(deployment(replicas, surge, unavailable))
    new, old = SetSize("new", 0, 0), SetSize("old", before, before)
    for _ in range(60):
        changes = rolling_step(replicas, limits, new, [old])
        if not changes:
            break
        old_wanted, new_wanted = changes.get("old", old.wanted), changes.get("new", new.wanted)
        new, old = SetSize("new", new_wanted, new_wanted), SetSize("old", old_wanted, old_wanted)
    assert (new.wanted, old.wanted) == (replicas, 0)


def test_new_pods_wait_until_the_old_ones_are_really_given_up() -> None:
    new, limits = SetSize("new", 0, 0), Bounds(1, 0)
    assert rolling_step(1, limits, new, [SetSize("old", 0, 0, actual=1)]) == {}
    assert rolling_step(1, limits, new, [SetSize("old", 0, 0, actual=0)]) == {"new": 1}


def test_what_was_just_given_up_is_not_given_up_twice() -> None:
    new, limits = SetSize("new", 3, 0), Bounds(13, 8)
    assert rolling_step(10, limits, new, [SetSize("old", 8, 10, actual=10)]) == {}


def test_unavailable_old_pods_stay_while_the_new_ones_are_not_available_either() -> None:
    new, limits = SetSize("new", 1, 0), Bounds(4, 3)
    assert rolling_step(3, limits, new, [SetSize("old", 3, 1, actual=3)]) == {}
    assert rolling_step(3, limits, SetSize("new", 1, 1, actual=1), [SetSize("old", 3, 1, actual=3)]) == {"old": 2}


def test_recreate_waits_until_no_old_pod_is_left() -> None:
    new, old = SetSize("new", 0, 0), SetSize("old", 3, 3)
    assert recreate_step(3, new, [old], old_pods=3) == {"old": 0}
    assert recreate_step(3, new, [SetSize("old", 0, 0)], old_pods=1) == {}
    assert recreate_step(3, new, [SetSize("old", 0, 0)], old_pods=0) == {"new": 3}


def test_the_same_template_has_the_same_hash_and_another_has_another() -> None:
    one = {"spec": {"containers": [{"name": "a", "image": "x"}]}, "metadata": {"labels": {"a": "b"}}}
    same = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"image": "x", "name": "a"}]}}
    assert template_hash(one, 0) == template_hash(same, 0)
    assert template_hash(one, 0) != template_hash(one, 1)
    assert template_hash(one, 0) != template_hash({**one, "spec": {}}, 0)
