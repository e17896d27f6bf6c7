"""What is wrong with where pods are: found from the API's objects alone, with an arithmetic of its own.

Apart from everything that decides, on purpose: it reads raw JSON and public annotation names, shares no code with the
scheduler, and asks of what is, never of how it came about. Amounts are GFLOPS and bytes in whole numbers; a share in
percent rounds down, as do parts of a device.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any, TypeAlias

Raw: TypeAlias = dict[str, Any]  # Any: JSON

_DOMAIN = "tensor-fusion.ai/"
_HOSTNAME = "kubernetes.io/hostname"
_SUFFIXES: dict[str, Fraction | int] = {
    "": 1,
    "m": Fraction(1, 1000),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


@lru_cache(maxsize=4096)
def amount(text: str) -> Fraction:
    """A Kubernetes quantity, exactly."""
    number = text.rstrip("KMGTikm")
    return Fraction(number) * _SUFFIXES[text[len(number) :]]


def gflops(text: object) -> int:
    return int(amount(str(text)) * 1000)


def whole(text: object) -> int:
    return int(amount(str(text)))


@dataclass
class Usage:
    """What a namespace's pods count for."""

    compute: int = 0
    vram: int = 0
    workers: int = 0
    devices: int = 0


@dataclass
class Cards:
    """Devices as they are or were: one that is gone for a while has the capacity it had."""

    capacity: dict[str, tuple[int, int]] = field(default_factory=dict)
    node: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Raw] = field(default_factory=dict)

    def see(self, gpus: Iterable[Raw]) -> None:
        """Take in the devices that are there."""
        for gpu in gpus:
            name, status = gpu["metadata"]["name"], gpu["status"]
            self.capacity[name] = gflops(status["capacity"]["tflops"]), whole(status["capacity"]["vram"])
            self.node[name] = status["nodeSelector"][_HOSTNAME]
            self.facts[name] = status


@dataclass(frozen=True)
class Share:
    """What one pod holds of one device."""

    pod: str
    device: str
    compute: int
    vram: int
    isolation: str
    partition: Raw | None = None


def is_live(pod: Raw) -> bool:
    """Whether the pod holds what its annotations say."""
    return bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def name_of(pod: Raw) -> str:
    return f"{pod['metadata'].get('namespace', '')}/{pod['metadata']['name']}"


def shares_of(pod: Raw, cards: Cards) -> list[Share]:
    """What a live pod holds; nothing for a pod that is no worker."""
    notes = pod["metadata"].get("annotations") or {}
    if (pod["metadata"].get("labels") or {}).get(f"{_DOMAIN}component") != "worker" or not is_live(pod):
        return []
    isolation = notes.get(f"{_DOMAIN}isolation", "soft")
    partitions = {one["gpu"]: one for one in json.loads(notes.get(f"{_DOMAIN}partitions", "[]"))}
    shares = []
    for device in filter(None, notes.get(f"{_DOMAIN}gpu-ids", "").split(",")):
        compute, vram = _asked(notes, cards.capacity[device][0])
        partition = partitions.get(device)
        if isolation == "partitioned" and partition is not None:
            compute, vram = gflops(partition["tflops"]), whole(partition["vram"])
        shares.append(Share(name_of(pod), device, compute, vram, isolation, partition))
    return shares


def _asked(notes: Mapping[str, str], capacity: int) -> tuple[int, int]:
    compute = gflops(notes.get(f"{_DOMAIN}tflops-request", "0"))
    if not compute:
        percent = amount(notes.get(f"{_DOMAIN}compute-percent-request", "0"))
        compute = int(capacity * percent / 100)
    return compute, whole(notes.get(f"{_DOMAIN}vram-request", "0"))


