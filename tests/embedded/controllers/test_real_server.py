"""Deployments and ReplicaSets on a real kube-apiserver, judged by kubectl; with ``--real`` its own controllers run."""

from real_world import NEEDS_CONTROL_PLANE, Kubectl

pytestmark = NEEDS_CONTROL_PLANE

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: v1}]}
"""


async def test_kubectl_sees_a_deployment_live(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
    assert (await kubectl("get", "deployment", "web", "--no-headers")).split()[:4] == ["web", "3/3", "3", "3"]

    await kubectl("set", "image", "deployment/web", "c=v2")
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert await images(kubectl) == {"v2"}
    history = await kubectl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]

    await kubectl("rollout", "undo", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert await images(kubectl) == {"v1"}

    await kubectl("rollout", "pause", "deployment/web")
    await kubectl("set", "image", "deployment/web", "c=v3")
    await kubectl("scale", "deployment/web", "--replicas=5")
    await kubectl("wait", "--for=jsonpath={.status.replicas}=5", "deployment/web", "--timeout=60s")
    assert await images(kubectl) == {"v1"}
    await kubectl("rollout", "resume", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert await images(kubectl) == {"v3"}

    await kubectl("rollout", "restart", "deployment/web")
    await kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    described = await kubectl("describe", "deployment", "web")
    assert "5 desired | 5 updated | 5 total | 5 available | 0 unavailable" in described
    assert "NewReplicaSetAvailable" in described
    assert "ScalingReplicaSet" in described

    await kubectl("scale", "deployment/web", "--replicas=0")
    await kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    await kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s")
    await kubectl("delete", "deployment", "web")


async def images(kubectl: Kubectl) -> set[str]:
    """What the pods run that are not being deleted."""
    found = await kubectl.json("get", "pods", "-l", "app=web")
    return {
        pod["spec"]["containers"][0]["image"] for pod in found["items"] if not pod["metadata"].get("deletionTimestamp")
    }


async def test_a_plain_replica_set_replaces_a_deleted_pod(kubectl: Kubectl) -> None:
    manifest = MANIFEST.replace("kind: Deployment", "kind: ReplicaSet").replace("web", "plain")
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=3", "rs/plain", "--timeout=60s")
    pods = (await kubectl("get", "pods", "-l", "app=plain", "-o", "name")).split()
    await kubectl("delete", pods[0], "--wait=true")
    await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=3", "rs/plain", "--timeout=60s")
    left = (await kubectl("get", "pods", "-l", "app=plain", "-o", "name")).split()
    assert pods[0] not in left
    assert len(left) == 3
    await kubectl("delete", "rs", "plain")
