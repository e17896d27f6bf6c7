"""What becomes of a decision when its Binding is lost, refused, late, or no longer allowed."""

from tensorfusion.errors import Conflict, Forbidden, ServerError
from tensorfusion.model import keys
from tensorfusion.model.resources import PODS
from tensorfusion.scheduler.binder import BACKLOG, IN_FLIGHT
from tensorfusion.scheduler.queue import Place


def held(world) -> dict[str, int]:
    return {device.name: device.compute_held for device in world.service.state.devices()}


async def test_a_lost_reply_is_looked_up_and_the_binding_is_not_sent_twice(world) -> None:
    world.fleet()
    world.worker("a", tflops="60")
    world.api.fail("bind", reply_lost=True)
    await world.start()
    await world.settle(5)
    assert len(world.bindings()) == 1
    assert world.node_of("a") == "n0"
    world.check_books()


async def test_while_a_bindings_fate_is_unknown_its_devices_are_held(world) -> None:
    world.fleet()
    await world.start()
    world.api.fail("bind")
    world.api.fail("get", PODS, times=-1)
    world.worker("a", tflops="60")
    await world.settle(1)
    world.worker("b", tflops="60")
    await world.settle(30)
    assert held(world) == {"g0-0": 60_000}
    assert [name for name, *_ in world.bindings()] == ["a"]
    world.api.recover()
    await world.settle(30)
    assert world.node_of("a") == "n0"
    assert "compute" in world.reason_of("b")
    world.check_books()


async def test_a_lost_request_is_sent_again_with_the_very_same_placement(world) -> None:
    world.fleet(nodes=3, devices=3)
    await world.start()
    world.api.fail("bind", times=3)
    world.worker("a")
    await world.settle(0.1)
    world.worker("b")
    await world.settle(60)
    sent = [binding for binding in world.bindings() if binding[0] == "a"]
    assert len(sent) >= 2
    assert len(set(sent)) == 1
    assert world.node_of("a")
    world.check_books()


async def test_an_unknown_fate_under_a_lost_leadership_is_given_up_only_when_it_cannot_land_any_more(world) -> None:
    world.fleet()
    await world.start()
    world.api.fail("bind", times=-1)
    world.worker("a", tflops="60")
    await world.settle(0.1)
    world.office.leading = False
    sent = len(world.bindings())
    await world.settle(50)
    assert held(world) == {"g0-0": 60_000}
    await world.settle(30)
    assert held(world) == {"g0-0": 0}
    assert len(world.bindings()) == sent
    world.api.recover()
    world.office.leading, world.office.epoch = True, 2
    await world.settle(30)
    assert world.node_of("a") == "n0"
    world.check_books()


