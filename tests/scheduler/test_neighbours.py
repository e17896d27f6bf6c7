"""Rules between pods on the whole road: from manifests to Bindings, and what wakes a pod that waits for a neighbour."""

from typing import Any

from tensorfusion.model import keys
from tensorfusion.model.resources import NAMESPACES, NODES, PODS

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def web(world: Any, name: str, app: str = "web", **spec: Any) -> None:
    container = {"name": "main", **spec.pop("container", {})}
    body = {
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"schedulerName": "default-scheduler", "containers": [container], **spec},
    }
    world.api.seed(PODS, body, namespace="default")


def near(app: str, **more: Any) -> dict[str, Any]:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}, **more}
    return {"podAffinity": {REQUIRED: [term]}}


def spread(**more: Any) -> list[dict[str, Any]]:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    return [{**rule, "labelSelector": {"matchLabels": {"app": "web"}}, **more}]


async def test_replicas_spread_over_zones(world) -> None:
    for number, zone in enumerate("aab"):
        world.node(f"n{number}", zone=zone)
    await world.start()
    for number in range(4):
        web(world, f"w{number}", topologySpreadConstraints=spread())
    await world.settle()
    assert sorted(world.node_of(f"w{number}") for number in range(4)).count("n2") == 2


async def test_shares_keep_apart_by_anti_affinity(world) -> None:
    world.fleet(nodes=2, devices=2)
    term = {"topologyKey": keys.HOSTNAME_LABEL, "labelSelector": {"matchLabels": {keys.COMPONENT: "worker"}}}
    for name in "abc":
        world.worker(name, affinity={"podAntiAffinity": {REQUIRED: [term]}})
    await world.start()
    assert {world.node_of("a"), world.node_of("b")} == {"n0", "n1"}
    assert "Pod anti-affinity: pods with tensor-fusion.ai/component=worker" in world.reason_of("c")
    world.delete("a")
    await world.settle(12)
    assert world.node_of("c") in ("n0", "n1")
    world.check_books()


async def test_a_pod_waits_for_its_neighbour_and_follows_it(world) -> None:
    world.node("n0", zone="a")
    await world.start()
    web(world, "a", affinity=near("db"))
    await world.settle()
    assert "none of pods with app=db in default is placed" in world.reason_of("a")
    web(world, "db", app="db")
    await world.settle(12)
    assert world.node_of("a") == "n0"


async def test_a_zone_that_opens_wakes_pods_for_its_other_nodes(world) -> None:
    world.node("n0", cpu="1", zone="a")
    world.node("n1", zone="a")
    away = {"podAntiAffinity": {REQUIRED: near("web")["podAffinity"][REQUIRED]}}
    one = {"resources": {"requests": {"cpu": "1"}}}
    web(world, "a", nodeSelector={keys.HOSTNAME_LABEL: "n0"}, container=one)
    await world.start()
    web(world, "b", nodeSelector={keys.HOSTNAME_LABEL: "n1"}, affinity=away)
    await world.settle()
    assert world.node_of("b") == ""
    world.delete("a")
    await world.settle(12)
    assert world.node_of("b") == "n1"


async def test_namespaces_are_followed(world) -> None:
    world.node("n0", zone="a")
    web(world, "db", app="db")
    term = near("db", namespaceSelector={"matchLabels": {"tier": "back"}}, namespaces=["nowhere"])
    web(world, "a", affinity=term)
    await world.start()
    assert world.node_of("a") == ""
    world.api.seed(NAMESPACES, {"metadata": {"name": "default", "labels": {"tier": "back"}}})
    await world.settle(12)
    assert world.node_of("a") == "n0"


async def test_a_label_that_a_node_gets_wakes_the_pods_that_need_it(world) -> None:
    world.node("n0")
    await world.start()
    web(world, "a", topologySpreadConstraints=spread())
    await world.settle()
    assert "No node has the label zone that topologySpreadConstraints names" in world.reason_of("a")
    world.api.change(NODES, "n0", {"metadata": {"labels": {"zone": "a"}}})
    await world.settle(12)
    assert world.node_of("a") == "n0"


async def test_rules_that_no_server_accepts_are_refused_with_the_field(world) -> None:
    world.node("n0", zone="a")
    await world.start()
    web(world, "empty", affinity=near("db", topologyKey=""))
    expression = {"key": "app", "operator": "Inn", "values": ["x"]}
    web(world, "operator", affinity=near("db", labelSelector={"matchExpressions": [expression]}))
    web(world, "skew", topologySpreadConstraints=spread(maxSkew=0))
    web(world, "unknown", topologySpreadConstraints=spread(whenUnsatisfiable="DoNotScheduled"))
    await world.settle()
    at = f"spec.affinity.podAffinity.{REQUIRED}[0]"
    assert world.reason_of("empty") == f"{at}.topologyKey: wanted the name of a node label, found ''"
    assert f"{at}.labelSelector.matchExpressions[0].operator: wanted one of In" in world.reason_of("operator")
    assert "topologySpreadConstraints[0].maxSkew: wanted 1 or more, found 0" in world.reason_of("skew")
    assert "did you mean DoNotSchedule?" in world.reason_of("unknown")


async def test_match_label_keys_count_only_pods_of_the_same_version(world) -> None:
    world.node("n0", zone="a")
    world.node("n1", cpu="1", zone="b")
    body = {"schedulerName": "default-scheduler", "containers": [{"name": "main"}]}
    rule = spread(matchLabelKeys=["version"])
    for name, version in (("old0", "1"), ("old1", "1"), ("new0", "2"), ("new1", "2")):
        labels = {"app": "web", "version": version}
        seeded = {"metadata": {"name": name, "labels": labels}, "spec": {**body, "topologySpreadConstraints": rule}}
        world.api.seed(PODS, seeded, namespace="default")
    await world.start()
    assert world.node_of("old0") != world.node_of("old1")
    assert world.node_of("new0") != world.node_of("new1")


async def test_an_empty_selector_counts_no_pods_in_a_spread_as_in_kubernetes(world) -> None:
    world.node("n0", zone="a")
    world.node("n1", cpu="0", zone="b")
    await world.start()
    for name in "ab":
        one = {"resources": {"requests": {"cpu": "1"}}}
        web(world, name, topologySpreadConstraints=spread(labelSelector={}), container=one)
    await world.settle()
    assert [world.node_of(name) for name in "ab"] == ["n0", "n0"]
