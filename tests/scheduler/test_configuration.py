"""KubeSchedulerConfiguration: what is read, what is refused and why, and what it changes about placing."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tensorfusion.clock import SystemClock
from tensorfusion.errors import ConfigError
from tensorfusion.model import keys
from tensorfusion.model.gpu_topology import TopologyRule, TopologySource
from tensorfusion.model.resources import NODES, PODS
from tensorfusion.model.scheduler_configuration import parse_scheduler_configuration
from tensorfusion.scheduler.config_file import SchedulerConfig
from tensorfusion.scheduler.configuration import Configuration, configuration_of
from tensorfusion.scheduling.facts import Off
from tensorfusion.scheduling.profile import Strategy
from tensorfusion.telemetry.metrics import metrics_response

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
OURS = keys.SCHEDULER_NAME
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "scheduler-configuration.md"


def text(*profiles: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump({**HEAD, "profiles": list(profiles), **more})


def profile(name: str = OURS, *, plugins: dict[str, Any] | None = None, **args: Any) -> dict[str, Any]:
    config = [{"name": plugin, "args": value} for plugin, value in args.items()]
    return {"schedulerName": name, "plugins": plugins or {}, "pluginConfig": config}


def read(*profiles: dict[str, Any], **more: Any) -> Configuration:
    return configuration_of(parse_scheduler_configuration(text(*profiles, **more), "file"))


def off(point: str, *names: str) -> dict[str, Any]:
    return {point: {"disabled": [{"name": name} for name in names]}}


def test_the_example_of_the_documentation_is_followed() -> None:
    (example,) = re.findall(r"```yaml\n(apiVersion: kubescheduler.*?)```", PAGE.read_text(), re.DOTALL)
    found = configuration_of(parse_scheduler_configuration(example, "example"))
    ours = found.profiles.of(OURS)
    assert (found.defaults.max_workers_per_node, found.defaults.vram_weight, found.defaults.tflops_weight) == (
        64,
        0.6,
        0.4,
    )
    assert ours.scoring is not None
    assert ours.scoring.strategy is Strategy.REQUESTED_TO_CAPACITY_RATIO
    assert ours.scoring.resources == (("cpu", 1), ("memory", 1), ("nvidia.com/gpu", 5))
    assert ours.scoring.shape == ((0, 0), (75, 90), (100, 100))
    assert ours.fitted({"tensor-fusion.ai/index_0": 1, "nvidia.com/gpu": 2}) == {"nvidia.com/gpu": 2}
    assert found.profiles.of("batch").off == {Off.SPREAD}
    assert [note for note in found.notes if "totalIntranetBandWidthGBps has no effect" in note]


def test_without_profiles_everything_is_as_it_is_without_a_file() -> None:
    assert read() == Configuration()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": []}, "file: profile: unknown field 'profile': did you mean profiles?"),
        ({"apiVersion": "v1"}, "file: apiVersion: wanted kubescheduler.config.k8s.io/v1, found 'v1'"),
        ({"percentageOfNodesToScore": 101}, "file: percentageOfNodesToScore: wanted 0 to 100, found 101"),
        ({"percentageOfNodesToScore": "all"}, "file: percentageOfNodesToScore: expected `int | null`, got `str`"),
        ({"extenders": [{"urlPrefix": "x"}]}, "file: extenders: wanted none"),
        ({"clientConnection": {"qp": 1}}, "file: clientConnection.qp: unknown field 'qp': did you mean qps?"),
    ],
)
def test_what_a_file_gets_wrong_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configuration_of(parse_scheduler_configuration(yaml.safe_dump({**HEAD, **change}), "file"))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            profile(GPUResourceFit={}),
            "profiles[0].pluginConfig[0].name: unknown plugin 'GPUResourceFit': did you mean GPU",
        ),
        (
            profile(GPUResourcesFit={"maxWorkers": 3}),
            "args.maxWorkers: unknown field 'maxWorkers': did you mean maxWorker",
        ),
        (
            profile(GPUResourcesFit={"maxWorkerPerNode": 2.5}),
            "args.maxWorkerPerNode: expected `int | null`, got `float`",
        ),
        (profile(GPUResourcesFit={"vramWeight": 7}), "vramWeight: wanted 0 to 1, found 7"),
        (profile(GPUNetworkTopologyAware={"mode": "harder"}), "wanted one of soft, hard, found 'harder': did you mean"),
        (profile(NodeResourcesFit={"scoringStrategy": {"type": "Most"}}), "scoringStrategy.type: wanted one of Least"),
        (
            profile(NodeResourcesFit={"scoringStrategy": {"type": "RequestedToCapacityRatio"}}),
            "requestedToCapacityRatio.shape: wanted at least one point",
        ),
        (
            profile(
                NodeResourcesFit={
                    "scoringStrategy": {
                        "type": "RequestedToCapacityRatio",
                        "requestedToCapacityRatio": {
                            "shape": [{"utilization": 9, "score": 1}, {"utilization": 9, "score": 2}]
                        },
                    }
                }
            ),
            "shape[1].utilization: wanted 10 to 100, found 9",
        ),
        (
            profile(NodeAffinity={"addedAffinity": {}}),
            "args: wanted none for NodeAffinity, found some: addedAffinity is",
        ),
        (profile(PodTopologySpread={"defaultConstraints": [{}]}), "defaultConstraints: wanted none, found some: state"),
        (profile(plugins=off("filter", "NodePort")), "unknown plugin 'NodePort': did you mean NodePorts"),
        (profile(plugins=off("score", "NodePorts")), "NodePorts does not act at score: it acts at preFilter, filter"),
        (profile(plugins=off("filters", "NodePorts")), "plugins.filters: unknown field 'filters': did you mean filter"),
        (profile(plugins=off("filter", "*")), "NodeResourcesFit cannot be switched off: nodes would be overfilled"),
        (
            profile(plugins=off("multiPoint", "GPUResourcesFit")),
            "GPUResourcesFit cannot be switched off: devices would",
        ),
    ],
)
def test_what_a_profile_gets_wrong_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(wrong)
    assert message in str(error.value)


def test_profiles_must_have_names_of_their_own_and_agree_on_devices() -> None:
    with pytest.raises(ConfigError, match=r"profiles\[1\].schedulerName: wanted a name that no other profile has"):
        read(profile(), profile())
    with pytest.raises(ConfigError, match="wanted the same arguments in every profile"):
        read(profile(GPUResourcesFit={"vramWeight": 1}), profile("b", GPUResourcesFit={"vramWeight": 0.5}))


def test_a_points_own_words_go_before_those_of_multi_point() -> None:
    plugins = {
        "multiPoint": {"disabled": [{"name": "InterPodAffinity"}, {"name": "PodTopologySpread"}]},
        "score": {"enabled": [{"name": "PodTopologySpread", "weight": 7}]},
        "filter": {"enabled": [{"name": "InterPodAffinity"}]},
    }
    ours = read(profile(plugins=plugins)).profiles.of(OURS)
    assert (ours.off, ours.spread, ours.affinity) == ({Off.SPREAD}, 7, 0)


def test_all_scores_but_one_are_switched_off_by_a_star() -> None:
    plugins = {
        "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "GPUResourcesFit"}, {"name": "InterPodAffinity"}]}
    }
    ours = read(profile(plugins=plugins)).profiles.of(OURS)
    assert (ours.spread, ours.affinity, ours.resources) == (0, 2, 0)
    assert ours.off == {Off.SOFT_TAINTS, Off.PREFERRED_NODES}


def test_preemption_is_switched_off_by_profile() -> None:
    ours = read(profile(plugins=off("postFilter", "DefaultPreemption")), profile("other"))
    assert (ours.profiles.of(OURS).preempts, ours.profiles.of("other").preempts) == (False, True)


def test_topology_arguments_are_the_rule_of_the_profiles_pods() -> None:
    strict = {"mode": "hard", "topologySource": "numa", "maxAllowedTier": 0, "unknownTopologyPolicy": "reject"}
    found = read(
        profile(GPUNetworkTopologyAware=strict),
        profile("loose", GPUNetworkTopologyAware={"maxAllowedTier": 3, "preferLeastDamage": False}),
        profile("off", plugins=off("filter", "GPUNetworkTopologyAware")),
        profile("devices only", plugins=off("score", "GPUNetworkTopologyAware")),
    )
    rules = {name: found.profiles.of(name).topology for name in (OURS, "loose", "off", "devices only", "other")}
    assert rules == {
        OURS: TopologyRule(hard=True, source=TopologySource.NUMA, max_tier=1, reject_unknown=True),
        "loose": TopologyRule(max_tier=3, least_damage=False),
        "off": TopologyRule(enabled=False),
        "devices only": TopologyRule(ranks_nodes=False),
        "other": TopologyRule(),
    }


def test_what_has_no_effect_is_noted_with_the_reason() -> None:
    found = read(
        profile(plugins={"score": {"enabled": [{"name": "ImageLocality", "weight": 3}]}}),
        profile("near", GPUNetworkTopologyAware={"totalIntranetBandWidthGBps": 100}),
        percentageOfNodesToScore=50,
        leaderElection={"leaderElect": True, "leaseDuration": "15s"},
    )
    notes = "\n".join(found.notes)
    assert "percentageOfNodesToScore 50 has no effect: all nodes are scored" in notes
    assert "leaderElection has no effect" in notes
    assert "profile near: GPUNetworkTopologyAware.totalIntranetBandWidthGBps has no effect" in notes
    assert f"profile {OURS}: ImageLocality has no effect: this scheduler has no such part" in notes


def plain(world: Any, name: str, scheduler: str = keys.DEFAULT_SCHEDULER_NAME, cpu: str = "1", **spec: Any) -> None:
    resources = {"requests": {"cpu": cpu, "memory": "1Gi"}}
    containers = [{"name": "main", "resources": resources}]
    body = {"metadata": {"name": name}, "spec": {"schedulerName": scheduler, "containers": containers, **spec}}
    world.api.seed(PODS, body, namespace="default")


async def test_pods_are_packed_or_spread_as_the_strategy_of_their_profile_says(world) -> None:
    for name in ("n0", "n1"):
        world.node(name, cpu="10", memory="10Gi")
    plain(world, "first", cpu="2")
    await world.start()
    world.service.configure(read(profile("least", NodeResourcesFit={"scoringStrategy": {"type": "LeastAllocated"}})))
    plain(world, "packed")
    plain(world, "free", "least")
    await world.settle()
    assert [world.node_of(name) for name in ("first", "packed", "free")] == ["n0", "n0", "n1"]


async def test_shares_follow_the_nodes_resources_where_a_profile_weighs_them_high(world) -> None:
    world.fleet(nodes=2)
    plain(world, "busy", cpu="60", nodeSelector={keys.HOSTNAME_LABEL: "n0"})
    await world.start()
    least = {"scoringStrategy": {"type": "LeastAllocated", "resources": [{"name": "cpu"}]}}
    plugins = {"score": {"enabled": [{"name": "NodeResourcesFit", "weight": 5}]}}
    world.worker("a")
    await world.settle()
    assert world.node_of("a") == "n0"
    world.service.configure(read(profile(plugins=plugins, NodeResourcesFit=least)))
    world.worker("b")
    await world.settle()
    assert world.node_of("b") == "n1"


async def test_a_filter_that_is_switched_off_lets_waiting_pods_go_at_once(world) -> None:
    world.node("n0")
    world.api.change(NODES, "n0", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": True}})
    plain(world, "a", "batch")
    plain(world, "b")
    await world.start(None, keys.DEFAULT_SCHEDULER_NAME)
    assert "batch" not in world.service.scheduler_names
    world.service.configure(read(profile("batch", plugins=off("filter", "TaintToleration", "NodeUnschedulable"))))
    await world.settle(2)
    assert (world.node_of("a"), world.node_of("b")) == ("n0", "")
    plain(world, "c", "batch", nodeSelector={"no": "where"})
    await world.settle()
    world.service.configure(Configuration())
    assert len(world.service.book.queue) == 1  # only b is ours to place now


async def test_ports_and_neighbours_are_as_free_as_the_profile_says(world) -> None:
    world.node("n0", zone="a")
    ports = [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}]}]
    term = {"topologyKey": "zone", "labelSelector": {}}
    away = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    plain(world, "a", affinity=away, containers=ports)
    await world.start()
    assert world.node_of("a") == "n0"
    plain(world, "b", "free", containers=ports)
    world.service.configure(read(profile("free", plugins=off("filter", "NodePorts", "InterPodAffinity"))))
    await world.settle(2)
    assert world.node_of("b") == "n0"
    plain(world, "c", containers=ports)
    await world.settle()
    assert world.node_of("c") == ""


async def test_workers_of_a_node_and_weights_of_pools_follow_the_file(world) -> None:
    world.fleet()
    await world.start()
    world.service.configure(read(profile(GPUResourcesFit={"maxWorkerPerNode": 1, "vramWeight": 1, "tflopsWeight": 0})))
    world.worker("a")
    world.worker("b")
    await world.settle()
    assert "1 node: at the pool's maximum of workers per node" in world.reason_of("b" if world.node_of("a") else "a")
    assert world.service.state.fleet.pools["main"].facts.vram_weight == 1
    world.service.configure(Configuration())
    await world.settle(12)
    assert world.node_of("b") == "n0"


async def test_ignored_resources_do_not_have_to_fit(world) -> None:
    world.node("n0")
    await world.start()
    world.service.configure(
        read(profile("loose", NodeResourcesFit={"ignoredResources": ["a.io/x"], "ignoredResourceGroups": ["b.io"]}))
    )
    wants = [{"name": "main", "resources": {"requests": {"a.io/x": "1", "b.io/y": "2"}}}]
    plain(world, "loose", "loose", containers=wants)
    plain(world, "strict", containers=wants)
    await world.settle()
    assert (world.node_of("loose"), world.node_of("strict")) == ("n0", "")


def valid() -> float:
    body = metrics_response()[0].decode()
    return float(re.findall(r"^tensorfusion_scheduler_configuration_valid (\S+)$", body, re.MULTILINE)[0])


async def test_a_wrong_file_keeps_the_old_configuration_and_says_so(tmp_path: Path, caplog) -> None:
    file, accepted = tmp_path / "config.yaml", tmp_path / "accepted.yaml"
    heard: list[Configuration] = []
    config = SchedulerConfig(file, accepted=accepted, clock=SystemClock())
    config.on_change = heard.append
    await config.look()
    assert not heard
    file.write_text(text(profile(GPUResourcesFit={"maxWorkerPerNode": 7})))
    await config.look()
    assert heard.pop().defaults.max_workers_per_node == 7
    assert valid() == 1
    file.write_text(text(profile(GPUResourcesFit={"maxWorkersPerNode": 8})))
    await config.look()
    assert heard[-1].defaults.max_workers_per_node == 7
    assert "maxWorkersPerNode: unknown field" in heard[-1].problem
    assert "maxWorkersPerNode: unknown field" in caplog.text
    assert valid() == 0
    restarted = SchedulerConfig(file, accepted=accepted, clock=SystemClock())
    assert (restarted.current.defaults.max_workers_per_node, bool(restarted.current.problem)) == (7, True)
    accepted.unlink()
    with pytest.raises(ConfigError, match="did you mean maxWorkerPerNode"):
        SchedulerConfig(file, accepted=accepted, clock=SystemClock())
    file.unlink()
    await config.look()
    assert config.current.defaults.max_workers_per_node == 7
