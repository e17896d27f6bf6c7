"""Rules of kinds of daily use that are met by accident. Numbers 908, 909 and 920 to 949."""

from typing import Any

from asking import Api, deployment, pod
from behaviours import behaviour

OBSERVED = "observed on 1.34.2"
INVALID, REQUIRED, FORBIDDEN, UNSUPPORTED = (
    *("FieldValueInvalid", "FieldValueRequired"),
    *("FieldValueForbidden", "FieldValueNotSupported"),
)


def causes(api: Api, path: str, spec: Any, **more: Any) -> set[tuple[str, str]]:
    """Why a new object is refused; nothing if it is not."""
    answer = api("POST", f"{path}?dryRun=All", {"metadata": {"name": "daily"}, "spec": spec, **more})
    if answer.status == 201:
        return set()
    return answer.refused(422, "Invalid").causes()


def container(**fields: Any) -> Any:
    return {"containers": [{"name": "c", "image": "i", **fields}]}


@behaviour(
    921, "Addresses of a Service are addresses, said in one way, and of no use to a name", source="Service: clusterIPs"
)
def test_addresses(api: Api) -> None:
    path, ports = api.core("services"), [{"port": 80}]
    named = {"type": "ExternalName", "externalName": "a"}
    for spec, wanted in (
        ({**named, "clusterIP": "None"}, {("spec.clusterIPs", FORBIDDEN)}),
        ({"ports": ports, "clusterIP": "x"}, {("spec.clusterIPs[0]", INVALID)}),
        ({"ports": ports, "clusterIPs": ["None"]}, {("spec.clusterIPs", INVALID)}),
        ({"ports": ports, "clusterIP": "None", "clusterIPs": ["1.2.3.4"]}, {("spec.clusterIPs", INVALID)}),
        ({"ports": ports, "externalIPs": ["127.0.0.1"]}, {("spec.externalIPs[0]", INVALID)}),
        ({"ports": ports, "externalIPs": ["169.254.1.1"]}, {("spec.externalIPs[0]", INVALID)}),
        ({"ports": [{}]}, {("spec.ports[0].port", INVALID), ("spec.ports[0].targetPort", INVALID)}),
    ):
        assert causes(api, path, spec) == wanted, spec


@behaviour(922, "What is said of load balancers is said of Services of that type", source="Service: loadBalancerClass")
def test_balancers(api: Api) -> None:
    path, ports = api.core("services"), [{"port": 80}]
    ranges = "spec.LoadBalancerSourceRanges"
    for spec, wanted in (
        ({"allocateLoadBalancerNodePorts": False}, {("spec.allocateLoadBalancerNodePorts", FORBIDDEN)}),
        ({"loadBalancerClass": "a"}, {("spec.loadBalancerClass", FORBIDDEN)}),
        ({"loadBalancerSourceRanges": ["x"]}, {(ranges, FORBIDDEN), (f"{ranges}[0]", INVALID)}),
        ({"type": "LoadBalancer", "loadBalancerSourceRanges": ["x"]}, {(f"{ranges}[0]", INVALID)}),
        ({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}, set()),
        ({"healthCheckNodePort": 30000}, {("spec.healthCheckNodePort", INVALID)}),
        ({"trafficDistribution": "x"}, {("spec.trafficDistribution", UNSUPPORTED)}),
    ):
        assert causes(api, path, {"ports": ports, **spec}) == wanted, spec


@behaviour(
    923,
    "How long a client stays with a pod is from one second to a day, and nothing where it does not",
    source="Service: sessionAffinityConfig",
)
def test_affinity_seconds(api: Api) -> None:
    path = api.core("services")

    def spec(affinity: str, seconds: int) -> Any:
        config = {"clientIP": {"timeoutSeconds": seconds}}
        return {"ports": [{"port": 80}], "sessionAffinity": affinity, "sessionAffinityConfig": config}

    wrong = {("spec.sessionAffinityConfig.clientIP.timeoutSeconds", INVALID)}
    assert [causes(api, path, spec("ClientIP", seconds)) for seconds in (0, 86401)] == [wrong, wrong]
    made = api.create(path, {"metadata": {"name": "a"}, "spec": spec("None", 10)})
    assert "sessionAffinityConfig" not in made["spec"]


