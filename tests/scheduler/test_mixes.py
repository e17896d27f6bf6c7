"""What a pool has learned of its arrivals outlives the scheduler, is written seldom, and by one of them alone."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import Forbidden, InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.resources import CONFIG_MAPS, GPU_POOLS, PODS
from tensorfusion.scheduler import mix_file
from tensorfusion.scheduler.mix_file import read, written
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.asked import Asked, asked_of
from tensorfusion.scheduling.learned import Learned
from worlds import pod

NAME = "arrivals-main"


def begin(world: Any, nodes: int = 2) -> None:
    world.template("dense", "FragmentationAware")
    world.fleet(nodes=nodes, devices=2)
    place_by(world, "dense")


def place_by(world: Any, template: str) -> None:
    world.api.change(GPU_POOLS, "main", {"spec": {"schedulingConfigTemplate": template}})


def learned(service: SchedulerService) -> Learned:
    return service.state.fleet.pools["main"].learned


def kept(world: Any) -> Any:
    maps = [one for one in world.api.objects(CONFIG_MAPS) if one["metadata"]["name"] == NAME]
    return maps[0] if maps else None


def writes(world: Any) -> int:
    return sum(call.resource == CONFIG_MAPS.id and call.verb in ("create", "patch") for call in world.api.calls)


class TestText:
    sizes = st.builds(
        Asked,
        st.integers(0, 9999),
        st.integers(0, 9999),
        st.integers(1, 8),
        compute=st.integers(0, 9999),
        vram=st.integers(0, 1 << 40),
        isolation=st.sampled_from(("", "shared", "partitioned")),
        model=st.text(max_size=8),
    )

    @given(st.lists(st.tuples(sizes, st.sampled_from(("a", "b", "c")), st.integers(0, 1 << 32)), max_size=30))
    def test_it_is_read_as_it_was_written(self, arrivals: list[tuple[Asked, str, int]]) -> None:
        one, other = Learned(), Learned()
        for size, tenant, created in arrivals:
            one.add(size, tenant, created=created)
        read(written(one)).put_into(other)
        assert (other.counts(), other.count, other.until) == (one.counts(), one.count, one.until)
        assert written(other) == written(one)

    def test_whatever_a_pod_asks_for_is_read_again(self) -> None:
        learned, again = Learned(), Learned()
        absurd = pod(cpu=1 << 70, memory=1 << 90, count=1 << 40, compute=1 << 80, vram=1 << 80)
        assert absurd.request is not None
        learned.add(asked_of(absurd, absurd.request), "a", created=1)
        read(written(learned)).put_into(again)
        assert again.counts() == learned.counts()

    def test_it_is_never_longer_than_an_object_may_be(self) -> None:
        learned = Learned()
        for number in range(4096):
            for _ in range(1 + number % 3):
                learned.add(Asked(number, 1, 1, model="\U0001f600" * 63), "a", created=1)
        text = written(learned)
        assert len(text.encode()) <= mix_file.LONGEST
        left = read(text).counts["a"]
        assert 0 < len(left) < 4096
        assert min(left.values()) > 1024, "the rarest went"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "format 1"),
            ("{}", "format"),
            (
                '{"format":2,"count":1,"until":1,"halvedAt":1,"sizes":[],"tenants":{}}',
                "wanted format 1, found 2",
            ),
            ('{"format":1,"count":1,"until":1,"halvedAt":1,"sizes":[],"tenants":{"a":[[0,5]]}}', "number 0"),
            ('{"format":1,"count":1,"until":1,"halvedAt":1,"sizes":[],"tenants":{"a":[[0,0]]}}', "format 1"),
            (
                '{"format":1,"count":1,"until":1,"halvedAt":1,"sizes":[],"tenants":{"a":[[0,2305843009213693952]]}}',
                "<= 1073741824",
            ),
            (
                '{"format":1,"count":1,"until":1,"halvedAt":1,"sizes":[[1,1,1,1,1,1,"odd","","",""]],"tenants":{}}',
                "odd",
            ),
        ],
    )
    def test_anything_else_is_refused_in_a_line(self, text: str, words: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            read(text)
        assert words in str(caught.value)


async def test_a_restart_goes_on_from_what_was_learned_and_counts_nobody_twice(world) -> None:
    begin(world)
    service = await world.start()
    for number in range(6):
        world.worker(f"w{number}", tflops="100", count=2)
    await world.settle(70)
    assert learned(service).count == 6
    for number in range(4):
        world.delete(f"w{number}")
    await world.settle(5)
    await world.stop()
    world.worker("while-nobody-was-there", tflops="30")
    service = await world.start()
    await world.settle(5)
    assert learned(service).count == 7
    assert {size.count for its in learned(service).mix for size, _ in its.weights} == {1, 2}


async def test_a_pod_that_its_quota_refuses_at_a_takeover_counts_once_it_may_run(world) -> None:
    begin(world)
    await world.start()
    world.worker("w")
    await world.settle(70)
    world.quota("default", {"total": {"maxGPUCount": 1}})
    await world.settle(5)
    await world.stop()
    world.worker("while-nobody-was-there", tflops="30")
    service = await world.start()
    await world.settle(5)
    assert learned(service).count == 1
    world.delete("w")
    await world.settle(60)
    assert world.node_of("while-nobody-was-there")
    assert learned(service).count == 2


async def test_pods_that_were_turned_away_count_and_each_pod_once(world) -> None:
    begin(world, nodes=1)
    service = await world.start()
    for number in range(5):
        world.worker(f"w{number}", tflops="100", count=2)
    await world.settle(30)
    patch = {"metadata": {"annotations": {keys.EVICTION_PROTECTION: "5s"}}}
    world.api.change(PODS, "w4", patch, namespace="default")
    await world.settle(30)
    assert learned(service).count == 5


async def test_it_is_written_once_a_minute_and_only_when_something_arrived(world) -> None:
    begin(world)
    await world.start()
    assert writes(world) == 0
    for number in range(90):
        world.worker(f"w{number}")
        await world.settle(1)
    assert 1 <= writes(world) <= 2
    await world.settle(120)
    before = writes(world)
    await world.settle(600)
    assert writes(world) == before
    found = kept(world)
    assert found["metadata"]["annotations"][keys.SCHEDULER_EPOCH] == "1"
    assert found["metadata"]["ownerReferences"][0]["kind"] == "GPUPool"


async def test_pools_of_other_modes_write_nothing_and_know_their_arrivals_when_they_look_ahead(world) -> None:
    begin(world)
    place_by(world, "")
    service = await world.start()
    for number in range(3):
        world.worker(f"w{number}")
    await world.settle(120)
    assert writes(world) == 0
    place_by(world, "dense")
    await world.settle(120)
    assert learned(service).count == 3
    assert kept(world) is not None


@pytest.mark.parametrize("data", [{}, {"mix": "what"}, {"mix": '{"format":9}'}])
async def test_a_damaged_object_is_an_empty_start_and_one_line(world, data, caplog) -> None:
    begin(world)
    world.api.seed(CONFIG_MAPS, {"metadata": {"name": NAME}, "data": data}, namespace=keys.SYSTEM_NAMESPACE)
    with caplog.at_level(logging.WARNING):
        service = await world.start()
        world.worker("w")
        await world.settle(70)
    assert world.node_of("w")
    assert sum("cannot be read" in record.getMessage() for record in caplog.records) == 1
    assert learned(service).count == 1
    assert read(kept(world)["data"]["mix"]).count == 1


async def test_who_may_not_write_places_all_the_same(world) -> None:
    begin(world)
    world.api.fail("create", CONFIG_MAPS, error=Forbidden("no"), times=-1)
    await world.start()
    world.worker("w")
    await world.settle(200)
    assert world.node_of("w")
    assert kept(world) is None


async def test_a_stalled_predecessor_stands_back(world) -> None:
    begin(world)
    await world.start()
    world.worker("w")
    await world.settle(70)
    patch = {"metadata": {"annotations": {keys.SCHEDULER_EPOCH: "2"}}, "data": {"mix": "the successor's"}}
    world.api.change(CONFIG_MAPS, NAME, patch, namespace=keys.SYSTEM_NAMESPACE)
    world.worker("x")
    await world.settle(200)
    assert kept(world)["data"]["mix"] == "the successor's"


async def test_a_write_whose_answer_was_lost_is_taken_up(world) -> None:
    begin(world)
    world.api.fail("create", CONFIG_MAPS, reply_lost=True)
    await world.start()
    world.worker("w")
    await world.settle(70)
    world.worker("x")
    await world.settle(200)
    assert read(kept(world)["data"]["mix"]).count == 2


async def test_an_object_that_was_removed_or_touched_by_others_is_written_again(world) -> None:
    begin(world)
    await world.start()
    world.worker("w")
    await world.settle(70)
    world.api.change(CONFIG_MAPS, NAME, {"data": {"mix": "?"}}, namespace=keys.SYSTEM_NAMESPACE)
    world.worker("x")
    await world.settle(200)
    assert read(kept(world)["data"]["mix"]).count == 2
    world.api.remove(CONFIG_MAPS, NAME, namespace=keys.SYSTEM_NAMESPACE)
    world.worker("y")
    await world.settle(200)
    assert read(kept(world)["data"]["mix"]).count == 3


async def test_of_several_schedulers_the_owner_of_the_pool_keeps_it_and_its_successor_goes_on(world) -> None:
    begin(world)
    one = await world.start_shared("one")
    await world.settle(30)
    other = await world.start_shared("other")
    await world.settle(60)
    for number in range(4):
        world.worker(f"w{number}", tflops="100", count=2)
    await world.settle(130)
    assert read(kept(world)["data"]["mix"]).count == 4
    for number in range(4):
        world.delete(f"w{number}")
    await world.settle(5)
    owner = 0 if "main" in one.shards.mine else 1
    await world.end(owner)
    successor = (one, other)[1 - owner]
    await world.settle(60)
    assert "main" in successor.shards.mine
    assert learned(successor).count == 4
