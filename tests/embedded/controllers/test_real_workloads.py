"""The other workloads on a real kube-apiserver, judged by kubectl; with ``--real`` on kube-controller-manager."""

from typing import Any

import pytest
from real_world import ASSETS, NEEDS_CONTROL_PLANE, Kubectl

from tensorfusion.testing.control_plane import kubernetes_version

pytestmark = NEEDS_CONTROL_PLANE

STATEFUL_SET = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {team: a}}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: w, port: 80, targetPort: http}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 3
  selector: {matchLabels: {app: web}}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Delete}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: v1, ports: [{name: http, containerPort: 8080}]}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


async def images(kubectl: Kubectl, app: str) -> dict[str, str]:
    found = await kubectl.items("pods", "-l", f"app={app}")
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in found}


async def test_a_stateful_set_is_made_rolled_and_scaled_in_order(
    kubectl: Kubectl, request: pytest.FixtureRequest
) -> None:
    await kubectl("apply", "-f", "-", stdin=STATEFUL_SET)
    await kubectl("rollout", "status", "sts/web", "--timeout=60s")
    pods = await kubectl.items("pods", "-l", "app=web", "--sort-by=.metadata.creationTimestamp")
    assert [pod["metadata"]["name"] for pod in pods] == ["web-0", "web-1", "web-2"]
    first = pods[0]
    assert (first["spec"]["hostname"], first["spec"]["subdomain"]) == ("web-0", "web")
    assert first["metadata"]["generateName"] == "web-"
    labels = first["metadata"]["labels"]
    assert (labels["apps.kubernetes.io/pod-index"], labels["statefulset.kubernetes.io/pod-name"]) == ("0", "web-0")
    volumes = [volume for volume in first["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    assert volumes == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}]
    status = (await kubectl.json("get", "sts", "web"))["status"]
    revision = status["currentRevision"]
    assert labels["controller-revision-hash"] == revision
    assert status == {
        "availableReplicas": 3,
        "collisionCount": 0,
        "currentReplicas": 3,
        "currentRevision": revision,
        "observedGeneration": 1,
        "readyReplicas": 3,
        "replicas": 3,
        "updateRevision": revision,
        "updatedReplicas": 3,
    }

    await kubectl("patch", "sts", "web", "-p", '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}')
    await kubectl("set", "image", "sts/web", "c=v2")
    await kubectl("rollout", "status", "sts/web", "--timeout=60s")
    assert await images(kubectl, "web") == {"web-0": "v1", "web-1": "v1", "web-2": "v2"}
    status = (await kubectl.json("get", "sts", "web"))["status"]
    assert (status["currentReplicas"], status["updatedReplicas"]) == (2, 1)
    assert status["currentRevision"] == revision != status["updateRevision"]

    await kubectl("patch", "sts", "web", "-p", '{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}')
    await kubectl("rollout", "status", "sts/web", "--timeout=60s")
    assert set((await images(kubectl, "web")).values()) == {"v2"}
    history = await kubectl("rollout", "history", "sts/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]
    await kubectl("rollout", "undo", "sts/web")
    await kubectl("rollout", "status", "sts/web", "--timeout=60s")
    assert set((await images(kubectl, "web")).values()) == {"v1"}
    history = await kubectl("rollout", "history", "sts/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]

    await kubectl("scale", "sts", "web", "--replicas=1")
    await kubectl("wait", "--for=delete", "pod/web-1", "pod/web-2", "--timeout=60s")
    await kubectl.until("sts/web", ".status.replicas", "1")
    messages = {
        reason: message for _, reason, message in await kubectl.events("web", "SuccessfulCreate", "SuccessfulDelete")
    }
    theirs = request.config.getoption("--real") and kubernetes_version(ASSETS) >= (1, 36)
    create, delete = ("Create", "Delete") if theirs else ("create", "delete")  # 1.34 writes its verbs small, as we do
    assert messages["SuccessfulCreate"].startswith(f"{create} ")
    assert messages["SuccessfulDelete"].startswith(f"{delete} Pod web-")
    assert messages["SuccessfulDelete"].endswith(" in StatefulSet web successful")
    assert "Pods Status:" in await kubectl("describe", "sts", "web")


async def test_the_claim_of_a_pod_that_is_scaled_away_goes_with_it(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=STATEFUL_SET.replace("replicas: 3", "replicas: 1"))
    await kubectl("rollout", "status", "sts/web", "--timeout=60s")
    await kubectl("annotate", "pod", "web-0", "keep=true")
    claim = await kubectl.json("get", "pvc", "data-web-0")
    assert claim["metadata"]["labels"] == {"app": "web"}
    assert "ownerReferences" not in claim["metadata"]
    await kubectl("patch", "pod", "web-0", "-p", '{"metadata":{"finalizers":["test.example/hold"]}}')
    await kubectl("scale", "sts", "web", "--replicas=0")
    await kubectl("wait", "--for=jsonpath={.metadata.ownerReferences[0].kind}=Pod", "pvc/data-web-0", "--timeout=60s")
    (owner,) = (await kubectl.json("get", "pvc", "data-web-0"))["metadata"]["ownerReferences"]
    assert {key: owner.get(key) for key in ("apiVersion", "kind", "name", "controller", "blockOwnerDeletion")} == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "web-0",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    await kubectl("patch", "pod", "web-0", "-p", '{"metadata":{"finalizers":null}}')


async def test_a_parallel_stateful_set_starts_at_its_first_ordinal_and_waits_for_nobody(kubectl: Kubectl) -> None:
    manifest = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: par}
spec:
  replicas: 3
  ordinals: {start: 5}
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: par}}
  template:
    metadata: {labels: {app: par}, annotations: {stay: pending}}
    spec: {containers: [{name: c, image: v1}]}
"""
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl.until("sts/par", ".status.replicas", "3")
    assert sorted(await images(kubectl, "par")) == ["par-5", "par-6", "par-7"]


DAEMON_SET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: v1}]}
"""


async def test_a_daemon_set_has_a_pod_on_every_node_that_it_selects(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DAEMON_SET)
    await kubectl("rollout", "status", "ds/agent", "--timeout=60s")
    pods = await kubectl.items("pods", "-l", "app=agent")
    assert sorted(pod["spec"]["nodeName"] for pod in pods) == ["n1", "n2"]
    assert (await kubectl.json("get", "ds", "agent"))["status"] == {
        "currentNumberScheduled": 2,
        "desiredNumberScheduled": 2,
        "numberAvailable": 2,
        "numberMisscheduled": 0,
        "numberReady": 2,
        "observedGeneration": 1,
        "updatedNumberScheduled": 2,
    }
    tolerated = {(each["key"].removeprefix("node.kubernetes.io/"), each["effect"]) for each in tolerations(pods[0])}
    assert tolerated == {
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    }
    assert pods[0]["metadata"]["labels"]["pod-template-generation"] == "1"

    await kubectl("set", "image", "ds/agent", "c=v2")
    await kubectl("rollout", "status", "ds/agent", "--timeout=60s")
    assert set((await images(kubectl, "agent")).values()) == {"v2"}
    await kubectl("rollout", "undo", "ds/agent")
    await kubectl("rollout", "status", "ds/agent", "--timeout=60s")
    assert set((await images(kubectl, "agent")).values()) == {"v1"}

    selector = '{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"n2"}}}}}'
    await kubectl("patch", "ds", "agent", "-p", selector)
    await kubectl("rollout", "status", "ds/agent", "--timeout=60s")
    await kubectl.until("ds/agent", ".status.currentNumberScheduled", "1")
    described = await kubectl("describe", "ds", "agent")
    assert "Desired Number of Nodes Scheduled: 1" in described
    assert "SuccessfulCreate" in described
    await kubectl("delete", "ds", "agent", "--wait=false")


def tolerations(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in pod["spec"]["tolerations"] if not each.get("tolerationSeconds")]


async def test_a_surging_daemon_set_starts_the_new_pod_before_the_old_one_goes(kubectl: Kubectl) -> None:
    strategy = "  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n  template:"
    await kubectl("apply", "-f", "-", stdin=DAEMON_SET.replace("agent", "surge").replace("  template:", strategy))
    await kubectl("rollout", "status", "ds/surge", "--timeout=60s")
    await kubectl("set", "image", "ds/surge", "c=v2")
    await kubectl("rollout", "status", "ds/surge", "--timeout=60s")
    await kubectl.until("ds/surge", ".status.updatedNumberScheduled", "2")
    await kubectl("delete", "ds", "surge", "--wait=false")


async def test_endpoints_follow_the_pods_of_a_service(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=STATEFUL_SET.replace("replicas: 3", "replicas: 2"))
    await kubectl("rollout", "status", "sts/web", "--timeout=60s")
    await kubectl(
        "wait",
        "--for=jsonpath={.endpoints[1].conditions.ready}=true",
        "endpointslice",
        "-l",
        "kubernetes.io/service-name=web",
        "--timeout=60s",
    )
    (found,) = await kubectl.items("endpointslices", "-l", "kubernetes.io/service-name=web")
    pods = {pod["metadata"]["name"]: pod for pod in await kubectl.items("pods", "-l", "app=web")}
    assert found["metadata"]["labels"] == {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "web",
        "service.kubernetes.io/headless": "",
        "team": "a",
    }
    assert found["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert found["ports"] == [{"name": "w", "port": 8080, "protocol": "TCP"}]
    assert sorted(found["endpoints"], key=lambda each: str(each["hostname"])) == [
        {
            "addresses": [pods[name]["status"]["podIP"]],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "hostname": name,
            "nodeName": "n1",
            "targetRef": {
                "kind": "Pod",
                "name": name,
                "namespace": kubectl.namespace,
                "uid": pods[name]["metadata"]["uid"],
            },
        }
        for name in ("web-0", "web-1")
    ]
    await kubectl.until("endpoints/web", ".subsets[0].addresses[1].hostname", "web-1")
    endpoints = await kubectl.json("get", "endpoints", "web")
    assert endpoints["metadata"]["labels"] == {
        "endpoints.kubernetes.io/managed-by": "endpoint-controller",
        "service.kubernetes.io/headless": "",
        "team": "a",
    }
    (subset,) = endpoints["subsets"]
    assert subset["ports"] == [{"name": "w", "port": 8080, "protocol": "TCP"}]
    assert {address["hostname"] for address in subset["addresses"]} == {"web-0", "web-1"}
    await kubectl("delete", "service", "web")
    await kubectl("wait", "--for=delete", "endpoints/web", "--timeout=60s")


async def test_a_service_without_pods_has_an_empty_slice(kubectl: Kubectl) -> None:
    manifest = """
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nothing}, ports: [{port: 80}]}
"""
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl("wait", "--for=create", "endpointslice", "-l", "kubernetes.io/service-name=empty", "--timeout=60s")
    (found,) = await kubectl.items("endpointslices", "-l", "kubernetes.io/service-name=empty")
    assert not found.get("endpoints")
    assert not found.get("ports")
    await kubectl("wait", "--for=create", "endpoints/empty", "--timeout=60s")
    assert "subsets" not in await kubectl.json("get", "endpoints", "empty")


async def test_a_disruption_budget_says_how_many_pods_may_go(kubectl: Kubectl) -> None:
    manifest = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: half}
spec: {minAvailable: 50%, selector: {matchLabels: {app: app}}}
"""
    deployment = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: c, image: v1}]}
"""
    await kubectl("apply", "-f", "-", stdin=manifest)
    assert ("Normal", "NoPods", "No matching pods found") in await kubectl.events("half", "NoPods")
    await kubectl("apply", "-f", "-", stdin=deployment)
    await kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    await kubectl.until("pdb/half", ".status.disruptionsAllowed", "1")
    status = (await kubectl.json("get", "pdb", "half"))["status"]
    (condition,) = status.pop("conditions")
    assert status == {
        "currentHealthy": 3,
        "desiredHealthy": 2,
        "disruptionsAllowed": 1,
        "expectedPods": 3,
        "observedGeneration": 1,
    }
    assert condition.pop("lastTransitionTime")
    assert condition == {
        "type": "DisruptionAllowed",
        "status": "True",
        "reason": "SufficientPods",
        "message": "",
        "observedGeneration": 1,
    }
    await kubectl("patch", "pdb", "half", "--type=merge", "-p", '{"spec":{"minAvailable":null,"maxUnavailable":0}}')
    await kubectl.until("pdb/half", ".status.disruptionsAllowed", "0")
    status = (await kubectl.json("get", "pdb", "half"))["status"]
    assert (status["desiredHealthy"], status["conditions"][0]["reason"]) == (3, "InsufficientPods")


async def test_a_pod_gets_the_resource_claim_of_its_template(kubectl: Kubectl) -> None:
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: claimer, annotations: {stay: pending}}
spec:
  containers: [{name: c, image: v1}]
  resourceClaims: [{name: g, resourceClaimTemplateName: gpu}]