@behaviour(924, "A host of an Ingress may stand for all that are below another", source="Ingress: hostname wildcards")
def test_wildcards(api: Api) -> None:
    path = api.path("networking.k8s.io/v1", "ingresses")
    backend = {"service": {"name": "a", "port": {"number": 80}}}
    assert causes(api, path, {"rules": [{"host": "*.example.com"}], "tls": [{"hosts": ["*.example.com"]}]}) == set()
    for host in ("*a", "a.*", "*"):
        assert causes(api, path, {"rules": [{"host": host}]}) == {("spec.rules[0].host", INVALID)}
        spec = {"defaultBackend": backend, "tls": [{"hosts": [host]}]}
        assert causes(api, path, spec) == {("spec.tls[0].hosts[0]", INVALID)}


@behaviour(
    925,
    "The old annotation of an Ingress's class is warned of, and agrees with the class",
    source="Ingress: deprecated annotation",
)
def test_class_annotation(api: Api) -> None:
    path = api.path("networking.k8s.io/v1", "ingresses")
    metadata = {"name": "a", "annotations": {"kubernetes.io/ingress.class": "a"}}
    spec = {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}
    made = api("POST", f"{path}?dryRun=All", {"metadata": metadata, "spec": spec})
    why = "annotation \\\"kubernetes.io/ingress.class\\\" is deprecated, please use 'spec.ingressClassName' instead"
    assert (made.status, made.warnings) == (201, [why])
    found = causes(api, path, {**spec, "ingressClassName": "b"}, metadata=metadata)
    assert found == {("annotations.kubernetes.io/ingress.class", INVALID)}


@behaviour(
    926, "The time for progress is longer than that for being ready", source="Deployment: progressDeadlineSeconds"
)
def test_progress(api: Api) -> None:
    path = api.path("apps/v1", "deployments")
    for deadline, ready, good in ((5, 5, False), (0, 0, False), (6, 5, True)):
        spec = deployment(progressDeadlineSeconds=deadline, minReadySeconds=ready)["spec"]
        assert causes(api, path, spec) == (set() if good else {("spec.progressDeadlineSeconds", INVALID)})


@behaviour(
    927,
    "Labels of a template are named without its metadata; a selector that is none is one cause more",
    source=OBSERVED,
)
def test_template_labels(api: Api) -> None:
    path = api.path("apps/v1", "deployments")
    spec = deployment()["spec"]
    template = {**spec["template"], "metadata": {"labels": {"a": "b", "x y": "z"}}}
    assert causes(api, path, {**spec, "template": template}) == {("spec.template.labels", INVALID)}
    selector = {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}
    found = causes(api, path, {**spec, "selector": selector})
    assert found == {("spec.selector", INVALID), ("spec.selector.matchExpressions[0].values", FORBIDDEN)}


