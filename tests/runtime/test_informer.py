"""The informer keeps its cache equal to the server's collection, whatever happens to its watch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorfusion.errors import ServerError
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Raw
from tensorfusion.model.resources import PODS
from tensorfusion.runtime.informer import HANDLER_ERRORS, Change, ChangeKind, Informer
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock


def pod(name: str, *, node: str = "", labels: dict[str, str] | None = None) -> Raw:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"nodeName": node} if node else {}}


class World:
    """A fake API, an informer of its pods and everything the informer said."""

    def __init__(self, *, labels: str = "") -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.informer = Informer(self.api, PODS, Pod, clock=self.clock, labels=labels)
        self.informer.add_index("node", lambda found: (found.spec.node_name,) if found.spec.node_name else ())
        self.changes: list[Change[Pod]] = []
        self.informer.subscribe(self.changes.append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.informer.run())
            await self.clock.settle()
            yield
            task.cancel()

    def told(self) -> list[tuple[str, str]]:
        said = [(change.kind.value, change.key.name) for change in self.changes]
        self.changes.clear()
        return said

    def agree(self) -> None:
        """The cache, the index and what subscribers were told equal the server's objects."""
        stored = {found["metadata"]["name"]: found for found in self.api.objects(PODS)}
        cached = {found.metadata.name: found for found in self.informer.cache.all()}
        assert set(cached) == set(stored)
        for name, found in cached.items():
            assert found.metadata.resource_version == stored[name]["metadata"]["resourceVersion"]
        for node in ("n1", "n2"):
            indexed = {found.metadata.name for found in self.informer.cache.by_index("node", node)}
            assert indexed == {name for name, found in stored.items() if found["spec"].get("nodeName") == node}


@pytest.fixture
def world() -> World:
    return World()


async def test_the_first_list_and_later_changes_reach_cache_and_subscribers(world: World) -> None:
    world.api.seed(PODS, pod("a"))
    async with world.running():
        assert world.informer.has_synced
        assert world.told() == [("added", "a")]
        world.api.seed(PODS, pod("b"))
        world.api.change(PODS, "a", {"spec": {"nodeName": "n1"}}, namespace="default")
        world.api.remove(PODS, "b", namespace="default")
        await world.clock.settle()
        assert world.told() == [("added", "b"), ("updated", "a"), ("deleted", "b")]
        world.agree()


async def test_a_change_carries_the_object_before_and_after(world: World) -> None:
    world.api.seed(PODS, pod("a"))
    async with world.running():
        world.api.change(PODS, "a", {"spec": {"nodeName": "n1"}}, namespace="default")
        world.api.remove(PODS, "a", namespace="default")
        await world.clock.settle()
    _, updated, deleted = world.changes
    assert updated.old is not None and updated.new is not None
    assert (updated.old.spec.node_name, updated.new.spec.node_name) == ("", "n1")
    assert (deleted.old, deleted.new) == (updated.new, None)
    assert deleted.kind is ChangeKind.DELETED


async def test_what_happens_while_a_watch_is_broken_is_told_after_it(world: World) -> None:
    async with world.running():
        world.api.drop_watches()
        world.api.seed(PODS, pod("a"))
        await world.clock.advance(1)
        assert world.told() == [("added", "a")]
        assert world.api.count("list") == 1
        world.agree()


async def test_a_watch_goes_on_after_the_last_change_it_brought(world: World) -> None:
    async with world.running():
        world.api.seed(PODS, pod("a"))
        world.api.change(PODS, "a", {"spec": {"nodeName": "n1"}}, namespace="default")
        await world.clock.settle()
        world.told()
        for ended in (world.api.close_watches, world.api.drop_watches):
            ended()
            await world.clock.advance(1)
            assert world.told() == []
        world.agree()


async def test_an_expired_watch_lists_again_and_reports_deletions_nobody_saw(world: World) -> None:
    for name in "abc":
        world.api.seed(PODS, pod(name))
    async with world.running():
        world.told()
        world.api.lag()
        world.api.remove(PODS, "a", namespace="default")
        world.api.change(PODS, "b", {"spec": {"nodeName": "n2"}}, namespace="default")
        world.api.seed(PODS, pod("d"))
        world.api.catch_up()
        world.api.expire()
        await world.clock.advance(1)
        assert world.told() == [("deleted", "a"), ("updated", "b"), ("added", "d")]
        assert world.api.count("list") == 2
        world.agree()


async def test_an_object_that_was_replaced_unseen_is_deleted_and_added(world: World) -> None:
    world.api.seed(PODS, pod("a"))
    async with world.running():
        world.told()
        world.api.lag()
        world.api.remove(PODS, "a", namespace="default")
        world.api.seed(PODS, pod("a", node="n1"))
        world.api.expire()
        world.api.catch_up()
        await world.clock.advance(1)
        assert world.told() == [("deleted", "a"), ("added", "a")]
        world.agree()


async def test_a_bookmark_moves_the_watch_past_forgotten_history(world: World) -> None:
    async with world.running():
        world.api.lag()  # other kinds' writes move the version on
        world.api.catch_up()
        world.api.bookmark()
        await world.clock.settle()
        world.api._world.compact()
        world.api.close_watches()
        await world.clock.advance(1)
        assert world.api.count("list") == 1


async def test_a_list_that_fails_is_tried_again_with_growing_pauses(world: World) -> None:
    world.api.fail("list", times=5)
    world.api.seed(PODS, pod("a"))
    async with world.running():
        assert not world.informer.has_synced
        await world.clock.advance(0.3)
        early = world.api.count("list")
        await world.clock.advance(10)
        assert early < 5
        assert world.informer.has_synced
        world.agree()


