"""What people write to ``tensorfusion what-if``, as a scenario: every word is checked against the recording."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

from tensorfusion.embedded.fleet import NodeSpec, load_fleet
from tensorfusion.embedded.selectors import parse_labels
from tensorfusion.errors import ConfigError, InvalidQuantity, TensorFusionError
from tensorfusion.model.catalogue import CATALOGUE, lookup, model_matches
from tensorfusion.model.common import PlacementMode
from tensorfusion.model.core import Taint
from tensorfusion.model.keys import HOSTNAME_LABEL
from tensorfusion.model.providers import NO_PROVIDERS
from tensorfusion.scheduler.recording.history import History
from tensorfusion.scheduler.recording.pseudonyms import CAPACITY_LABELS
from tensorfusion.scheduler.what_if import devices_of, nodes_of, parse_shape
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts
from tensorfusion.scheduling.fleet_facts import FleetFacts
from tensorfusion.suggestions import did_you_mean
from tensorfusion.testing.what_if.scenario import ONE, Added, QuotaWish, Scenario, Selector
from tensorfusion.units import Rounding, to_bytes, to_gflops

SPOT = "spot"
_TIMES = re.compile(r"([1-9]\d{0,3})x(.+)")
_MOST_NODES = 1_000
_MOST_RATIO = 100
_CEILINGS = {
    "tflops": "total_compute",
    "vram": "total_vram",
    "gpus": "total_devices",
    "workers": "total_workers",
    "max-tflops": "single_compute",
    "max-vram": "single_vram",
    "max-gpus": "single_devices",
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options, as typed."""

    modes: Sequence[str] = ()
    added: Sequence[str] = ()
    without: Sequence[str] = ()
    quotas: Sequence[str] = ()
    oversubscription: str | None = None


def scenario_of(wishes: Wishes, history: History) -> Scenario:
    """What the options mean for this recording.

    Raises:
        ConfigError: one of them cannot be understood, or is about something that is not in the recording.
    """
    if not (wishes.modes or wishes.added or wishes.without or wishes.quotas or wishes.oversubscription):
        raise ConfigError(
            "wanted something to change: --mode, --add-nodes, --without, --quota or --oversubscription, found nothing"
        )
    added = [one for number, text in enumerate(wishes.added) for one in _added(text, history, number)]
    names = Counter(one.node.name for one in added)
    if names and max(names.values()) > 1:
        raise ConfigError(f"--add-nodes: wanted names that differ, found {names.most_common(1)[0][0]} twice")
    return Scenario(
        modes=_modes(wishes.modes, history),
        without=[_selector(text, history) for text in wishes.without],
        added=added,
        quotas=[_quota(text, history) for text in wishes.quotas],
        ratio=ONE if wishes.oversubscription is None else _ratio(wishes.oversubscription),
    )