@behaviour(
    928,
    "A volume has a size, nothing but a size, and more than none; a local one has nodes",
    source="PersistentVolume: capacity",
)
def test_capacity(api: Api) -> None:
    base = {"accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}, "capacity": {"storage": "1Gi"}}
    local = {**base, "local": {"path": "/a"}}
    del local["hostPath"]
    for spec, wanted in (
        ({**base, "capacity": {"cpu": "1"}}, {("spec.capacity", UNSUPPORTED)}),
        ({**base, "capacity": {"storage": "0"}}, {("spec.capacity[storage]", INVALID)}),
        ({**base, "hostPath": {"path": "/a/../b"}}, {("spec.hostPath.path", INVALID)}),
        (local, {("spec.nodeAffinity", REQUIRED)}),
    ):
        assert causes(api, "/api/v1/persistentvolumes", spec) == wanted, spec


@behaviour(
    929, "A metric of an autoscaler has one source, and a target that fits it", source="HorizontalPodAutoscaler v2"
)
def test_metrics(api: Api) -> None:
    path = api.path("autoscaling/v2", "horizontalpodautoscalers")
    at = "spec.metrics[0]"

    def resource(**target: Any) -> Any:
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}

    for metric, wanted in (
        ({"type": "Resource"}, {(f"{at}.resource", REQUIRED)}),
        (resource(type="Value", value="1"), {(f"{at}.resource.target.averageUtilization", REQUIRED)}),
        (
            resource(type="AverageValue", averageValue="1", averageUtilization=5),
            {(f"{at}.resource.target.averageValue", FORBIDDEN)},
        ),
        (resource(type="AverageValue", averageValue="-1"), {(f"{at}.resource.target.averageValue", INVALID)}),
        (
            resource(type="x", averageUtilization=5),
            {(f"{at}.resource.target.type", INVALID)},
        ),
        (resource(type="Utilization", averageUtilization=50), set()),
    ):
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}
        assert causes(api, path, {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [metric]}) == wanted, metric
    found = causes(api, path, {"maxReplicas": 0, "scaleTargetRef": target})
    assert found - {("spec.maxReplicas", REQUIRED)} == {("spec.maxReplicas", INVALID)}  # 1.36 says both


@behaviour(
    937,
    "A pod of a runtime class that is not there is forbidden, and costs what its class says",
    source="Runtime class",
)
def test_runtime_class(api: Api) -> None:
    api.furnished()
    path = f"{api.core('pods')}?dryRun=All"
    why = 'pods "p" is forbidden: pod rejected: RuntimeClass "nope" not found'
    api("POST", path, pod("p", runtimeClassName="nope")).refused(403, "Forbidden", why)
    why = 'pods "p" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead'
    api("POST", path, pod("p", overhead={"cpu": "1"})).refused(403, "Forbidden", why)
    name = api.other_name("rc")
    scheduling = {"nodeSelector": {"x": "y"}, "tolerations": [{"key": "k", "operator": "Exists"}]}
    runtime = {"metadata": {"name": name}, "handler": "h", "scheduling": scheduling}
    with api.made("/apis/node.k8s.io/v1/runtimeclasses", {**runtime, "overhead": {"podFixed": {"cpu": "10m"}}}):
        made = api.eventually(
            lambda: (found := api("POST", path, pod("p", runtimeClassName=name))).status == 201 and found.body
        )
        assert made["spec"]["overhead"] == {"cpu": "10m"}
        assert made["spec"]["nodeSelector"] == {"x": "y"}
        assert {"key": "k", "operator": "Exists"} in made["spec"]["tolerations"]


