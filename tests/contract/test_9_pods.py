"""Pods that are refused before anything runs. Numbers 950 to 959, 965 and 966."""

from typing import Any

from asking import Api, deployment, pod
from behaviours import behaviour

POD = "API reference: Pod"
OBSERVED = "observed on 1.34.2"


def causes(api: Api, **spec: Any) -> set[tuple[str, str]]:
    """What is wrong with a pod, without its ``spec.``; the pod is not made."""
    api.eventually(lambda: api("GET", api.core("serviceaccounts", "default")).status == 200)
    answer = api("POST", f"{api.core('pods')}?dryRun=All", pod("p", **spec))
    answer.refused(422, "Invalid", kind="Pod", name="p")
    return {(field.removeprefix("spec."), reason.removeprefix("FieldValue")) for field, reason in answer.causes()}


def of_container(api: Api, **fields: Any) -> set[tuple[str, str]]:
    """The same for its one container."""
    found = causes(api, containers=[{"name": "c", "image": "i:1", **fields}])
    return {(field.removeprefix("containers[0]."), reason) for field, reason in found}


@behaviour(950, "A pod takes each port of its node once", source=f"{POD}: ports, hostPort")
def test_host_ports(api: Api) -> None:
    port = {"containerPort": 80, "hostPort": 8080}
    assert of_container(api, ports=[port, {**port, "protocol": "UDP"}, {**port, "containerPort": 81}]) == {
        ("ports[2].hostPort", "Duplicate")
    }


@behaviour(951, "A variable of a field or an amount names one that there is", source=f"{POD}: env, valueFrom")
def test_references(api: Api) -> None:
    def of_variable(**source: Any) -> set[tuple[str, str]]:
        found = of_container(api, env=[{"name": "A", "valueFrom": source}])
        return {(field.removeprefix("env[0].valueFrom."), reason) for field, reason in found}

    assert of_variable(fieldRef={}) == {("fieldRef.fieldPath", "Required")}
    assert of_variable(fieldRef={"fieldPath": "spec.nothing"}) == {("fieldRef.fieldPath", "Invalid")}
    assert of_variable(fieldRef={"fieldPath": "status.phase"}) == {("fieldRef.fieldPath", "NotSupported")}
    assert of_variable(fieldRef={"fieldPath": "metadata.labels['a b']"}) == {("fieldRef", "Invalid")}
    assert of_variable(resourceFieldRef={"resource": "limits.x"}) == {("resourceFieldRef.resource", "NotSupported")}
    assert of_variable(secretKeyRef={"key": "k"}) == {("secretKeyRef.name", "Invalid")}