async def test_a_server_that_ends_every_watch_at_once_is_not_hammered(world: World) -> None:
    async with world.running():
        for _ in range(200):
            world.api.close_watches()
            await world.clock.advance(0.01)
        assert world.api.count("watch") < 20


async def test_a_watch_that_the_server_ends_in_time_goes_on_where_it_was(world: World) -> None:
    async with world.running():
        await world.clock.advance(300)
        world.api.close_watches()
        world.api.seed(PODS, pod("a"))
        await world.clock.settle()
        assert world.told() == [("added", "a")]
        assert world.api.count("list") == 1


async def test_objects_that_leave_the_selection_are_deleted_for_the_informer() -> None:
    world = World(labels="app=x")
    world.api.seed(PODS, pod("a", labels={"app": "x"}))
    world.api.seed(PODS, pod("b", labels={"app": "y"}))
    async with world.running():
        assert world.told() == [("added", "a")]
        world.api.change(PODS, "a", {"metadata": {"labels": {"app": "y"}}}, namespace="default")
        world.api.change(PODS, "b", {"metadata": {"labels": {"app": "x"}}}, namespace="default")
        await world.clock.settle()
        assert world.told() == [("deleted", "a"), ("added", "b")]


async def test_a_failing_handler_blinds_neither_others_nor_later_changes(world: World) -> None:
    before = HANDLER_ERRORS.labels("pods")._value.get()
    seen: list[str] = []

    def picky(change: Change[Pod]) -> None:
        if change.key.name == "b":
            raise ValueError("cannot read b")
        seen.append(change.key.name)

    world.informer.subscribe(picky)
    for name in "abc":
        world.api.seed(PODS, pod(name))
    async with world.running():
        assert seen == ["a", "c"]
        assert len(world.told()) == 3
    assert HANDLER_ERRORS.labels("pods")._value.get() == before + 1


async def test_a_late_subscriber_is_told_what_is_there(world: World) -> None:
    world.api.seed(PODS, pod("a"))
    batches: list[Sequence[Change[Pod]]] = []
    async with world.running():
        world.informer.subscribe_batch(batches.append)
        assert [[change.kind for change in batch] for batch in batches] == [[ChangeKind.ADDED]]


async def test_changes_that_arrive_together_are_one_batch(world: World) -> None:
    batches: list[Sequence[Change[Pod]]] = []
    world.informer.subscribe_batch(batches.append)
    async with world.running():
        world.api.lag()
        for number in range(20):
            world.api.seed(PODS, pod(f"p{number}"))
        world.api.catch_up()
        await world.clock.settle()
    assert [len(batch) for batch in batches] == [20]


async def test_filling_a_large_cache_gives_way_to_other_tasks(world: World) -> None:
    for number in range(2100):
        world.api.seed(PODS, pod(f"p{number}"))
    turns: list[int] = []

    async def other() -> None:
        while not world.informer.has_synced:
            turns.append(len(world.informer.cache))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(other())
        task = group.create_task(world.informer.run())
        await world.informer.synced()
        task.cancel()
    assert {500, 1000, 1500, 2000} <= set(turns)


async def test_an_error_that_is_not_the_apis_ends_the_informer(world: World) -> None:
    world.api.fail("list", error=TypeError("a bug"))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await world.informer.run()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("seed"), st.sampled_from("abcd")),
        st.tuples(st.just("bind"), st.sampled_from("abcd")),
        st.tuples(st.just("remove"), st.sampled_from("abcd")),
        st.tuples(
            st.sampled_from(["drop", "expire", "close", "lag", "catch up", "bookmark", "fail", "turn", "wait"]),
            st.just(""),
        ),
    ),
    max_size=40,
)


def play(world: World, action: str, name: str) -> None:
    api = world.api
    existing = {found["metadata"]["name"] for found in api.objects(PODS)}
    match action:
        case "seed" if name not in existing:
            api.seed(PODS, pod(name))
        case "bind" if name in existing:
            api.change(PODS, name, {"spec": {"nodeName": "n1"}}, namespace="default")
        case "remove" if name in existing:
            api.remove(PODS, name, namespace="default")
        case "drop":
            api.drop_watches()
        case "expire":
            api.expire()
        case "close":
            api.close_watches()
        case "lag":
            api.lag()
        case "catch up":
            api.catch_up()
        case "bookmark":
            api.bookmark()
        case "fail":
            api.fail(error=ServerError("down"), times=2)


@settings(max_examples=120, deadline=None)
@given(steps=steps)
def test_no_object_is_ever_lost_or_kept_too_long(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        world = World()
        mirror: dict[Key, str] = {}

        def follow(change: Change[Pod]) -> None:
            """A subscriber that believes only what it is told: its picture must come out right."""
            if change.kind is ChangeKind.DELETED:
                assert change.key in mirror
                del mirror[change.key]
                return
            assert (change.kind is ChangeKind.ADDED) == (change.key not in mirror)
            assert change.new is not None
            mirror[change.key] = change.new.metadata.resource_version

        world.informer.subscribe(follow)
        async with world.running():
            for action, name in steps:
                play(world, action, name)
                if action == "turn":
                    await asyncio.sleep(0)
                elif action == "wait":
                    await world.clock.advance(0.05)
            world.api.recover()
            world.api.catch_up()
            await world.clock.advance(60)
            world.agree()
            assert mirror == {found.key: found.metadata.resource_version for found in world.informer.cache.all()}

    asyncio.run(scenario())