@behaviour(938, "Huge pages come whole, and beside cores or memory", source="Manage HugePages")
def test_huge_pages(api: Api) -> None:
    api.furnished()
    at = "spec.containers[0].resources"
    for resources, wanted in (
        ({"limits": {"hugepages-2Mi": "4Mi"}}, {(at, FORBIDDEN)}),
        (
            {"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}},
            {(f"{at}.limits[hugepages-2Mi]", INVALID), (f"{at}.requests[hugepages-2Mi]", INVALID)},
        ),
        ({"limits": {"hugepages-2Mi": "4Mi", "memory": "1Gi"}}, set()),
    ):
        assert causes(api, api.core("pods"), container(resources=resources)) == wanted, resources


@behaviour(939, "Rules about single fields of pods", source="API reference: PodSpec")
def test_pod_rules(api: Api) -> None:
    api.furnished()
    term = {"topologyKey": "", "labelSelector": {}}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    at = f"spec.affinity.podAntiAffinity.{required}[0].topologyKey"
    alone = {"allowPrivilegeEscalation": False, "capabilities": {"add": ["CAP_SYS_ADMIN"]}}
    unmasked = {"securityContext": {"procMount": "Unmasked"}}
    profile = {"type": "RuntimeDefault", "localhostProfile": "a"}
    inside = "spec.containers[0]"
    for spec, wanted in (
        (
            container(envFrom=[{"prefix": "a=", "configMapRef": {"name": "c"}}]),
            {(f"{inside}.envFrom[0].prefix", INVALID)},
        ),
        (container(securityContext=alone), {(f"{inside}.securityContext", INVALID)}),
        (container(**unmasked), {(f"{inside}.securityContext.procMount", INVALID)}),
        (
            {**container(), "securityContext": {"seccompProfile": profile}},
            {("spec.securityContext.seccompProfile.localhostProfile", INVALID)},
        ),
        (
            {**container(), "os": {"name": "windows"}, "securityContext": {"runAsUser": 1}},
            {("spec.securityContext.runAsUser", FORBIDDEN)},
        ),
        ({**container(), "affinity": anti}, {(at, REQUIRED), (at, INVALID)}),
        (
            {**container(), "volumes": [{"name": "a", "nfs": {"server": "s", "path": "a"}}]},
            {("spec.volumes[0].nfs.path", INVALID)},
        ),
        (
            {**container(), "volumes": [{"name": "a", "csi": {"driver": "A_"}}]},
            {("spec.volumes[0].csi.driver", INVALID)},
        ),
        (
            {**container(), "tolerations": [{"operator": "x"}]},
            {("spec.tolerations[0].operator", INVALID), ("spec.tolerations[0].operator", UNSUPPORTED)},
        ),
        ({**container(), "dnsConfig": {"searches": ["a"]}}, set()),
    ):
        assert causes(api, api.core("pods"), spec) == wanted, spec


@behaviour(
    945,
    "Amounts of resources are in thousandths at the finest, rounded up; no time to end is negative",
    source=OBSERVED,
)
def test_rounding(api: Api) -> None:
    api.furnished()
    limits = {"limits": {"cpu": "0.0001", "memory": "1Mi"}}
    body = {"metadata": {"name": "a"}, "spec": {**container(resources=limits), "terminationGracePeriodSeconds": -1}}
    made = api.create(f"{api.core('pods')}?dryRun=All", body)
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1m", "memory": "1Mi"}
    assert made["spec"]["terminationGracePeriodSeconds"] == 1


@behaviour(
    946,
    "What a pod has as a whole says of which quality its service is",
    source="Pod quality of service: pod-level resources",
)
def test_pod_quality(api: Api) -> None:
    api.furnished()
    whole = {"cpu": "1", "memory": "1Gi"}
    for resources, wanted in (
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"requests": whole, "limits": whole}, "Guaranteed"),
    ):
        body = {"metadata": {"name": "a"}, "spec": {**container(), "resources": resources}}
        assert api.create(f"{api.core('pods')}?dryRun=All", body)["status"]["qosClass"] == wanted


@behaviour(947, "Fields of features that are off are not kept", source="Feature gates; observed on 1.34.2")
def test_closed_features(api: Api) -> None:
    api.furnished()
    spec = container(lifecycle={"stopSignal": "SIGTERM"})
    made = api.create(f"{api.core('pods')}?dryRun=All", {"metadata": {"name": "a"}, "spec": spec})["spec"]
    assert "lifecycle" not in made["containers"][0]


