"""What can happen in a mixed world: one function each, told by three small numbers what exactly.

A story is a list of ``(name, a, b, c)``, so that hypothesis can shorten it, dice can write a thousand of them, and one
that went wrong can be told again.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mixed_world import CHANGING, FREE, LEASE, MODES, MOVES, NAMESPACES, NODE_NAMES, POOLS, MixedWorld, P, Raw
from tensorfusion.errors import ApiError, Conflict, Forbidden, ServerError, TooManyRequests
from tensorfusion.model import keys
from tensorfusion.model.resources import GPU_RESOURCE_QUOTAS, GPUS, NODES, POD_DISRUPTION_BUDGETS, PODS
from tensorfusion.testing.network import Fate
from tensorfusion.testing.placement_audit import is_live

Step = tuple[str, int, int, int]
TFLOPS = ("10", "25", "50", "100")
VRAM = ("1Gi", "4Gi", "8Gi", "16Gi")
APPS = ({}, {}, {"app": "web"}, {"app": "db"}, {"app": "web", "tier": "x"})
MIG_FORMS = ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")
ASCEND_FORMS = ("vir01", "vir02", "vir04", "vir02_1c")
QOS = ("medium", "medium", "low", "high", "critical")
KEEP_OFF = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": keys.HOSTNAME_LABEL, "labelSelector": {"matchLabels": {"app": "web"}}}
        ]
    }
}
SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": keys.HOSTNAME_LABEL,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "db"}},
    }
]


def namespace(number: int) -> str:
    return NAMESPACES[number % 3]


def common(number: int) -> dict[str, Any]:
    """Priority, labels and rules of a pod."""
    more: dict[str, Any] = {"priority": number % 4, "labels": APPS[number // 4 % len(APPS)]}
    if number % 13 == 5:
        more["affinity"] = KEEP_OFF
    if number % 13 == 7:
        more["topologySpreadConstraints"] = SPREAD
    if number % 17 == 3:
        more["tolerations"] = [{"operator": "Exists"}]
    if number % 11 == 2:
        more["nodeSelector"] = {keys.HOSTNAME_LABEL: NODE_NAMES[number % 4]}
    return more


def share(number: int) -> dict[str, str]:
    """Annotations of a share in the main pool."""
    notes = {"vram-request": VRAM[number // 4 % 4], "qos": QOS[number % len(QOS)]}
    if number % 5 == 3:
        notes["compute-percent-request"] = str((20, 50, 100)[number % 3])
    else:
        notes["tflops-request"] = TFLOPS[number % 4]
    notes["isolation"] = ("soft", "soft", "hard", "shared")[number // 16 % 4]
    if number % 7 == 6:
        notes["gpu-count"] = "2"
        if number // 7 % 3:
            notes |= {"require-gpu-topology": "true", "gpu-topology-source": ("auto", "numa", "vendor")[number % 3]}
            notes["gpu-topology-max-tier"] = "012"[number // 21 % 3]
    if number % 19 == 4:
        notes |= {"dedicated-gpu": "true", "tflops-request": "100", "vram-request": "16Gi", "isolation": "soft"}
        notes.pop("compute-percent-request", None)
    if number % 23 == 8:
        notes["eviction-protection"] = "30s"
    return notes


def create_share(world: MixedWorld, a: int, b: int, c: int) -> None:
    world.worker(namespace(c), share(a), **common(b))


def create_cut(world: MixedWorld, a: int, b: int, c: int) -> None:
    """A hardware partition, by its name or by what it has to hold."""
    notes = {"isolation": "partitioned", "qos": QOS[b % len(QOS)]}
    if a % 3 == 0:
        notes |= {"partition-id": ASCEND_FORMS[a // 3 % len(ASCEND_FORMS)], "vendor": "Ascend"}
    elif a % 3 == 1:
        notes |= {"partition-id": MIG_FORMS[a // 3 % len(MIG_FORMS)]}
    else:
        notes |= {"tflops-request": TFLOPS[a // 3 % 4], "vram-request": VRAM[a // 12 % 4]}
    if a % 7 == 3:
        notes["gpu-count"] = "2"
    world.worker(namespace(c), notes, pool="cut", **common(b))


def create_plain(world: MixedWorld, a: int, b: int, c: int) -> None:
    more = common(b)
    if a % 5 == 1:
        more["ports"] = [8000 + a % 2]
    world.plain(namespace(c), cpu=str(1 + a % 5), **more)


def create_gang(world: MixedWorld, a: int, b: int, c: int) -> None:
    """Some or all members of a gang, in any shape that admission lets through."""
    required = 2 + a % 3
    made = required + (a // 3 % 3) - 1
    stamps = {
        "gang-required-members": str(required),
        "gang-desired-members": str(max(required, made)),
        "gang-group-key": f"{namespace(c)}/g{b % 3}" if b % 2 else f"{namespace(c)}/g{world.made:03}",
        "gang-topology": ("preferred", "required", "none")[b // 4 % 3],
    }
    if b // 2 % 2:
        stamps["gang-mode"] = "Strict"
    if a % 4 == 1:
        stamps["gang-timeout"] = "20s"
    wishes = {**share(16 * (a % 3) + b % 16), **stamps}
    wishes.pop("eviction-protection", None)
    more: dict[str, Any] = {"priority": b % 4}
    for number in range(max(1, made)):
        if c % 7 == 3:
            notes = {f"{P}{key}": text for key, text in stamps.items()}
            world.plain(namespace(c), cpu=str(2 + a % 4), notes=notes, **more)
        elif c % 7 == 5:
            cut = {"isolation": "partitioned", "partition-id": MIG_FORMS[a % 4], **stamps}
            world.worker(namespace(c), cut, pool="cut", **more)
        else:
            odd = {"vram-request": "1Gi"} if number == 1 and a % 5 == 2 else {}
            world.worker(namespace(c), wishes | odd, **more)


def pick(world: MixedWorld, number: int, *, bound: bool | None = None) -> Raw | None:
    pods = [pod for pod in world.pods() if bound is None or bool(pod["spec"].get("nodeName")) is bound]
    return pods[number % len(pods)] if pods else None


async def delete(world: MixedWorld, a: int, b: int, c: int) -> None:
    if (pod := pick(world, a)) is not None:
        await world.delete(pod, force=b % 3 == 0)


async def replace(world: MixedWorld, a: int, b: int, c: int) -> None:
    """Another pod with the same name, before anybody heard of the end of the first."""
    pod = pick(world, a)
    if pod is None:
        return
    meta = pod["metadata"]
    world.api.remove(PODS, meta["name"], namespace=meta["namespace"])
    if (meta.get("labels") or {}).get(keys.COMPONENT) == "worker":
        world.worker(meta["namespace"], share(b), name=meta["name"], **common(c))


def finish(world: MixedWorld, a: int, b: int, c: int) -> None:
    pod = pick(world, a, bound=True)
    if pod is not None and is_live(pod):  # what has ended never runs again
        world.phase(pod, ("Succeeded", "Failed", "Running")[b % 3])


def end(world: MixedWorld, a: int, b: int, c: int) -> None:
    world.end()


def edit(world: MixedWorld, a: int, b: int, c: int) -> None:
    pod = pick(world, a, bound=True)
    if pod is None or (pod["metadata"].get("labels") or {}).get(keys.COMPONENT) != "worker":
        return
    wish: dict[str, str | None] = {"tflops-request": TFLOPS[b % 4], "vram-request": VRAM[c % 4]}
    if f"{P}compute-percent-request" in pod["metadata"]["annotations"]:
        wish = {"compute-percent-request": str((10, 40, 100)[b % 3]), "vram-request": VRAM[c % 4]}
    world.edit(pod, wish)


def protect(world: MixedWorld, a: int, b: int, c: int) -> None:
    if (pod := pick(world, a)) is not None:
        patch = {"metadata": {"annotations": {keys.EVICTION_PROTECTION: ("1h", None, "20s")[b % 3]}}}
        meta = pod["metadata"]
        world.api.change(PODS, meta["name"], patch, namespace=meta["namespace"])


def node(world: MixedWorld, a: int, b: int, c: int) -> None:
    """A node is cordoned, tainted, not ready, or well again."""
    name = NODE_NAMES[a % len(NODE_NAMES)]
    if f"node/{name}" in world.lost:
        return
    taint = {"key": "odd", "value": "", "effect": "NoSchedule"}
    spec = ({"unschedulable": True}, {"taints": [taint]}, {"unschedulable": None, "taints": None}, {})[b % 4]
    world.api.change(NODES, name, {"spec": spec})
    ready = [{"type": "Ready", "status": "False" if b % 4 == 3 and c % 2 else "True"}]
    world.api.change(NODES, name, {"status": {"conditions": ready}}, subresource="status")


async def lose_node(world: MixedWorld, a: int, b: int, c: int) -> None:
    """A node, with or without its pods, is gone; or it comes back."""
    name = NODE_NAMES[a % len(NODE_NAMES)]
    if (body := world.lost.pop(f"node/{name}", None)) is not None:
        world.api.seed(NODES, body)
        return
    found = world.api.object(NODES, name)
    known = found["metadata"]
    metadata = {"name": name, "labels": known["labels"], "annotations": known.get("annotations", {})}
    world.lost[f"node/{name}"] = {"metadata": metadata, "status": found["status"], "spec": found.get("spec", {})}
    world.api.remove(NODES, name)
    for pod in world.pods():
        if pod["spec"].get("nodeName") == name and b % 2:
            await world.delete(pod, force=c % 2 == 0)


def device(world: MixedWorld, a: int, b: int, c: int) -> None:
    """A device is gone, comes back, or changes its phase."""
    names = sorted(world.cards.capacity)
    name = names[a % len(names)]
    if (body := world.lost.pop(f"gpu/{name}", None)) is not None:
        world.api.seed(GPUS, body)
        return
    if b % 2:
        phase = ("Running", "Pending", "Unknown")[c % 3]
        world.api.change(GPUS, name, {"status": {"phase": phase}}, subresource="status")
        return
    world.lose_device(name)


def quota(world: MixedWorld, a: int, b: int, c: int) -> None:
    """The changing quota is raised, or lowered below what is in use; it may count workers too."""
    requests = {"requests.tflops": ("20", "100", "250")[a % 3], "requests.vram": ("8Gi", "80Gi")[b % 2]}
    world.quota(CHANGING, requests, workers=(None, 2, 6)[c % 3])


def budget(world: MixedWorld, a: int, b: int, c: int) -> None:
    patch = {"status": {"disruptionsAllowed": b % 3}}
    name = ("web", "db")[a % 2]
    world.api.change(POD_DISRUPTION_BUDGETS, name, patch, namespace=FREE, subresource="status")


ERRORS: tuple[ApiError | Fate, ...] = (
    Fate.ANSWER_LOST,
    Fate.LATE,
    Fate.REQUEST_LOST,
    Conflict("the object has been modified"),
    TooManyRequests("try again later"),
    ServerError("broken", code=500),
    ServerError("broken", code=503),
    Forbidden("admission says no"),
)
VERBS = ("bind", "bind", "patch", "evict", "get", "list")


def fail(world: MixedWorld, a: int, b: int, c: int) -> None:
    """The next calls of one replica go wrong."""
    if world.replicas:
        verb, error = VERBS[a % len(VERBS)], ERRORS[b % len(ERRORS)]
        if verb in ("get", "list") and isinstance(error, Fate):
            error = ServerError("the connection broke", code=503, reason="ConnectionBroken")
        world.replicas[c % len(world.replicas)].network.fail(verb, error, times=1 + c % 3)


def watch(world: MixedWorld, a: int, b: int, c: int) -> None:
    """Watches fall behind, catch up, break or are too old."""
    if a % 4 < 2 and world.replicas:
        network = world.replicas[b % len(world.replicas)].network
        if network.lags:
            network.catch_up()
        else:
            network.lag((None, PODS, GPUS, NODES, GPU_RESOURCE_QUOTAS, PODS)[c % 6])
    elif a % 4 == 2:
        world.api.drop_watches()
    elif b % 2:
        world.api.close_watches()
    else:
        world.api.expire()


def slow(world: MixedWorld, a: int, b: int, c: int) -> None:
    """Every way takes its time from now on."""
    world.delays = ((0.0, 0.0), (0.0, 0.3), (0.0, 3.0))[a % 3]
    for replica in world.replicas:
        replica.network.delays = world.delays


async def kill(world: MixedWorld, a: int, b: int, c: int) -> None:
    """The leader, or another one, is killed after so many turns of the loop; somebody is there afterwards."""
    await world.clock.turns(a % 16)
    if world.replicas:
        await world.kill(world.replicas[b % len(world.replicas)])
        world.count("kills")
    if world.shared:
        if len(world.replicas) < 2:
            await world.start()
    elif world.leader is None:
        if world.replicas:
            world.elect(world.replicas[0])
        else:
            await world.start()


async def stall(world: MixedWorld, a: int, b: int, c: int) -> None:
    """A replica stands still, for a moment or until others have taken what it had; a third one may come meanwhile."""
    replica = world.replicas[a % len(world.replicas)]
    replica.network.stop()
    if b % 3 == 0 and len(world.replicas) < 3:
        await world.start()
    await world.settle((0.5, 20.0, 2.5 * LEASE)[c % 3])
    replica.network.go_on()
    world.count("stalls")
    if len(world.replicas) > 2:
        await world.kill(world.replicas[b % 2])


async def take_over(world: MixedWorld, a: int, b: int, c: int) -> None:
    """Another replica is elected; the former leader knows, does not know, or is stopped meanwhile."""
    if world.shared:
        await stall(world, a, b, c)
        return
    former = world.leader
    other = next((one for one in world.replicas if one is not former), None)
    if other is None:
        other = await world.start(leads=False)
    if a % 3 == 1 and former is not None:
        former.network.stop()
    if b % 2:
        await world.settle(0.1)
    world.elect(other, told=a % 3 == 0)
    world.count("takeovers")
    if a % 3 and former is not None:
        await world.settle((0.0, 0.5, 5.0)[c % 3])
        former.network.go_on()
        await world.settle((0.0, 0.2)[b % 2])
        former.office.leading = False
    if len(world.replicas) > 2:
        await world.kill(next(one for one in world.replicas if one is not world.leader))


def step_down(world: MixedWorld, a: int, b: int, c: int) -> None:
    """The leader loses the Lease and wins it again, in another epoch."""
    if world.leader is not None:
        world.leader.office.leading = False
        if a % 2:
            world.elect(world.leader)


async def defrag(world: MixedWorld, a: int, b: int, c: int) -> None:
    """Shares are scattered, belong to a controller from now on and may be moved; a window opens at each minute."""
    for number, pod in enumerate(world.pods()):
        meta = pod["metadata"]
        notes, labels = meta.get("annotations") or {}, meta.get("labels") or {}
        whose = labels.get(keys.COMPONENT) == "worker" and notes.get(f"{P}gpupool") == "main"
        if not whose or f"{P}gang-required-members" in notes or not is_live(pod):
            continue
        if b % 2 and number % 4 != a % 4:
            await world.delete(pod, force=True)
        elif number % 11 != b % 11 and not (meta["namespace"] == FREE and "app" in labels):  # two budgets: nobody moves
            owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": f"owner-{number % 3}"}
            patch = {"metadata": {"ownerReferences": [{**owner, "controller": True}], "labels": MOVES}}
            world.api.change(PODS, meta["name"], patch, namespace=meta["namespace"])
    settings = {
        "enabled": a % 5 != 0,
        "schedule": "* * * * *",
        "timezone": "UTC",
        "maxDuration": ("15s", "30s", "59s")[b % 3],
        "utilizationThresholdPercent": (50, 75, 100)[c % 3],
        "sourceNodeMarkerTTL": ("1m", "30m", "never")[a % 3],
    }
    world.defragment(settings)
    if c % 2:
        await world.settle(70)


def place_by(world: MixedWorld, a: int, b: int, c: int) -> None:
    """A pool is of another mode from now on, the one that looks ahead as often as not."""
    world.place_by(POOLS[b % 2], MODES[a % 2 * (c % len(MODES)) - 1])


async def settle(world: MixedWorld, a: int, b: int, c: int) -> None:
    await world.settle((0.05, 0.3, 1.5, 5.0, 12.0, 65.0, 200.0)[a % 7])


Act = Callable[[MixedWorld, int, int, int], Awaitable[None] | None]
ACTIONS: dict[str, tuple[Act, int]] = {
    "share": (create_share, 8),
    "cut": (create_cut, 4),
    "plain": (create_plain, 3),
    "gang": (create_gang, 4),
    "delete": (delete, 5),
    "replace": (replace, 1),
    "finish": (finish, 2),
    "end": (end, 4),
    "edit": (edit, 4),
    "protect": (protect, 1),
    "node": (node, 2),
    "lose-node": (lose_node, 2),
    "device": (device, 2),
    "quota": (quota, 2),
    "budget": (budget, 1),
    "fail": (fail, 6),
    "watch": (watch, 4),
    "slow": (slow, 2),
    "kill": (kill, 2),
    "take-over": (take_over, 1),
    "step-down": (step_down, 1),
    "settle": (settle, 8),
    "defrag": (defrag, 2),
    "place-by": (place_by, 3),
}
"""Each with how often it happens, compared with the others."""
NAMES = [name for name, (_, often) in ACTIONS.items() for _ in range(often)]
MOST = 255


def populate(world: MixedWorld, pods: int) -> None:
    """Small shares on nearly every device, so that whatever comes meets somebody."""
    for number in range(pods):
        notes = {"tflops-request": TFLOPS[number % 3], "vram-request": VRAM[number % 2], "isolation": "soft"}
        world.worker(namespace(number), notes, priority=number % 3, cpu="500m", labels=APPS[number % len(APPS)])


async def act(world: MixedWorld, step: Step) -> None:
    name, *numbers = step
    done = ACTIONS[name][0](world, *numbers)
    if done is not None:
        await done


def story(dice: random.Random, length: int, *, without: Sequence[str] = ()) -> list[Step]:
    """So many steps, at random."""
    names = [name for name in NAMES if name not in without]
    return [
        (dice.choice(names), dice.randrange(MOST), dice.randrange(MOST), dice.randrange(MOST)) for _ in range(length)
    ]
