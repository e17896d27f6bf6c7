"""A pod being created, the snapshot it refers to, and the verdict about it."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from tensorfusion.model import keys
from tensorfusion.model.core import Namespace, SizedOwner
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.providers import Providers
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.resources import Resource
from tensorfusion.model.workload import TensorFusionWorkload, WorkloadProfile
from tensorfusion.policy.admission import admit
from tensorfusion.policy.membership import default_pool
from tensorfusion.policy.resolve import DeviceCapacity
from tensorfusion.policy.verdict import Verdict

Json = dict[str, Any]


def object_of(
    type_: type[Any], name: str, *, namespace: str = "", annotations: Json | None = None, **parts: Any
) -> Any:
    meta = {"name": name, "namespace": namespace, "annotations": annotations or {}}
    return msgspec.convert({"metadata": meta, **parts}, type_)


def apply_patch(document: Json, ops: Sequence[Json]) -> Json:
    """A strict JSON patch: every parent must exist, as an API server wants it."""
    result = json.loads(json.dumps(document))  # a copy in which no two places are the same object
    for op in ops:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in op["path"].split("/")[1:]]
        target: Any = result
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        value = copy.deepcopy(op.get("value"))
        if isinstance(target, list):
            if last == "-":
                assert op["op"] == "add"
                target.append(value)
            elif op["op"] == "remove":
                del target[int(last)]
            else:
                assert op["op"] == "replace"
                target[int(last)] = value
        elif op["op"] == "remove":
            del target[last]
        else:
            assert op["op"] == "add" or last in target, op
            target[last] = value
    return result


@dataclass
class World:
    """The objects that a pod may refer to, and the capacities of the live devices."""

    pools: dict[str, GPUPool] = field(default_factory=dict)
    workloads: dict[tuple[str, str], TensorFusionWorkload] = field(default_factory=dict)
    profiles: dict[tuple[str, str], WorkloadProfile] = field(default_factory=dict)
    quotas: dict[str, GPUResourceQuota] = field(default_factory=dict)
    devices: list[DeviceCapacity] = field(default_factory=list)
    configs: list[ProviderConfig] = field(default_factory=list)
    routes: set[str] = field(default_factory=set)
    """LLMRoutes of namespace ``team``."""
    owners: dict[tuple[Resource, str], SizedOwner] = field(default_factory=dict)
    """Controllers of namespace ``team``."""
    allowed: str | None = None
    """The annotation of the namespace; None for a namespace without it."""

    def pool(self, name: str) -> GPUPool | None:
        return self.pools.get(name)

    def default_pool(self) -> GPUPool | None:
        return default_pool(self.pools.values())

    def namespace(self, name: str) -> Namespace | None:
        annotations = {} if self.allowed is None else {keys.ALLOWED_POOLS: self.allowed}
        return object_of(Namespace, name, annotations=annotations)

    def profile(self, namespace: str, name: str) -> WorkloadProfile | None:
        return self.profiles.get((namespace, name))

    def quota(self, namespace: str) -> GPUResourceQuota | None:
        return self.quotas.get(namespace)

    def workload(self, namespace: str, name: str) -> TensorFusionWorkload | None:
        return self.workloads.get((namespace, name))

    def providers(self) -> Providers:
        return Providers(self.configs)

    def has_route(self, namespace: str, name: str) -> bool:
        return namespace == "team" and name in self.routes

    def owner(self, resource: Resource, namespace: str, name: str) -> SizedOwner | None:
        return self.owners.get((resource, name)) if namespace == "team" else None

    def add_owner(self, resource: Resource, name: str, *, metadata: Json | None = None, **spec: Any) -> Json:
        """A controller, and the reference that its pods carry."""
        body = {"metadata": {"name": name, "namespace": "team", **(metadata or {})}, "spec": spec}
        self.owners[resource, name] = msgspec.convert(body, SizedOwner)
        return {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": name,
            "uid": "u1",
            "controller": True,
        }

    def add_provider(self, name: str, **spec: Any) -> None:
        self.configs.append(object_of(ProviderConfig, name, spec={"images": {"middleware": ""}, **spec}))

    def capacities_of(self, model: str) -> list[DeviceCapacity]:
        return [device for device in self.devices if device.model.startswith(model)]

    def add_pool(self, name: str, *, default: bool = False, **spec: Any) -> None:
        annotations = {keys.IS_DEFAULT_POOL: "true"} if default else {}
        self.pools[name] = object_of(GPUPool, name, annotations=annotations, spec=spec)

    def add_profile(self, name: str, **spec: Any) -> None:
        self.profiles["team", name] = object_of(WorkloadProfile, name, namespace="team", spec=spec)

    def add_workload(self, name: str, *, status: Json, **spec: Any) -> None:
        self.workloads["team", name] = object_of(TensorFusionWorkload, name, namespace="team", spec=spec, status=status)

    def set_quota(self, **spec: Any) -> None:
        self.quotas["team"] = object_of(GPUResourceQuota, "quota", namespace="team", spec=spec)

    def decide(self, pod: Json) -> Verdict:
        return admit(pod, namespace="team", seed="3d0f", snapshot=self)

    def admitted(self, pod: Json) -> Json:
        """The pod as it is stored."""
        verdict = self.decide(pod)
        assert verdict.denial is None, verdict.denial
        assert verdict.admitted
        return apply_patch(pod, verdict.ops)

    def refusal(self, pod: Json) -> str:
        verdict = self.decide(pod)
        assert verdict.denial is not None
        assert verdict.ops == ()
        assert 400 <= verdict.denial.code < 500
        assert "\n" not in verdict.denial.message
        return verdict.denial.message


@pytest.fixture
def world() -> World:
    """Pools ``shared`` (the default) and ``other``; live devices of three models."""
    made = World(
        devices=[
            DeviceCapacity("A100_SXM_80G", 312_000, 80 << 30),
            DeviceCapacity("H100_SXM", 989_000, 80 << 30),
            DeviceCapacity("H100_PCIe_80G", 756_000, 80 << 30),
        ]
    )
    made.add_pool("shared", default=True)
    made.add_pool("other")
    return made


PodMaker = Callable[..., Json]


@pytest.fixture
def pod() -> PodMaker:
    """``pod(tflops_request="10", containers=[...])``: annotations by their short names, other parts by keyword."""

    def make(
        *,
        containers: list[Json] | None = None,
        labels: Json | None = None,
        metadata: Json | None = None,
        spec: Json | None = None,
        annotations: Json | None = None,
        enabled: bool = True,
        **wishes: str,
    ) -> Json:
        written = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "trainer",
                "labels": {**({keys.ENABLED: "true"} if enabled else {}), **(labels or {})},
                "annotations": {**written, **(annotations or {})},
                **(metadata or {}),
            },
            "spec": {
                "schedulerName": "default-scheduler",
                "containers": containers if containers is not None else [{"name": "main", "image": "app"}],
                **(spec or {}),
            },
        }

    return make


@pytest.fixture
def apply() -> Callable[[Json, Sequence[Json]], Json]:
    """Apply a JSON patch."""
    return apply_patch