@behaviour(948, "Small kinds have what they leave out", source=OBSERVED)
def test_small_defaults(api: Api) -> None:
    policy = {"metadata": {"name": "a"}, "spec": {"policyTypes": ["Ingress"]}}
    made = api.create(f"{api.path('networking.k8s.io/v1', 'networkpolicies')}?dryRun=All", policy)
    assert made["spec"]["podSelector"] == {}
    budget = api.create(f"{api.path('policy/v1', 'poddisruptionbudgets')}?dryRun=All", {"metadata": {"name": "a"}})
    assert budget["spec"] == {}
    path = "/apis/scheduling.k8s.io/v1/priorityclasses?dryRun=All"
    assert api.create(path, {"metadata": {"name": api.other_name()}})["value"] == 0


@behaviour(920, "Endpoints have addresses that can be reached, and ports that can be told apart", source="Endpoints")
def test_endpoints(api: Api) -> None:
    def found(**subset: Any) -> set[tuple[str, str]]:
        body = {"metadata": {"name": "a"}, "subsets": [subset]}
        answer = api("POST", f"{api.core('endpoints')}?dryRun=All", body)
        return set() if answer.status == 201 else answer.refused(422, "Invalid").causes()

    good = {"addresses": [{"ip": "1.1.1.1"}]}
    assert found(**good, ports=[{"port": 80}]) == set()
    assert found() == {("subsets[0]", REQUIRED)}
    for address in ("x", "127.0.0.1", "169.254.1.1"):
        assert found(addresses=[{"ip": address}]) == {("subsets[0].addresses[0].ip", INVALID)}
    nameless = {(f"subsets[0].ports[{index}].name", REQUIRED) for index in (0, 1)}
    assert found(**good, ports=[{"port": 80}, {"port": 81}]) == nameless


@behaviour(908, "What a secret must have is there, and a registry's configuration is one", source="Secrets: types")
def test_secret_contents(api: Api) -> None:
    def found(type_: str, **data: str) -> set[tuple[str, str]]:
        body = {"metadata": {"name": "a"}, "type": f"kubernetes.io/{type_}", "data": data}
        answer = api("POST", f"{api.core('secrets')}?dryRun=All", body)
        return set() if answer.status == 201 else answer.refused(422, "Invalid").causes()

    key = ".dockerconfigjson"
    assert found("dockerconfigjson", **{key: "e30="}) == set()
    for wrong in ("YQ==", "W10=", ""):
        assert found("dockerconfigjson", **{key: wrong}) == {(f"data[{key}]", INVALID)}
    assert found("ssh-auth", **{"ssh-privatekey": ""}) == {("data[ssh-privatekey]", REQUIRED)}


@behaviour(909, "Who a role is bound to is of a kind, and an account has a name that is one", source="RBAC: Subject")
def test_subjects(api: Api) -> None:
    path = api.path("rbac.authorization.k8s.io/v1", "rolebindings")
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}

    def found(**subject: str) -> set[tuple[str, str]]:
        body = {"metadata": {"name": "a"}, "roleRef": reference, "subjects": [subject]}
        return api("POST", f"{path}?dryRun=All", body).refused(422, "Invalid").causes()

    assert found(kind="x", name="a") == {("subjects[0].kind", UNSUPPORTED)}
    assert found() == {("subjects[0].kind", UNSUPPORTED), ("subjects[0].name", REQUIRED)}
    assert found(kind="ServiceAccount", name="A_") == {("subjects[0].name", INVALID)}
    role = {"metadata": {"name": api.other_name()}, "aggregationRule": {"clusterRoleSelectors": []}}
    answer = api("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles?dryRun=All", role).refused(422, "Invalid")
    assert answer.causes() == {("aggregationRule.clusterRoleSelectors", REQUIRED)}


@behaviour(949, "Who manages a job is a path behind a domain", source="Job: managedBy")
def test_managed_by(api: Api) -> None:
    template = {"spec": {**container(), "restartPolicy": "Never"}}
    for name, good in (("a", False), ("a.b/", False), ("a.b/c", True)):
        found = causes(api, api.path("batch/v1", "jobs"), {"template": template, "managedBy": name})
        assert found == (set() if good else {("spec.managedBy", INVALID)})
