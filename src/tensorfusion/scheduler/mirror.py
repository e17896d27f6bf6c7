"""Everything but pods, as the API server tells it, applied to the columns: nodes, devices, pools, quotas and cohorts.

The one place that writes the fleet into ``scheduling.State``. Apart from the service because it decides nothing: it
applies a change and passes on what the state says it may have made possible (``hints``). Writes that change no fact
(heartbeats, the roll-ups that the operator writes because of our own placements) end here. An object that cannot be
read is logged and leaves what was known of it as it is: one odd object must not stop the fleet.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.cohort import GPUCohort
from tensorfusion.model.core import Namespace, Node, Pod
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Object
from tensorfusion.model.partitions import Profile, profile_of
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.providers import NO_PROVIDERS, Providers
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.policy.dra import dra_enabled
from tensorfusion.policy.quota_facts import cohort_facts, quota_facts
from tensorfusion.runtime.informer import Change
from tensorfusion.scheduler import feeds
from tensorfusion.scheduler.feeds import PlacementDefaults
from tensorfusion.scheduling.facts import DeviceFacts
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.state import State
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)

ObjectT = TypeVar("ObjectT", bound=Object)
FactsT = TypeVar("FactsT")


class FleetMirror:
    """Applies changes of objects to ``state``; what they may help is appended to ``hints``.

    ``natives_changed`` is called when other resources count as devices of device plugins than before.
    """

    def __init__(
        self,
        state: State,
        hints: list[Hint],
        *,
        defaults: PlacementDefaults,
        natives_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._natives_changed = natives_changed
        self._state = state
        self._hints = hints
        self._defaults = defaults
        self._templates: dict[str, SchedulingConfigTemplate] = {}
        self._pools: dict[str, GPUPool] = {}
        self._gpus: dict[str, GPU] = {}
        self._configs: dict[str, ProviderConfig] = {}
        self._providers = NO_PROVIDERS
        self._profiles: dict[tuple[str, str], Profile | None] = {}
        self._quotas: dict[str, dict[str, GPUResourceQuota]] = {}

    def node(self, change: Change[Node]) -> None:
        if change.new is None:
            self._hints += self._state.remove_node(change.key.name)
        elif (facts := _news(change, feeds.node_facts)) is not None:
            self._hints += self._state.upsert_node(facts)

    def device(self, change: Change[GPU]) -> None:
        if change.new is None:
            self._hints += self._state.remove_device(change.key.name)
        elif (facts := _news(change, self._device_facts)) is not None:
            self._hints += self._state.upsert_device(facts)
        if change.new is None:
            self._gpus.pop(change.key.name, None)
        else:
            self._gpus[change.key.name] = change.new

    @property
    def providers(self) -> Providers:
        """What the ProviderConfigs say."""
        return self._providers

    def provider(self, change: Change[ProviderConfig]) -> None:
        """What models can be cut into is looked up anew; partitions that are held keep their size."""
        if change.new is None:
            self._configs.pop(change.key.name, None)
        else:
            self._configs[change.key.name] = change.new
        natives = self._providers.native_names
        self._providers = Providers(self._configs.values())
        self._profiles.clear()
        for gpu in self._gpus.values():
            with suppress(InvalidRequest):  # told when the device came
                if (facts := self._device_facts(gpu)) is not None:
                    self._hints += self._state.upsert_device(facts)
        if self._providers.native_names != natives:
            self._natives_changed()

    def _device_facts(self, gpu: GPU) -> DeviceFacts | None:
        model = (gpu.status.vendor, gpu.status.gpu_model)
        if model not in self._profiles:
            self._profiles[model] = profile_of(self._providers, vendor=model[0], model=model[1])
        return feeds.device_facts(gpu, self._profiles[model])

    def set_defaults(self, defaults: PlacementDefaults) -> None:
        """Every pool that says nothing itself follows other defaults."""
        if defaults != self._defaults:
            self._defaults = defaults
            for pool in self._pools.values():
                self._place(pool)

    def pool(self, change: Change[GPUPool]) -> None:
        name = change.key.name
        if change.new is None:
            self._pools.pop(name, None)
            self._hints += self._state.remove_pool(name)
        else:
            self._pools[name] = change.new
            self._place(change.new)

    def template(self, change: Change[SchedulingConfigTemplate]) -> None:
        """The pools that name the template place differently from now on."""
        name = change.key.name
        if change.new is None:
            self._templates.pop(name, None)
        else:
            self._templates[name] = change.new
        for pool in self._pools.values():
            if pool.spec.scheduling_config_template == name:
                self._place(pool)

    def namespace(self, change: Change[Namespace]) -> None:
        """Its labels, which pod affinity may select by."""
        labels = change.new.metadata.labels if change.new is not None else None
        self._hints += self._state.set_namespace(change.key.name, labels)

    def dra_enabled(self, pod: Pod) -> bool:
        """Whether the pod, its pool or the pool's template asks for Dynamic Resource Allocation."""
        annotations = pod.metadata.annotations
        pool = self._pools.get(annotations.get(keys.GPU_POOL, ""))
        template = self._templates.get(pool.spec.scheduling_config_template) if pool is not None else None
        return dra_enabled(annotations, pool, template)

    def quota(self, change: Change[GPUResourceQuota]) -> None:
        """A namespace's ceilings are those of all its quotas together."""
        namespace = change.key.namespace
        quotas = self._quotas.setdefault(namespace, {})
        if change.new is None:
            quotas.pop(change.key.name, None)
        else:
            quotas[change.key.name] = change.new
        try:
            facts = quota_facts(namespace, tuple(quotas.values()))
        except InvalidRequest as error:
            log.warning("quota cannot be read: the namespace keeps its last ceilings", quota=change.key, error=error)
            return
        if facts is None:
            del self._quotas[namespace]
            self._hints += self._state.remove_quota(namespace)
        else:
            self._hints += self._state.set_quota(facts)

    def cohort(self, change: Change[GPUCohort]) -> None:
        """How the namespaces of a cohort share."""
        if change.new is None:
            self._hints += self._state.remove_cohort(change.key.name)
        elif (facts := _news(change, cohort_facts)) is not None:
            self._hints += self._state.set_cohort(facts)

    def _place(self, pool: GPUPool) -> None:
        template = self._templates.get(pool.spec.scheduling_config_template)
        self._hints += self._state.upsert_pool(feeds.pool_facts(pool, template, self._defaults))


def _news(change: Change[ObjectT], facts_of: Callable[[ObjectT], FactsT | None]) -> FactsT | None:
    """The facts of the new object; None when they are those of the old one, or cannot be read."""
    if change.new is None:
        return None
    try:
        facts = facts_of(change.new)
    except InvalidRequest as error:
        log.warning("object cannot be read: it keeps its last facts", object=change.key, error=error)
        return None
    try:
        known = None if change.old is None else facts_of(change.old)
    except InvalidRequest:
        known = None
    return None if facts == known else facts
