"""A world for the workload controllers: the fake API, the controllers, and a kubelet that runs what it sees."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tensorfusion.clock import timestamp
from tensorfusion.embedded.controllers.install import install_controllers
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import DEPLOYMENTS, JOBS, PODS, REPLICA_SETS
from tensorfusion.runtime.manager import Manager
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock

NAMESPACE = "n"


def template(image: str = "v1", **labels: str) -> Raw:
    return {
        "metadata": {"labels": {"app": "web", **labels}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }


class World:
    """Pods become ready ``start_seconds`` after they were seen, and go ``stop_seconds`` after their deletion."""

    def __init__(self, *, start_seconds: float = 1.0, stop_seconds: float = 1.0) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.start_seconds = start_seconds
        self.stop_seconds = stop_seconds
        self.frozen = False
        """Whether the kubelet does nothing."""
        self._due: dict[str, float] = {}
        self._pokes = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        manager = Manager(self.api, clock=self.clock)
        install_controllers(self.api, manager, clock=self.clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(manager.run())
            await self.clock.settle()
            yield
            manager.stop()

    async def advance(self, seconds: float, *, step: float = 0.25) -> None:
        """Let time pass; the kubelet acts at every step."""
        for _ in range(max(1, round(seconds / step))):
            self.tend()
            await self.clock.advance(step)

    def tend(self) -> None:
        """What the kubelet does now."""
        if self.frozen:
            return
        now = self.clock.monotonic()
        for pod in list(self.api.objects(PODS)):
            metadata = pod["metadata"]
            stopping = bool(metadata.get("deletionTimestamp"))
            due = self._due.setdefault(
                f"{metadata['uid']}/{stopping}", now + (self.stop_seconds if stopping else self.start_seconds)
            )
            if stopping and now >= due and metadata.get("finalizers"):
                if pod["status"]["phase"] not in ("Failed", "Succeeded"):
                    self.status(metadata["name"], phase="Failed")
            elif stopping and now >= due:
                self.api.remove(PODS, metadata["name"], namespace=metadata["namespace"])
            elif not stopping and pod["status"]["phase"] == "Pending":
                if not pod["spec"].get("nodeName"):
                    patch = {"spec": {"nodeName": self.node_of(pod)}}
                    self.api.change(PODS, metadata["name"], patch, namespace=metadata["namespace"])
                if now >= due:
                    self.ready(metadata["name"])

    def node_of(self, pod: Raw) -> str:
        """Where a pod is or goes: to the node that its affinity names, or to the only one."""
        affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
        terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or []
        named: list[str] = [field["values"][0] for term in terms for field in term.get("matchFields") or ()]
        return pod["spec"].get("nodeName") or (named[0] if named else "node-1")

    def ready(self, name: str) -> None:
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(self.clock.now())}
        self.status(name, phase="Running", conditions=[condition])

    def status(self, name: str, **status: Any) -> None:
        self.api.change(PODS, name, {"status": status}, namespace=NAMESPACE, subresource="status")

    def pods(self, **labels: str) -> list[Raw]:
        """Pods that count: neither ended nor being deleted."""
        return [
            pod
            for pod in self.api.objects(PODS, labels=",".join(f"{key}={value}" for key, value in labels.items()))
            if not pod["metadata"].get("deletionTimestamp") and pod["status"]["phase"] not in ("Failed", "Succeeded")
        ]

    def ready_pods(self) -> list[Raw]:
        return [pod for pod in self.pods() if pod["status"].get("conditions")]

    # --- ReplicaSets ---

    def replica_set(self, replicas: int, name: str = "rs", **spec: Any) -> None:
        body = {
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": template(),
                **spec,
            },
        }
        self.api.seed(REPLICA_SETS, body, namespace=NAMESPACE)

    def resize(self, replicas: int) -> None:
        self.api.change(REPLICA_SETS, "rs", {"spec": {"replicas": replicas}}, namespace=NAMESPACE)

    def poke(self) -> None:
        """Make the controller look again, without anything to do."""
        self._pokes += 1
        patch = {"metadata": {"annotations": {"poked": str(self._pokes)}}}
        self.api.change(REPLICA_SETS, "rs", patch, namespace=NAMESPACE)

    def set_status(self, name: str = "rs") -> Raw:
        found: Raw = self.api.object(REPLICA_SETS, name, namespace=NAMESPACE)["status"]
        return found

    # --- Deployments ---

    def deployment(self, replicas: int, *, strategy: Raw | None = None, **spec: Any) -> None:
        body = {
            "metadata": {"name": "web", "annotations": {"kubernetes.io/change-cause": "first"}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": strategy or {"type": "RollingUpdate"},
                "template": template(),
                **spec,
            },
        }
        self.api.seed(DEPLOYMENTS, body, namespace=NAMESPACE)

    def change(self, **spec: Any) -> None:
        self.api.change(DEPLOYMENTS, "web", {"spec": spec}, namespace=NAMESPACE)

    def images(self) -> dict[str, int]:
        """How many pods run which image."""
        found: dict[str, int] = {}
        for pod in self.pods():
            image = pod["spec"]["containers"][0]["image"]
            found[image] = found.get(image, 0) + 1
        return found

    @property
    def current(self) -> Raw:
        return self.api.object(DEPLOYMENTS, "web", namespace=NAMESPACE)

    @property
    def sets(self) -> list[Raw]:
        """By revision."""
        found = self.api.objects(REPLICA_SETS)
        return sorted(found, key=lambda each: int(each["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))

    def condition(self, kind: str) -> Raw:
        return next((c for c in self.current["status"]["conditions"] if c["type"] == kind), {})

    # --- Jobs ---

    def job(self, name: str = "work", **spec: Any) -> None:
        labels = {"job-name": name}
        body = {
            "metadata": {"name": name},
            "spec": {
                "completions": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "v1"}]},
                },
                **spec,
            },
        }
        self.api.seed(JOBS, body, namespace=NAMESPACE)

    def job_status(self, name: str = "work") -> Raw:
        found: Raw = self.api.object(JOBS, name, namespace=NAMESPACE)["status"]
        return found

    def end(self, pod: Raw, phase: str = "Succeeded", *, exit_code: int = 0) -> None:
        """The pod's containers end."""
        ended = {"exitCode": exit_code, "finishedAt": timestamp(self.clock.now())}
        self.status(
            pod["metadata"]["name"], phase=phase, containerStatuses=[{"name": "c", "state": {"terminated": ended}}]
        )