async def test_a_pod_bound_by_somebody_else_meanwhile_counts_where_it_is(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    world.api.lag()
    gate = world.api.hold("bind")
    world.api.catch_up()
    world.worker("a")
    await world.settle(0.1)
    (decided,) = [held_by.placement.node for held_by in world.service.state.allocations.values()]
    other = "n1" if decided == "n0" else "n0"
    world.api.lag()
    patch = {"spec": {"nodeName": other}, "metadata": {"annotations": {keys.GPU_IDS: f"g{other[1]}-0"}}}
    world.api.change(PODS, "a", patch, namespace="default")
    gate.set()
    await world.settle(5)
    (allocation,) = world.service.state.allocations.values()
    assert (allocation.placement.node, allocation.confirmed) == (other, True)
    world.api.catch_up()
    await world.settle(1)
    world.check_books()


async def test_a_refused_binding_gives_the_devices_back_and_the_pod_is_tried_again(world) -> None:
    world.fleet()
    await world.start()
    world.api.fail("bind", error=Forbidden("pods is forbidden"))
    world.worker("a", tflops="60")
    await world.settle(0.3)
    assert held(world) == {"g0-0": 0}
    await world.settle(3)
    assert world.node_of("a") == "n0"
    world.check_books()


async def test_a_conflict_on_a_pod_that_is_not_bound_is_tried_again(world) -> None:
    world.fleet()
    await world.start()
    world.api.fail("bind", error=Conflict("the object has been modified"))
    world.worker("a")
    await world.settle(5)
    assert len(world.bindings()) == 2
    assert world.node_of("a") == "n0"
    world.check_books()


async def test_a_pod_deleted_before_its_binding_gives_everything_back(world) -> None:
    world.fleet()
    await world.start()
    gate = world.api.hold("bind")
    world.worker("a", tflops="60")
    await world.settle(0.1)
    world.api.lag()
    world.delete("a")
    gate.set()
    await world.settle(1)
    assert held(world) == {"g0-0": 0}
    world.api.catch_up()
    await world.settle(1)
    assert len(world.service.book.queue) == 0
    world.check_books()


async def test_a_pod_made_anew_under_the_same_name_is_not_bound_by_the_old_decision(world) -> None:
    world.fleet(nodes=2)
    await world.start()
    gate = world.api.hold("bind")
    world.worker("a")
    await world.settle(0.1)
    world.delete("a")
    world.worker("a", tflops="20")
    gate.set()
    await world.settle(5)
    assert world.node_of("a")
    world.check_books()


async def test_a_pod_being_deleted_when_its_binding_arrives_is_not_tried_again(world) -> None:
    world.fleet()
    await world.start()
    gate = world.api.hold("bind")
    world.worker("a")
    await world.settle(0.1)
    world.api.change(PODS, "a", {"metadata": {"finalizers": ["example.com/f"]}}, namespace="default")
    await world.api.delete(PODS, "a", namespace="default")
    gate.set()
    await world.settle(60)
    assert len(world.bindings()) == 1
    assert len(world.service.book.queue) == 0
    world.check_books()


async def test_a_leadership_lost_between_decision_and_binding_sends_nothing(world) -> None:
    world.fleet()
    await world.start()
    gate = world.api.hold("bind")
    for number in range(70):  # more than are in flight at once: the rest is decided and waits for a slot
        world.worker(f"w{number}", tflops="1", vram="0")
    await world.settle(0.1)
    assert len(world.service.book.assumed) == 70
    assert len(world.bindings()) == 64
    world.office.leading = False
    gate.set()
    await world.settle(1)
    assert len(world.bindings()) == 64
    assert not world.service.book.assumed
    assert world.service.book.queue.depth(Place.TAKEN) == 0
    world.check_books()


async def test_a_leader_stalled_right_after_deciding_finds_out_before_it_sends(world) -> None:
    world.fleet()
    await world.start()
    questions = 0

    def stall() -> None:
        nonlocal questions
        questions += 1
        if world.service.book.assumed:
            world.office.leading = False

    world.office.asked = stall
    world.worker("a", tflops="60")
    await world.settle(1)
    assert questions > 0
    assert world.bindings() == []
    assert held(world) == {"g0-0": 0}


async def test_a_decision_of_an_earlier_epoch_is_not_sent_in_a_later_one(world) -> None:
    world.fleet()
    await world.start()
    gate = world.api.hold("bind")
    for number in range(65):
        world.worker(f"w{number}", tflops="1", vram="0")
    await world.settle(0.1)
    assert len(world.bindings()) == 64
    world.office.epoch = 2
    gate.set()
    await world.settle(10)
    epochs = {
        call.name: call.body["annotations"][keys.SCHEDULER_EPOCH] for call in world.api.calls if call.verb == "bind"
    }
    assert epochs["w64"] == "2"
    assert len(world.bindings()) == 65


async def test_a_fenced_leader_stops_deciding_until_the_lease_is_settled(world, fence) -> None:
    world.fleet()
    await world.start()
    world.api.fail("bind", error=fence, times=-1)
    world.worker("a", tflops="60")
    await world.settle(0.5)
    assert held(world) == {"g0-0": 0}
    world.worker("b")
    await world.settle(10)
    assert [name for name, *_ in world.bindings()] == ["a"]
    world.api.recover()
    world.office.epoch = 2
    await world.settle(10)
    assert world.node_of("a") == world.node_of("b") == "n0"
    world.check_books()


async def test_a_binding_the_watch_never_shows_is_looked_up(world) -> None:
    world.fleet()
    await world.start()
    gate = world.api.hold("bind")
    world.worker("a")
    await world.settle(0.1)
    world.api.lag()
    gate.set()
    await world.settle(20)
    (allocation,) = world.service.state.allocations.values()
    assert not allocation.confirmed
    await world.settle(20)
    assert allocation.confirmed
    assert len(world.bindings()) == 1
    world.api.catch_up()
    await world.settle(1)
    world.check_books()


async def test_a_stalled_leader_does_nothing_that_its_successor_did_not_allow(world, office, fence) -> None:
    """The first leader stalls with a Binding on its way; the second fills the device; the first wakes up."""
    world.fleet()
    first = await world.start(office(epoch=1))
    gate = world.api.hold("bind")
    world.worker("a", tflops="60")
    await world.settle(0.1)
    first_office = world.office
    await world.start(office(leading=False, epoch=1))
    first_office.leading = False
    world.office.leading, world.office.epoch = True, 2
    world.worker("b", tflops="60")
    # the fence: what was sent under epoch 1 is refused from now on
    world.api.fail("bind", error=fence, times=1)
    gate.set()
    await world.settle(40)
    bound = [name for name in "ab" if world.node_of(name)]
    assert len(bound) == 1
    world.check()
    world.check_books()
    assert not first.deciding


async def test_a_new_leader_waits_for_what_its_predecessor_bound(world, office) -> None:
    world.fleet()
    await world.start(office(leading=False))
    world.api.lag()
    body = world.worker("a", tflops="60")
    await world.api.bind(
        "default",
        "a",
        uid=body["metadata"]["uid"],
        node="n0",
        annotations={keys.GPU_IDS: "g0-0", keys.SCHEDULER_EPOCH: "1"},
    )
    world.api.catch_up()
    world.api.lag()
    world.office.leading, world.office.epoch = True, 2
    await world.settle(3)
    world.api.catch_up()
    world.worker("b", tflops="60")
    await world.settle(3)
    assert world.bindings() == [("a", "n0", "g0-0")]
    world.check()
    world.check_books()


async def test_a_lag_behind_the_predecessor_never_oversells(world, office) -> None:
    world.fleet()
    await world.start(office(leading=False))
    world.worker("b", tflops="60")
    await world.settle()
    world.api.lag()
    body = world.worker("a", tflops="60")
    await world.api.bind("default", "a", uid=body["metadata"]["uid"], node="n0", annotations={keys.GPU_IDS: "g0-0"})
    world.office.leading, world.office.epoch = True, 2
    await world.settle(5)
    assert not world.service.deciding
    world.delete("a")  # nobody waits for ever for a pod that is gone
    await world.settle(5)
    assert world.service.deciding
    world.api.catch_up()
    await world.settle(5)
    assert world.node_of("b") == "n0"
    world.check_books()


async def test_pods_that_cannot_be_listed_put_the_first_decision_off(world) -> None:
    world.fleet()
    await world.start()
    world.office.leading = False
    world.worker("a")
    await world.settle()
    world.api.fail("list", PODS, error=ServerError("down"), times=4)
    world.office.leading, world.office.epoch = True, 2
    await world.settle(0.6)
    assert world.bindings() == []
    await world.settle(5)
    assert world.node_of("a") == "n0"


async def test_an_older_view_that_the_watch_brings_late_does_not_make_a_bound_pod_pending(world) -> None:
    world.fleet()
    await world.start()
    gate = world.api.hold("bind")
    world.worker("a", tflops="40")
    await world.settle(0.1)
    world.api.lag()
    world.api.change(PODS, "a", {"metadata": {"annotations": {keys.TFLOPS_REQUEST: "30"}}}, namespace="default")
    world.api.fail("bind", reply_lost=True)
    gate.set()
    await world.settle(5)
    (allocation,) = world.service.state.allocations.values()
    assert allocation.confirmed
    world.api.catch_up()
    await world.settle(30)
    assert len(world.service.book.queue) == 0
    assert len(world.bindings()) == 1
    world.check_books()


async def test_a_refused_second_sending_does_not_free_what_the_first_may_still_take(world) -> None:
    world.fleet()
    await world.start()
    world.api.fail("bind")
    world.api.fail("bind", error=Forbidden("no"), times=-1)
    body = world.worker("a", tflops="60")
    await world.settle(3)
    world.worker("b", tflops="60")
    await world.settle(3)
    assert {name for name, *_ in world.bindings()} == {"a"}
    world.api.recover()
    await world.api.bind("default", "a", uid=body["metadata"]["uid"], node="n0", annotations={keys.GPU_IDS: "g0-0"})
    await world.settle(30)
    assert world.node_of("b") == ""
    world.check()
    world.check_books()


async def test_decisions_wait_for_room_in_the_backlog_and_go_on_by_the_answers_alone(world) -> None:
    for number in range(8):
        world.node(f"n{number}")
    for number in range(800):
        world.plain(f"p{number}", cpu="10m")
    answers = world.api.hold("bind")
    await world.start()
    assert len(world.bindings()) == IN_FLIGHT
    assert len(world.service.state.allocations) == IN_FLIGHT + BACKLOG
    world.api.lag()
    answers.set()
    await world.settle(0)  # neither the watch nor a tick of the clock is needed
    assert len(world.bindings()) == 800
