"""What admission decisions look up: pools, profiles, quotas and device capacities from informers, without waiting.

Apart from the service because it is the whole of what a decision may know. An object that an informer has not seen yet
is read from the API by the service and laid over this view for one decision.
"""

from collections import Counter
from collections.abc import Sequence

from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.catalogue import CATALOGUE, ModelFacts, lookup, model_matches
from tensorfusion.model.core import Namespace, SizedOwner
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.providers import Providers
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.resources import Resource
from tensorfusion.model.workload import TensorFusionWorkload, WorkloadProfile
from tensorfusion.policy.membership import default_pool
from tensorfusion.policy.quota_status import effective_quota
from tensorfusion.policy.resolve import DeviceCapacity, capacity_of
from tensorfusion.policy.verdict import Snapshot
from tensorfusion.runtime.informer import Change, Informer
from tensorfusion.units import Rounding, to_gflops

_NAMESPACE = "namespace"


class LiveModels:
    """What is known of devices: capacities of those that exist, by model, and what the ProviderConfigs say.

    For models that nobody has the ProviderConfigs and the catalogue answer.
    """

    def __init__(self, gpus: Informer[GPU], providers: Informer[ProviderConfig]) -> None:
        self._models: Counter[DeviceCapacity] = Counter()
        self._configs = providers.cache
        self._providers: Providers | None = None
        gpus.subscribe(self._apply)
        providers.subscribe(self._forget)

    def providers(self) -> Providers:
        """The ProviderConfigs as one view, made anew after one of them changed."""
        if self._providers is None:
            self._providers = Providers(self._configs.all())
        return self._providers

    def capacities_of(self, model: str) -> Sequence[DeviceCapacity]:
        """The distinct devices that a wished model may mean: the live ones, else the catalogue's."""
        live = [known for known in self._models if model_matches(model, known.model)]
        if live:
            return live
        facts = lookup(model)
        named = [facts] if facts is not None else [entry for entry in CATALOGUE if entry.family == model]
        return [DeviceCapacity(entry.model, self._compute(entry), entry.vram) for entry in named if entry.vram]

    def _compute(self, entry: ModelFacts) -> int:
        """GFLOPS of a model: the ProviderConfig's word goes before the catalogue's."""
        stated = self.providers().model(entry.full_name)
        if stated is None:
            return entry.compute
        try:
            return to_gflops(stated.fp16_tflops, Rounding.DOWN)
        except InvalidQuantity:
            return entry.compute

    def _forget(self, _: Change[ProviderConfig]) -> None:
        self._providers = None

    def _apply(self, change: Change[GPU]) -> None:
        if change.old is not None and (before := _capacity(change.old)) is not None:
            self._models[before] -= 1
            if self._models[before] <= 0:
                del self._models[before]
        if change.new is not None and (after := _capacity(change.new)) is not None:
            self._models[after] += 1


class CachedObjects:
    """The informers' view. Satisfies ``policy.admission.Snapshot``."""

    def __init__(
        self,
        *,
        pools: Informer[GPUPool],
        profiles: Informer[WorkloadProfile],
        quotas: Informer[GPUResourceQuota],
        namespaces: Informer[Namespace],
        workloads: Informer[TensorFusionWorkload],
        models: LiveModels,
    ) -> None:
        self._pools = pools.cache
        self._profiles = profiles.cache
        self._quotas = quotas.cache
        self._namespaces = namespaces.cache
        self._workloads = workloads.cache
        self._models = models
        quotas.add_index(_NAMESPACE, lambda quota: (quota.metadata.namespace,))

    def pool(self, name: str) -> GPUPool | None:
        return self._pools.get(Key("", name))

    def default_pool(self) -> GPUPool | None:
        return default_pool(self._pools.all())

    def namespace(self, name: str) -> Namespace | None:
        return self._namespaces.get(Key("", name))

    def profile(self, namespace: str, name: str) -> WorkloadProfile | None:
        return self._profiles.get(Key(namespace, name))

    def workload(self, namespace: str, name: str) -> TensorFusionWorkload | None:
        return self._workloads.get(Key(namespace, name))

    def providers(self) -> Providers:
        return self._models.providers()

    def has_route(self, namespace: str, name: str) -> bool:
        """Never known: a route is read when a pod names it, for there may be many, and their numbers change all day."""
        return False

    def owner(self, resource: Resource, namespace: str, name: str) -> SizedOwner | None:
        """Never known: controllers are read when the size of a gang depends on one, for it may change at any time."""
        return None

    def quota(self, namespace: str) -> GPUResourceQuota | None:
        return effective_quota(self._quotas.by_index(_NAMESPACE, namespace))

    def capacities_of(self, model: str) -> Sequence[DeviceCapacity]:
        return self._models.capacities_of(model)


class Overlay:
    """A view with a few objects on top that were read from the API for one decision."""

    def __init__(self, below: Snapshot) -> None:
        self._below = below
        self.pools: dict[str, GPUPool] = {}
        self.profiles: dict[Key, WorkloadProfile] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.workloads: dict[Key, TensorFusionWorkload] = {}
        self.owners: dict[tuple[Resource, Key], SizedOwner] = {}
        self.routes: set[Key] = set()

    def pool(self, name: str) -> GPUPool | None:
        return self.pools.get(name) or self._below.pool(name)

    def default_pool(self) -> GPUPool | None:
        return self._below.default_pool() or default_pool(self.pools.values())

    def namespace(self, name: str) -> Namespace | None:
        return self.namespaces.get(name) or self._below.namespace(name)

    def profile(self, namespace: str, name: str) -> WorkloadProfile | None:
        return self.profiles.get(Key(namespace, name)) or self._below.profile(namespace, name)

    def providers(self) -> Providers:
        return self._below.providers()

    def quota(self, namespace: str) -> GPUResourceQuota | None:
        return self._below.quota(namespace)

    def has_route(self, namespace: str, name: str) -> bool:
        return Key(namespace, name) in self.routes or self._below.has_route(namespace, name)

    def workload(self, namespace: str, name: str) -> TensorFusionWorkload | None:
        return self.workloads.get(Key(namespace, name)) or self._below.workload(namespace, name)

    def owner(self, resource: Resource, namespace: str, name: str) -> SizedOwner | None:
        return self.owners.get((resource, Key(namespace, name))) or self._below.owner(resource, namespace, name)

    def capacities_of(self, model: str) -> Sequence[DeviceCapacity]:
        return self._below.capacities_of(model)


def _capacity(gpu: GPU) -> DeviceCapacity | None:
    compute, vram = capacity_of(gpu.status.capacity)
    return DeviceCapacity(gpu.status.gpu_model, compute, vram) if gpu.status.gpu_model and vram else None
