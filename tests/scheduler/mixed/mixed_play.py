"""Tell a story in a mixed world, look at it after every step, let it come to rest, and judge what is left."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mixed_actions import Step, act, populate, story
from mixed_world import LEASE, NODE_NAMES, MixedWorld, P, Raw
from tensorfusion.errors import NotFit, QuotaExceeded
from tensorfusion.model import keys
from tensorfusion.model.resources import GPUS, NODES
from tensorfusion.scheduler.gang_holds import HeldForGang
from tensorfusion.scheduler.service import SchedulerService
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.gangs import GangUnschedulable, fits_when_empty, place_gang
from tensorfusion.scheduling.holds import Allocation
from tensorfusion.scheduling.preemption import Plan, search
from tensorfusion.testing.placement_audit import is_live

LONGEST_REST = 60
"""Minutes after which everything has come to rest."""
PARTS = ("devices", "nodes", "pods", "gangs", "pending")
"""Of the books of a scheduler that decides everything; one that shares queues what is its own."""
QUIET = 13
"""Minutes without any write after which none comes any more: longer than every time limit of the scheduler."""


def tell(steps: Sequence[Step], *, seed: int = 0, shared: bool = False, lent: bool = False) -> dict[str, int]:
    """The whole story in a world of its own; answers what was counted. ``shared``: two schedulers share the pools.

    ``lent``: quotas are shared in a cohort.

    Raises:
        AssertionError: something is wrong.
    """
    return asyncio.run(_tell(steps, seed, shared=shared, lent=lent))


async def _tell(steps: Sequence[Step], seed: int, *, shared: bool, lent: bool) -> dict[str, int]:
    world = MixedWorld(seed, shared=shared, lent=lent)
    populate(world, 24)
    try:
        await world.start()
        if shared:
            await world.start()
        await world.settle(1.5 * LEASE if shared else 0.3)
        for step in steps:
            await act(world, step)
            await world.settle(0.02)
            world.check()
        await rest(world)
        await judge(world)
    finally:
        await world.stop()
    return world.counts


def kill_again_and_again(seed: int, kills: int) -> dict[str, int]:
    """A story in which the leader is killed after each step, at any moment of what the step set going.

    Raises:
        AssertionError: something is wrong.
    """
    return asyncio.run(_kill_again_and_again(seed, kills))


async def _kill_again_and_again(seed: int, kills: int) -> dict[str, int]:
    world = MixedWorld(seed)
    dice = random.Random(seed)
    world.delays = (0.0, dice.choice((0.0, 0.05, 1.0)))
    populate(world, 24)
    steps = story(dice, 3 * kills, without=("kill", "take-over", "step-down", "slow"))
    try:
        await world.start()
        for number in range(kills):
            for step in steps[3 * number : 3 * number + 3]:
                await act(world, step)
            await world.clock.turns(dice.randrange(60))
            if dice.random() < 0.5:
                await world.settle(dice.choice((0.01, 0.3, 0.6, 3.0)))
                await world.clock.turns(dice.randrange(20))
            await world.kill(dice.choice(world.replicas))
            if not world.replicas or dice.random() < 0.1:
                await world.start(leads=False)
            if world.leader is None:
                world.elect(world.replicas[0])
            world.count("kills")
            world.check()
            if dice.random() < 0.3:
                await world.settle(dice.choice((0.3, 1.0, 20.0)))
                world.check()
        await rest(world)
        await judge(world)
    finally:
        await world.stop()
    return world.counts


async def rest(world: MixedWorld) -> None:
    """Everything works again, and pods that were told to end do; nobody creates or edits anything."""
    world.delays, world.made_anew = (0.0, 0.0), False
    world.defragment(None)
    for replica in world.replicas:
        replica.network.delays = world.delays
        replica.network.recover()
        replica.network.catch_up()
    for key, body in world.lost.items():
        world.api.seed(NODES if key.startswith("node/") else GPUS, body)
    world.lost.clear()
    for name in NODE_NAMES:
        world.api.change(NODES, name, {"spec": {"unschedulable": None, "taints": None}})
        ready = [{"type": "Ready", "status": "True"}]
        world.api.change(NODES, name, {"status": {"conditions": ready}}, subresource="status")
    for name in world.cards.capacity:
        world.api.change(GPUS, name, {"status": {"phase": "Running"}}, subresource="status")
    if world.shared:
        while len(world.replicas) < 2:
            await world.start()
        await world.settle(4 * LEASE)  # by then every shard has an owner again
    else:
        if world.leader is None:
            await world.start()
        assert world.leader is not None
        world.elect(world.leader)
    calm_since, begun = world.clock.monotonic(), begun_gangs(world)
    before, quiet = "", 0
    fitted: set[str] = set()
    for _ in range(LONGEST_REST):
        await world.settle(60)
        fitting = fitting_and_waiting(world)
        late = fitted & fitting.keys()
        assert not late, f"these fit since a minute and wait: {[fitting[uid] for uid in late]}"
        fitted = set(fitting)
        world.end()
        world.check()
        now = ",".join(pod["metadata"]["resourceVersion"] for pod in world.pods())
        quiet = quiet + 1 if now == before else 0
        before = now
        if quiet == QUIET:
            together(world, calm_since, begun)
            return
    raise AssertionError("it never comes to rest")


def fitting_and_waiting(world: MixedWorld) -> dict[str, str]:
    """Who would get a place if it were its turn now, by the books of whoever decides; with what is known of it."""
    found: dict[str, str] = {}
    for service in [replica.service for replica in world.replicas if replica.service.deciding]:
        for entry in list(service.book.queue.entries()):
            facts, group = entry.facts, service.book.gangs.of(entry.uid)
            if isinstance(entry.failure, HeldForGang) or (facts.request is None and world.shared):
                continue  # an older gang goes first; several owners may place it, each on nodes of its own
            if group is not None and not service.book.gangs.is_satisfied(group):
                continue  # it starts as a whole, or waits
            try:
                decision = service.gangs.decide_member(facts) if group is not None else decide(service.state, facts)
            except (NotFit, QuotaExceeded):
                continue
            found[entry.uid] = f"{facts.name} on {decision.placement}; {why(world, entry.uid)}"
    return found


def gangs_of(world: MixedWorld) -> dict[str, list[Raw]]:
    """Their members, by key; the namespace is in it."""
    gangs: dict[str, list[Raw]] = {}
    for pod in world.pods():
        notes = pod["metadata"].get("annotations") or {}
        if f"{P}gang-required-members" in notes:
            gangs.setdefault(notes[f"{P}gang-group-key"], []).append(pod)
    return gangs


def begun_gangs(world: MixedWorld) -> set[str]:
    """Gangs of which somebody runs, or has been given a place by a scheduler, whatever became of the Binding."""
    running = {key for key, members in gangs_of(world).items() if any(pod["spec"].get("nodeName") for pod in members)}
    books = [replica.service.book for replica in world.replicas]
    placed = {
        group.key
        for book in books
        for group in book.gangs.groups.values()
        if group.held or group.done or not book.assumed.keys().isdisjoint(group.pending)
    }
    return running | placed


def together(world: MixedWorld, since: float, begun: set[str]) -> None:
    """A gang that started while everything worked started as a whole, at one moment; those that had ``begun`` did not.

    What these began with may have ended, and a Binding that failed is tried again by itself while others hold. That
    these end whole, too, where there is room or could be, is seen by those who wait (``nobody_waits_in_vain``).
    """
    gangs = {key: members for key, members in gangs_of(world).items() if key not in begun}
    for key, members in gangs.items():
        times = [world.bound_at[pod["metadata"]["uid"]] for pod in members if pod["spec"].get("nodeName")]
        newest = max(members, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["uid"]))
        required = int(newest["metadata"]["annotations"][f"{P}gang-required-members"])
        if times and min(times) > since + 1:  # before that, what a former leader had decided may have arrived
            assert sum(time == min(times) for time in times) >= required, f"{key} started in parts: {times}"


async def judge(world: MixedWorld) -> None:
    """What is left: nothing that nobody uses, and nobody who waits though there is room."""
    world.check()
    world.bound_once()
    for replica in world.replicas:
        world.check_books(replica.service)
        assert not replica.service.state.nominated
        assert not replica.service.preemptor.nominations
        assert not replica.service.defrag.places.by_uid
        assert not replica.service.book.assumed
        assert not (replica.service.book.wishes and replica.service.deciding)
        assert not replica.service.book.resizing
        assert not replica.service.book.unreadable, "the stories tell of pods that say what they want"
    for pod in world.pods():
        if is_live(pod):
            assert keys.RESIZE not in pod["metadata"].get("annotations", {}), "a wish without an answer"
        if not pod["spec"].get("nodeName"):
            assert not pod["status"].get("nominatedNodeName"), f"{pod['metadata']['name']} is nominated for ever"
    for node in world.api.objects(NODES):
        marks = {keys.DEFRAG_SOURCE, keys.DEFRAG_SKIP} & node["metadata"]["labels"].keys()
        assert not marks, f"{node['metadata']['name']} has {marks} for ever: {node['metadata'].get('annotations')}"
    fresh = (await world.start(leads=False)).service
    await world.settle(0.5)
    for replica in world.replicas[:-1] if world.shared else [world.leader]:
        assert replica is not None
        same(replica.service, fresh, parts=("devices", "nodes", "pods") if world.shared else PARTS)
    if world.shared:
        everybody_is_somebodys(world, fresh)
    for name, pool in fresh.state.fleet.pools.items():  # what is kept follows from what was learned
        of_owner = owner_of(world, name).state.fleet.pools.get(name)
        if of_owner is not None:
            pool.learned = of_owner.learned
    nobody_waits_in_vain(world, fresh)


def owner_of(world: MixedWorld, pool: str) -> SchedulerService:
    """The scheduler that decides on a pool."""
    for replica in world.replicas:
        service = replica.service
        if service.deciding and (service.shards is None or service.shards.may(service.shards.shard_of_pool(pool))):
            return service
    raise AssertionError(f"nobody decides on pool {pool}")


def everybody_is_somebodys(world: MixedWorld, fresh: SchedulerService) -> None:
    """Every shard has one owner, and whoever waits is in the queue of a replica."""
    services = [replica.service for replica in world.replicas if replica.service.shards is not None]
    owned = [shard for one in services if one.shards is not None and one.deciding for shard in one.shards.mine]
    assert sorted(owned) == ["", "cut", "main"], f"shards that are decided: {owned}"
    for uid in fresh.book.queue._entries:
        assert any(uid in one.book.queue for one in services), f"{uid} waits and is in nobody's queue"


def same(service: SchedulerService, fresh: SchedulerService, *, parts: Sequence[str]) -> None:
    """A ledger that lived through everything is the one that a newcomer builds."""
    found, wanted = picture(service), picture(fresh)
    for part, known in ((part, wanted[part]) for part in parts):
        for key in [*known, *(found[part].keys() - known.keys())]:
            here, there = found[part].get(key), known.get(key)
            assert here == there, f"{part} {key}: {here}, a newcomer finds {there}"


def picture(service: SchedulerService) -> dict[str, Any]:
    state = service.state
    return {
        "devices": {
            one.name: (one.compute_held, one.vram_held, set(one.holders), dict(one.partitions), one.modes)
            for one in state.devices()
        },
        "nodes": {
            one.name: (one.cpu, one.memory, one.pods, one.workers, one.native, one.facts) for one in state.nodes()
        },
        "pods": {uid: (one.placement, one.confirmed, named(one)) for uid, one in state.allocations.items()},
        "gangs": {
            key: (group.gang, set(group.pending), dict(group.held), set(group.done))
            for key, group in service.book.gangs.groups.items()
        },
        "pending": {entry.uid: entry.facts for entry in service.book.queue._entries.values()},
    }


def named(one: Allocation) -> PodFacts:
    """The pod, and the template that its Binding named where it did not."""
    request = one.pod.request
    if request is None or request.partition or not one.placement.partitions:
        return one.pod
    return replace(one.pod, request=replace(request, partition=one.placement.partitions[0].form))


def nobody_waits_in_vain(world: MixedWorld, fresh: SchedulerService) -> None:
    """No pod waits that would fit, alone or as a gang, with or without those who would have to go for it."""
    state, book = fresh.state, fresh.book
    now = int(world.clock.now().timestamp())
    names = {pod["metadata"]["uid"]: pod for pod in world.pods()}
    for entry in list(book.queue._entries.values()):
        facts, pod = entry.facts, names[entry.uid]
        words = f"{pod['metadata']['name']} waits though it fits: "
        group = book.gangs.of(entry.uid)
        alone = facts.request is not None or not world.shared
        """Else several owners may place it, each on nodes of its own."""
        if group is not None and not alone:
            continue
        if is_held(world, entry.uid) and has_older_gang_before_it(fresh, facts):
            continue
        if group is not None and not book.gangs.is_satisfied(group):
            if not group.complete:
                continue
            mark = state.checkpoint()
            try:
                found = place_gang(state, list(group.pending.values()), needed=group.gang.required)
            except GangUnschedulable:
                continue
            finally:
                state.rollback(mark)
            raise AssertionError(f"gang {group.key} waits though it fits: {found.members}; {why(world, entry.uid)}")
        try:
            found = fresh.gangs.decide_member(facts) if group is not None else decide(state, facts)
        except (NotFit, QuotaExceeded) as failure:
            if not alone or not book.gangs.goes_singly(facts):
                continue
            plan = search(state, facts, failure, now=now, cluster_wide=True, budgets=fresh.preemptor.budgets_of)
            assert not isinstance(plan, Plan), f"{words}it could preempt: {plan}; {why(world, entry.uid)}"
        else:
            raise AssertionError(f"{words}{found.placement}; {why(world, entry.uid)}")


def is_held(world: MixedWorld, uid: str) -> bool:
    """Whether the scheduler that decides for the pod says that it is held for a gang."""
    entries = [replica.service.book.queue.get(uid) for replica in world.replicas if replica.service.deciding]
    return any(entry is not None and isinstance(entry.failure, HeldForGang) for entry in entries)


def has_older_gang_before_it(fresh: SchedulerService, facts: PodFacts) -> bool:
    """Whether a gang that was complete first, and is no less important, waits for room that its pool could have."""
    assert facts.request is not None
    return any(
        group.pool == facts.request.pool
        and group.complete
        and not fresh.book.gangs.is_satisfied(group)
        and group.complete_since < facts.created
        and group.priority >= facts.priority
        and (facts.gang is None or facts.gang.key != group.key)
        and fits_when_empty(fresh.state, list(group.pending.values()), needed=group.gang.required)
        for group in fresh.book.gangs.groups.values()
    )


def why(world: MixedWorld, uid: str) -> str:
    """What the leader says about a pod that waits."""
    found = []
    for service in [replica.service for replica in world.replicas if replica.service.deciding]:
        entry = service.book.queue.get(uid)
        story = service.preemptor.stories.of(uid)
        found.append(f"{entry.place}, {entry.attempts} attempts, {entry.failure}; {story}" if entry else "unknown")
    return "; ".join(found)