def held(pods: Iterable[Raw], cards: Cards) -> dict[str, tuple[int, int]]:
    """GFLOPS and bytes that are held of each device; a shared one is held as a whole."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for pod in pods:
        for share in shares_of(pod, cards):
            amounts = cards.capacity[share.device] if share.isolation == "shared" else (share.compute, share.vram)
            sums[share.device][0] += amounts[0]
            sums[share.device][1] += amounts[1]
    return {device: (compute, vram) for device, (compute, vram) in sums.items()}


def usage_by_namespace(pods: Iterable[Raw], cards: Cards) -> dict[str, Usage]:
    """What pods count for in the quotas of their namespaces."""
    found: dict[str, Usage] = defaultdict(Usage)
    for pod in pods:
        shares = shares_of(pod, cards)
        if shares:
            total = found[pod["metadata"]["namespace"]]
            total.workers += 1
            total.devices += len(shares)
            total.compute += sum(share.compute for share in shares)
            total.vram += sum(share.vram for share in shares)
    return dict(found)


def wrong_with_cohort(name: str, own: Mapping[str, tuple[int, int]], usage: Mapping[str, Usage]) -> list[str]:
    """One line for each of compute and memory of which the members hold more than they have together.

    ``own`` are GFLOPS and bytes of each member. Members that lend everything and borrow without limit.
    """
    members = [usage[namespace] for namespace in own if namespace in usage]
    wrong = []
    for what, held, there in (
        ("GFLOPS", sum(one.compute for one in members), sum(compute for compute, _ in own.values())),
        ("bytes", sum(one.vram for one in members), sum(vram for _, vram in own.values())),
    ):
        if held > there:
            wrong.append(f"cohort {name}: its members hold {held} {what} and have {there}")
    return wrong


def wrong_with_devices(pods: Sequence[Raw], cards: Cards, configs: Iterable[Raw] = ()) -> list[str]:
    """One line for each device that is oversold, or cut in a way that it cannot be cut."""
    wrong: list[str] = []
    by_device: dict[str, list[Share]] = defaultdict(list)
    for pod in pods:
        shares = shares_of(pod, cards)
        for share in shares:
            by_device[share.device].append(share)
        wrong += _wrong_with_pod(pod, shares, cards)
    templates = {one["id"]: one for config in configs for one in config["spec"].get("virtualizationTemplates", ())}
    models = [one for config in configs for one in config["spec"].get("hardwareMetadata", ())]
    for device, shares in by_device.items():
        wrong += _oversold(device, shares, cards)
        wrong += _wrongly_mixed(device, shares, cards.facts[device])
        cuts = [share.partition for share in shares if share.partition is not None]
        if cuts:
            model = _model_of(cards.facts[device].get("gpuModel", ""), models)
            wrong += [f"{device}: {words}" for words in _wrongly_cut(cuts, templates, model)]
    return wrong


def _wrong_with_pod(pod: Raw, shares: Sequence[Share], cards: Cards) -> list[str]:
    notes = pod["metadata"].get("annotations") or {}
    devices = [share.device for share in shares]
    if not is_live(pod) or (pod["metadata"].get("labels") or {}).get(f"{_DOMAIN}component") != "worker":
        return []
    wrong = []
    wanted = int(notes.get(f"{_DOMAIN}gpu-count", "1"))
    if len(set(devices)) != wanted or len(devices) != wanted:
        wrong.append(f"{name_of(pod)}: {wanted} devices asked for, found {devices}")
    node = pod["spec"]["nodeName"]
    wrong += [f"{name_of(pod)}: {one} is not on {node}" for one in devices if cards.node[one] != node]
    wrong += _too_far_apart(pod, devices, cards)
    if notes.get(f"{_DOMAIN}isolation") == "partitioned":
        wrong += [f"{share.pod}: no partition of {share.device}" for share in shares if share.partition is None]
    return wrong


def _too_far_apart(pod: Raw, devices: Sequence[str], cards: Cards) -> list[str]:
    """Devices that are farther from each other than the pod said they may be, by every measure that it left open."""
    notes = pod["metadata"].get("annotations") or {}
    if notes.get(f"{_DOMAIN}require-gpu-topology") != "true":
        return []
    most = int(notes.get(f"{_DOMAIN}gpu-topology-max-tier", "1"))
    by_links = notes.get(f"{_DOMAIN}gpu-topology-source", "auto") != "numa"
    found = []
    for one, other in combinations(devices, 2):
        facts = cards.facts[one], cards.facts[other]
        places = [status.get("numaNode", -1) for status in facts]
        tier = 3 if min(places) < 0 else 1 if places[0] == places[1] else 2
        for status, peer in ((facts[0], other), (facts[1], one)) if by_links else ():
            links = status.get("topology", {}).get("peers", ())
            tier = min([tier, *(link["tier"] for link in links if link["peerGPUUUID"] == peer)])
        if tier > most:
            found.append(f"{name_of(pod)}: {one} and {other} are at tier {tier}, at most {most} was asked for")
    return found


def _oversold(device: str, shares: Sequence[Share], cards: Cards) -> list[str]:
    capacity = cards.capacity[device]
    if any(share.isolation == "shared" for share in shares):
        if len(shares) > 1:
            return [f"{device}: a shared device with {len(shares)} holders: {[share.pod for share in shares]}"]
        return []
    compute, vram = sum(share.compute for share in shares), sum(share.vram for share in shares)
    if compute > capacity[0] or vram > capacity[1]:
        holders = [(share.pod, share.compute, share.vram >> 20) for share in shares]
        return [f"{device}: {compute} of {capacity[0]} GFLOPS, {vram >> 20} of {capacity[1] >> 20} MiB: {holders}"]
    return []


def _wrongly_mixed(device: str, shares: Sequence[Share], facts: Raw) -> list[str]:
    modes = sorted({share.isolation for share in shares})
    if facts.get("isolationPolicy") == "Dynamic" and len(modes) > 1:
        return [f"{device}: isolation modes {modes} at once"]
    own = facts.get("isolationMode", "")
    if facts.get("isolationPolicy") != "Dynamic" and own and not set(modes) <= {own, "shared"}:
        return [f"{device}: isolation modes {modes} on a device of mode {own!r}"]
    return []


def _model_of(name: str, models: Iterable[Raw]) -> Raw:
    return next((one for one in models if name in (one.get("model"), one.get("fullModelName"))), {})


def _wrongly_cut(cuts: Sequence[Raw], templates: Mapping[str, Raw], model: Raw) -> list[str]:
    wrong = []
    if len(cuts) > (model.get("maxPartitions") or len(cuts)):
        wrong.append(f"{len(cuts)} partitions, at most {model['maxPartitions']}")
    forms = Counter(cut["template"] for cut in cuts)
    for form, count in forms.items():
        most = templates.get(form, {}).get("maxInstances") or count
        if count > most:
            wrong.append(f"{count} partitions of {form}, at most {most}")
    slots: Counter[int] = Counter()
    groups: dict[int, list[str]] = defaultdict(list)
    units: Counter[str] = Counter()
    for cut in cuts:
        template = templates.get(cut["template"], {})
        start, end = cut.get("slotStart", -1), cut.get("slotEnd", -1)
        if start >= 0:
            slots.update(range(start, end))
            if template and (start not in template["placementLimit"] or end - start != template["placementOffset"]):
                wrong.append(f"{cut['template']} at slots {start} to {end}")
        if cut.get("isolationGroup", -1) >= 0:
            groups[cut["isolationGroup"]].append(cut["template"])
            units.update(template.get("extendedResources", {}))
    wrong += [f"slot {slot} is held twice" for slot, count in slots.items() if count > 1]
    for group, members in groups.items():
        template = templates.get(members[0], {})
        alike = len(set(members)) == 1 and template.get("isolationGroupSharing") == "shared"
        most = (template.get("maxPartitionsPerIsolationGroup") or 2) if alike else 1
        if len(members) > most:
            wrong.append(f"isolation group {group}: {members}")
    total = model.get("totalExtendedResources") or {}
    wrong += [f"{units[name]} of {count} {name}" for name, count in total.items() if units[name] > count]
    return wrong


def wrong_with_nodes(pods: Iterable[Raw], nodes: Iterable[Raw]) -> list[str]:
    """One line for each node that holds more than it has, or pods that may not be neighbours."""
    wrong = []
    by_node: dict[str, list[Raw]] = defaultdict(list)
    for pod in pods:
        if is_live(pod):
            by_node[pod["spec"]["nodeName"]].append(pod)
    for node in nodes:
        name, has = node["metadata"]["name"], node["status"]["allocatable"]
        here = by_node.get(name, [])
        wants = [container.get("resources", {}).get("requests", {}) for pod in here for container in _containers(pod)]
        for resource, available in has.items():
            asked = len(here) if resource == "pods" else sum(amount(str(want.get(resource, "0"))) for want in wants)
            if asked > amount(str(available)):
                wrong.append(f"{name}: {float(asked)} of {available} {resource} are taken")
        ports = Counter(
            port["hostPort"]
            for pod in here
            for container in _containers(pod)
            for port in container.get("ports", ())
            if port.get("hostPort")
        )
        wrong += [f"{name}: host port {port} is taken {count} times" for port, count in ports.items() if count > 1]
        wrong += [f"{name}: {words}" for words in _enemies(here)]
    return wrong


def _containers(pod: Raw) -> list[Raw]:
    found: list[Raw] = pod["spec"].get("containers", [])
    return found


def _enemies(here: Sequence[Raw]) -> list[str]:
    """Pods of one node with a required anti-affinity by host name against another one there; only matchLabels."""
    found = []
    for pod in here:
        rules = (pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution", ()):
            wanted = term["labelSelector"]["matchLabels"].items()
            found += [
                f"{name_of(pod)} and {name_of(other)} keep off each other"
                for other in here
                if other is not pod
                and term["topologyKey"] == _HOSTNAME
                and other["metadata"]["namespace"] == pod["metadata"]["namespace"]
                and wanted <= (other["metadata"].get("labels") or {}).items()
            ]
    return found
