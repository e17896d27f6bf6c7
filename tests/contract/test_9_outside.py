"""Services that are reached from outside, and what templates and accounts give to pods. Numbers 991 to 998."""

from typing import Any

from asking import JSON_PATCH, STRATEGIC, Answer, Api, deployment
from behaviours import behaviour

OBSERVED = "observed on 1.34.2"
SERVICE = "Service: type NodePort"
LOWEST, HIGHEST = 30000, 32767


def service(name: str, type_: str, *ports: Any, **spec: Any) -> Any:
    shown = [{"name": f"p{index}", **port} for index, port in enumerate(ports or ({"port": 80},))]
    return {"metadata": {"name": name}, "spec": {"type": type_, "selector": {"a": "b"}, "ports": shown, **spec}}


def made(api: Api, *given: Any, **spec: Any) -> Any:
    return api.create(api.core("services"), service(*given, **spec))["spec"]


def ports_of(spec: Any) -> list[int]:
    return [port.get("nodePort", 0) for port in spec["ports"]]


def changed(api: Api, name: str, patch: Any, content_type: str = STRATEGIC) -> Answer:
    return api("PATCH", api.core("services", name), patch, content_type=content_type)


@behaviour(991, "A service that is reached from outside gets a port of the nodes for each of its ports", source=SERVICE)
def test_given_out(api: Api) -> None:
    for type_ in ("NodePort", "LoadBalancer"):
        found = ports_of(made(api, type_.lower(), type_, {"port": 80}, {"port": 81}))
        assert all(LOWEST <= port <= HIGHEST for port in found)
        assert len(set(found)) == 2
    both = made(api, "dns", "NodePort", {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})
    assert len(set(ports_of(both))) == 1
    assert ports_of(made(api, "none", "LoadBalancer", allocateLoadBalancerNodePorts=False)) == [0]
    assert ports_of(made(api, "inside", "ClusterIP")) == [0]


@behaviour(992, "A port of the nodes is one service's alone, of a range, and free again when that goes", source=SERVICE)
def test_asked_for(api: Api) -> None:
    (port,) = ports_of(made(api, "a", "NodePort"))

    def refused(*ports: Any) -> tuple[str, str]:
        answer = api("POST", api.core("services"), service("b", "NodePort", *ports)).refused(422, "Invalid")
        (cause,) = answer.body["details"]["causes"]
        return cause["field"], cause["message"].partition(": ")[2].partition(": ")[2]

    taken = "provided port is already allocated"
    assert refused({"port": 80, "nodePort": port}) == ("spec.ports[0].nodePort", taken)
    outside = f"provided port is not in the valid range. The range of valid ports is {LOWEST}-{HIGHEST}"
    assert refused({"port": 80, "nodePort": 80}) == ("spec.ports[0].nodePort", outside)
    api.delete(api.core("services", "a"))
    api.eventually(
        lambda: (
            api("POST", api.core("services"), service("c", "NodePort", {"port": 80, "nodePort": port})).status == 201
        )
    )


@behaviour(993, "A service keeps its ports of the nodes by their names", source=OBSERVED)
def test_kept(api: Api) -> None:
    (port,) = ports_of(made(api, "a", "NodePort"))
    ports = [{"name": "new", "port": 90}, {"name": "p0", "port": 81}]
    answer = changed(api, "a", [{"op": "replace", "path": "/spec/ports", "value": ports}], JSON_PATCH)
    first, second = ports_of(answer.body["spec"])
    assert second == port
    assert first not in (0, port)


@behaviour(994, "A service that is no longer reached from outside keeps nothing of that", source=OBSERVED)
def test_inside_again(api: Api) -> None:
    made(api, "a", "LoadBalancer", externalTrafficPolicy="Local")
    found = api.get(api.core("services", "a"))["spec"]
    assert LOWEST <= found["healthCheckNodePort"] <= HIGHEST
    answer = changed(api, "a", {"spec": {"type": "ClusterIP"}})
    assert answer.status == 200, answer.body
    lost = {"externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"}
    assert not lost & answer.body["spec"].keys()
    assert ports_of(answer.body["spec"]) == [0]
    answer = changed(api, "a", {"spec": {"type": "NodePort"}})
    assert ports_of(answer.body["spec"])[0] >= LOWEST


@behaviour(995, "A template has no containers that are only added to a running pod", source="Ephemeral Containers")
def test_ephemeral_containers(api: Api) -> None:
    obj = deployment("d")
    obj["spec"]["template"]["spec"]["ephemeralContainers"] = [{"name": "e", "image": "i"}]
    answer = api("POST", api.path("apps/v1", "deployments"), obj).refused(422, "Invalid")
    field = "spec.template.spec.ephemeralContainers"
    (cause,) = answer.body["details"]["causes"]
    assert (cause["field"], cause["message"]) == (
        field,
        "Forbidden: ephemeral containers not allowed in pod template",
    )


@behaviour(
    996, "A pod that names no secrets for its images takes those of its account", source="Configure Service Accounts"
)
def test_image_secrets(api: Api) -> None:
    account = {"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "registry"}]}
    api.create(api.core("serviceaccounts"), account)
    assert api.create_pod("a", serviceAccountName="robot")["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    own = api.create_pod("b", serviceAccountName="robot", imagePullSecrets=[{"name": "own"}])
    assert own["spec"]["imagePullSecrets"] == [{"name": "own"}]


@behaviour(997, "A rollout's controller changes no generation, and tells each set how large it may be", source=OBSERVED)
def test_generation(api: Api) -> None:
    obj = deployment("d", replicas=2)
    obj["spec"]["template"]["spec"]["nodeSelector"] = {"no": "node"}
    path = api.path("apps/v1", "deployments", "d")
    api.create(api.path("apps/v1", "deployments"), obj)
    annotations = api.eventually(lambda: api.get(path)["metadata"].get("annotations"))
    assert annotations == {"deployment.kubernetes.io/revision": "1"}
    assert api.get(path)["metadata"]["generation"] == 1

    def sizes() -> Any:
        (found,) = api.get(api.path("apps/v1", "replicasets"))["items"]
        known = found["metadata"]["annotations"]
        return [known.get(f"deployment.kubernetes.io/{name}-replicas") for name in ("desired", "max")]

    api.eventually(lambda: api.get(api.path("apps/v1", "replicasets"))["items"] and sizes() == ["2", "3"])
    api("PATCH", path, {"spec": {"replicas": 4}}, content_type=STRATEGIC)
    api.eventually(lambda: sizes() == ["4", "5"])
    assert api.get(path)["metadata"]["generation"] == 2


@behaviour(998, "Nothing can be mounted of a volume that is none", source=OBSERVED)
def test_broken_volumes(api: Api) -> None:
    volume = {"name": "v", "emptyDir": {}, "configMap": {"name": "c"}}
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    obj = deployment("d")
    obj["spec"]["template"]["spec"] = {"containers": [container], "volumes": [volume]}
    answer = api("POST", api.path("apps/v1", "deployments"), obj).refused(422, "Invalid")
    at = "spec.template.spec"
    assert answer.causes() == {
        (f"{at}.volumes[0].configMap", "FieldValueForbidden"),
        (f"{at}.containers[0].volumeMounts[0].name", "FieldValueNotFound"),
    }