def time_of(text: str | None, option: str) -> int | None:
    """Milliseconds since 1970 of a time; without a zone it is UTC.

    Raises:
        ConfigError: it is none.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option}: wanted a time such as 2026-03-01T00:00:00Z, found {text[:60]!r}") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _modes(texts: Sequence[str], history: History) -> Mapping[str, str]:
    found: dict[str, str] = {}
    pools = history.ever().pools
    for text in texts:
        pool, _, mode = text.rpartition("=")
        if mode not in PlacementMode.__members__.values():
            known = [str(one) for one in PlacementMode]
            raise ConfigError(f"--mode: wanted one of {', '.join(known)}, found {mode!r}{did_you_mean(mode, known)}")
        if pool and pool not in pools:
            raise ConfigError(f"--mode: no pool {pool!r} is in the recording{did_you_mean(pool, sorted(pools))}")
        found[pool] = mode
    return found


# --- machines ---


def _added(text: str, history: History, number: int) -> Iterator[Added]:
    times = _TIMES.fullmatch(text)
    try:
        if times is not None:
            yield from _like(int(times[1]), times[2], history, number)
        elif "=" in text:
            yield from _shaped(text, history, number)
        else:
            yield from _from_file(Path(text), history)
    except TensorFusionError as error:
        said = str(error)
        raise ConfigError(said if said.startswith("--add-nodes") else f"--add-nodes {text}: {said}") from error


def _like(count: int, model: str, history: History, number: int) -> Iterator[Added]:
    """Nodes such as most of those that have devices of this model; of the catalogue where there are none."""
    if count > _MOST_NODES:
        raise ConfigError(f"--add-nodes: wanted at most {_MOST_NODES} nodes, found {count}")
    kinds: Counter[tuple[str, str, int]] = Counter()
    samples: dict[tuple[str, str, int], str] = {}
    fleet = history.ever()
    by_node = _devices_by_node(fleet)
    for node, devices in by_node.items():
        first = devices[0]
        if node in fleet.nodes and model_matches(model, first.model):
            kind = (first.pool, first.model, len(devices))
            kinds[kind] += 1
            samples.setdefault(kind, node)
    if not kinds:
        if lookup(model) is None:
            known = [one.model for one in CATALOGUE]
            raise ConfigError(
                f"--add-nodes: no model {model!r} is in the recording or the catalogue"
                f"{did_you_mean(model, known, listed=False)}: give its shape, such as gpus=NAME:4,tflops=100,vram=80Gi"
            )
        yield from _shaped(f"gpus={model}:1,count={count}", history, number)
        return
    sample = samples[kinds.most_common(1)[0][0]]
    devices = by_node[sample]
    for place in range(count):
        name = f"added-{number}-{place}" if number else f"added-{place}"
        facts = fleet.nodes[sample]
        yield Added(
            replace(facts, name=name, labels={**facts.labels, HOSTNAME_LABEL: name}, ready=True, unschedulable=False),
            tuple(_moved(devices, name)),
        )


def _moved(devices: Sequence[DeviceFacts], node: str) -> Iterator[DeviceFacts]:
    """The same devices in another node: nobody has taken any of them, and their links lead to each other."""
    names = {one.name: f"{node}-gpu-{place}" for place, one in enumerate(devices)}
    for one in devices:
        peers = tuple((names[peer], tier, rate) for peer, tier, rate in one.peers if peer in names)
        yield replace(one, name=names[one.name], node=node, peers=peers, used_by="")


def _devices_by_node(fleet: FleetFacts) -> dict[str, list[DeviceFacts]]:
    found: dict[str, list[DeviceFacts]] = {}
    for device in fleet.devices.values():
        found.setdefault(device.node, []).append(device)
    return found


def _shaped(text: str, history: History, number: int) -> Iterator[Added]:
    shape = parse_shape(text, number)
    pool = shape.pool or (_only_pool(history) if shape.devices else "")
    fleet = history.ever()
    if shape.devices and pool not in fleet.pools:
        raise ConfigError(f"no pool {pool!r} is in the recording{did_you_mean(pool, sorted(fleet.pools))}")
    for _, node in nodes_of([shape], fleet.nodes):
        yield Added(node, tuple(devices_of(shape, node.name, pool=pool, providers=NO_PROVIDERS)))


def _only_pool(history: History) -> str:
    pools = sorted(history.ever().pools)
    if len(pools) != 1:
        raise ConfigError(f"wanted pool=NAME, for there are {len(pools)} pools: {', '.join(pools) or 'none'}")
    return pools[0]


def _from_file(path: Path, history: History) -> Iterator[Added]:
    there = history.ever().nodes
    for spec in load_fleet(path):
        if spec.name in there:
            raise ConfigError(f"node {spec.name} is there already: choose another name")
        pool = _only_pool(history) if spec.devices is not None else ""
        yield Added(_node(spec), tuple(_devices(spec, pool)))


def _node(spec: NodeSpec) -> NodeFacts:
    return NodeFacts(
        spec.name,
        labels={HOSTNAME_LABEL: spec.name, **spec.labels},
        taints=tuple(Taint(key, value, effect) for key, value, effect in spec.taints),
        cpu=spec.cpu,
        memory=spec.memory,
        pods=spec.pods,
    )


def _devices(spec: NodeSpec, pool: str) -> Iterator[DeviceFacts]:
    found = spec.devices
    if found is None:
        return
    for index in range(found.count):
        yield DeviceFacts(
            f"{spec.name}-gpu-{index}",
            spec.name,
            pool,
            vendor=found.vendor,
            model=found.full_name,
            index=index,
            compute=found.compute,
            vram=found.vram,
        )


def _selector(text: str, history: History) -> Selector:
    if text == SPOT:
        selects: Selector = _is_spot
    else:
        try:
            selects = parse_labels(text).matches
        except TensorFusionError as error:
            raise ConfigError(f"--without: wanted spot or a label selector such as zone=a: {error}") from error
    nodes = [*history.fleet.nodes.values()]
    nodes += [change.facts for change in history.changes if isinstance(change.facts, NodeFacts)]
    if not any(selects(node.labels) for node in nodes):
        hint = (
            "" if history.settings.names else "; values of most labels are not in it, for it was recorded without names"
        )
        known = f" (labels {', '.join(CAPACITY_LABELS)})" if text == SPOT else ""
        raise ConfigError(f"--without {text}: wanted nodes that are in the recording, found none{known}{hint}")
    return selects


def _is_spot(labels: Mapping[str, str]) -> bool:
    return any(labels.get(key) == value for key, value in CAPACITY_LABELS.items())


# --- quotas and ratios ---


def _quota(text: str, history: History) -> QuotaWish:
    namespace, colon, rest = text.partition(":")
    if not colon or not namespace or not rest:
        raise ConfigError(f"--quota: wanted NAMESPACE:KEY=AMOUNT,... or NAMESPACE:none, found {text[:80]!r}")
    known = sorted({pod.namespace for pod in history.pods} | history.ever().quotas.keys())
    if namespace not in known:
        hint = "" if history.settings.names else ": it was recorded without names, see `tensorfusion record info`"
        raise ConfigError(
            f"--quota: no namespace {namespace!r} is in the recording"
            f"{did_you_mean(namespace, known, listed=len(known) < 10)}{hint}"
        )
    if rest == "none":
        return QuotaWish(namespace, None)
    ceilings: dict[str, int] = {}
    for part in rest.split(","):
        key, _, amount = part.strip().partition("=")
        if key not in _CEILINGS:
            raise ConfigError(f"--quota: no ceiling is named {key[:40]!r}{did_you_mean(key, _CEILINGS)}")
        ceilings[_CEILINGS[key]] = _amount(key, amount)
    return QuotaWish(namespace, ceilings)


def _amount(key: str, text: str) -> int:
    try:
        if key.endswith("tflops"):
            return to_gflops(text, Rounding.DOWN)
        if key.endswith("vram"):
            return to_bytes(text, Rounding.DOWN)
    except InvalidQuantity as error:
        raise ConfigError(f"--quota: {key}: {error}") from error
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigError(f"--quota: {key}: wanted a whole number, found {text[:40]!r}")
    return int(text)


def _ratio(text: str) -> Fraction:
    try:
        ratio = Fraction(text)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if not 1 <= ratio <= _MOST_RATIO:
        raise ConfigError(
            f"--oversubscription: wanted a ratio from 1 to {_MOST_RATIO} such as 1.5, found {text[:40]!r}"
        )
    return ratio