"""
    template = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: gpu}
spec: {metadata: {labels: {l: v}}, spec: {devices: {requests: [{name: g, exactly: {deviceClassName: x}}]}}}
"""
    await kubectl("apply", "-f", "-", stdin=pod)
    await kubectl("apply", "-f", "-", stdin=template)
    await kubectl(
        "wait", "--for=jsonpath={.status.resourceClaimStatuses[0].resourceClaimName}", "pod/claimer", "--timeout=60s"
    )
    found = await kubectl.json("get", "pod", "claimer")
    (status,) = found["status"]["resourceClaimStatuses"]
    claim = await kubectl.json("get", "resourceclaim", status["resourceClaimName"])
    assert status["name"] == "g"
    assert claim["metadata"]["generateName"] == "claimer-g-"
    assert claim["metadata"]["labels"] == {"l": "v"}
    assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "g"}
    (owner,) = claim["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", found["metadata"]["uid"], True)
    assert claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == "x"


CRON_JOB = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  suspend: true
  jobTemplate:
    metadata: {labels: {a: b}}
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: v1}]}}}
"""


async def test_a_job_made_by_hand_from_a_cron_job_belongs_to_it(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=CRON_JOB)
    await kubectl("create", "job", "now", "--from=cronjob/tick")
    await kubectl.until("job/now", ".status.ready", "1")
    await kubectl("annotate", "pod", "-l", "job-name=now", "simulated.tensor-fusion.ai/run-for=0s")
    await kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=60s")
    await kubectl("wait", "--for=jsonpath={.status.lastSuccessfulTime}", "cronjob/tick", "--timeout=60s")
    message = "Saw a job that the controller did not create or forgot: now"
    assert ("Warning", "UnexpectedJob", message) in await kubectl.events("tick", "UnexpectedJob")