@behaviour(952, "A probe and a step of a container's life have one handler, with a port that is one", source=POD)
def test_handlers(api: Api) -> None:
    assert of_container(api, livenessProbe={}) == {("livenessProbe", "Required")}
    assert of_container(api, livenessProbe={"httpGet": {}}) == {("livenessProbe.httpGet.port", "Invalid")}
    assert of_container(api, lifecycle={"preStop": {}}) == {("lifecycle.preStop", "Required")}
    two = {"exec": {"command": ["a"]}, "sleep": {"seconds": 1}}
    assert of_container(api, lifecycle={"preStop": two}) == {("lifecycle.preStop.sleep", "Forbidden")}
    found = of_container(api, readinessProbe={"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 5})
    assert found == {("readinessProbe.terminationGracePeriodSeconds", "Invalid")}


@behaviour(953, "Paths in volumes do not lead out of them", source=f"{POD}: volumes, volumeMounts")
def test_paths(api: Api) -> None:
    items = [{"key": "k", "path": "../x"}]
    volumes = [{"name": "v", "configMap": {"name": "m", "items": items}}]
    assert causes(api, volumes=volumes) == {("volumes[0].configMap.items[0].path", "Invalid")}
    mount = {"name": "v", "mountPath": "/v", "subPath": "../x"}
    container = {"name": "c", "image": "i:1", "volumeMounts": [mount]}
    found = causes(api, volumes=[{"name": "v", "emptyDir": {}}], containers=[container])
    assert found == {("containers[0].volumeMounts.subPath", "Invalid")}


@behaviour(954, "A downward volume's item has a path, and a field or an amount", source=f"{POD}: downwardAPI")
def test_downward(api: Api) -> None:
    def of_item(**item: Any) -> set[tuple[str, str]]:
        return causes(api, volumes=[{"name": "v", "downwardAPI": {"items": [item]}}])

    at = "volumes[0].downwardAPI"
    assert of_item(path="a") == {(at, "Required")}
    assert of_item(path="a", fieldRef={"fieldPath": "spec.nodeName"}) == {(f"{at}.fieldRef.fieldPath", "NotSupported")}
    amount = {"resource": "limits.cpu"}
    assert of_item(path="a", resourceFieldRef=amount) == {(f"{at}.resourceFieldRef.containerName", "Required")}


@behaviour(
    955, "Spread constraints are whole, and each pair of key and action is there once", source=f"{POD}: topologySpread"
)
def test_spread(api: Api) -> None:
    constraint = {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    at = "topologySpreadConstraints[0]"
    found = causes(api, topologySpreadConstraints=[constraint, constraint])
    assert found == {(f"{at}.{{topologyKey, whenUnsatisfiable}}", "Duplicate")}
    found = causes(api, topologySpreadConstraints=[{"topologyKey": "a"}])
    assert found == {(f"{at}.maxSkew", "Invalid"), (f"{at}.whenUnsatisfiable", "NotSupported")}


@behaviour(956, "Terms of affinity have a weight, a key and namespaces that are names", source=f"{POD}: affinity")
def test_affinity(api: Api) -> None:
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    term = {"preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
    found = causes(api, affinity={"nodeAffinity": {preferred: [term]}})
    assert found == {(f"affinity.nodeAffinity.{preferred}[0].weight", "Invalid")}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    nameless = {"nodeSelectorTerms": [{"matchExpressions": [{"operator": "Exists"}]}]}
    (found,) = causes(api, affinity={"nodeAffinity": {required: nameless}})
    assert found == (f"affinity.nodeAffinity.{required}.nodeSelectorTerms[0].matchExpressions[0].key", "Invalid")


@behaviour(
    957, "Claims that a container uses are its pod's, and each of these has one source", source=f"{POD}: resourceClaims"
)
def test_claims(api: Api) -> None:
    assert of_container(api, resources={"claims": [{"name": "x"}]}) == {("resources.claims[0]", "NotFound")}
    assert causes(api, resourceClaims=[{"name": "x"}]) == {("resourceClaims[0]", "Invalid")}


@behaviour(
    958, "Addresses and names of a pod's DNS and hosts are addresses and names", source=f"{POD}: dnsConfig, hostAliases"
)
def test_dns(api: Api) -> None:
    config = {"nameservers": ["x"], "options": [{}], "searches": ["A!"]}
    assert causes(api, dnsConfig=config) == {
        ("dnsConfig.nameservers[0]", "Invalid"),
        ("dnsConfig.options[0]", "Required"),
        ("dnsConfig.searches[0]", "Invalid"),
    }
    found = causes(api, hostAliases=[{"hostnames": ["A_"]}])
    assert found == {("hostAliases[0].ip", "Invalid"), ("hostAliases[0].hostnames[0]", "Invalid")}


@behaviour(959, "A template is refused for what its pods would be, with the whole path", source=OBSERVED)
def test_template(api: Api) -> None:
    obj = deployment("d")
    obj["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{}]
    obj["spec"]["template"]["spec"]["readinessGates"] = [{"conditionType": "a b"}]
    answer = api("POST", f"{api.path('apps/v1', 'deployments')}?dryRun=All", obj)
    answer.refused(422, "Invalid", kind="Deployment", group="apps", name="d")
    assert answer.causes() == {
        ("spec.template.spec.containers[0].envFrom", "FieldValueInvalid"),
        ("spec.template.spec.readinessGates[0].conditionType", "FieldValueInvalid"),
    }


@behaviour(
    965, "A pod that waits at its gates may be given fewer nodes, never others", source="Pod Scheduling Readiness"
)
def test_narrowing(api: Api) -> None:
    api.create_pod(schedulingGates=[{"name": "example.com/wait"}], nodeSelector={"a": "b"})
    path = api.core("pods", "p")
    assert api.merge(path, {"spec": {"nodeSelector": {"c": "d"}}})["spec"]["nodeSelector"] == {"a": "b", "c": "d"}
    for change in ({"a": None}, {"a": "x"}, None):
        answer = api("PATCH", path, {"spec": {"nodeSelector": change}}, content_type="application/merge-patch+json")
        assert answer.refused(422, "Invalid").causes() == {("spec.nodeSelector", "FieldValueInvalid")}


@behaviour(966, "Tolerations that the server gives back when they are taken away are no change", source=OBSERVED)
def test_given_back(api: Api) -> None:
    made = api.create_pod(schedulingGates=[{"name": "example.com/wait"}])
    assert len(made["spec"]["tolerations"]) == 2
    found = api.merge(api.core("pods", "p"), {"spec": {"tolerations": None, "nodeName": ""}})
    assert found["spec"] == made["spec"]
    assert found["metadata"]["generation"] == 1
    assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
