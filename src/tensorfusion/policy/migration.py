"""What becomes of pods that ask for native GPUs and do not say that they want a share.

Two settings of the cluster's owner. *Auto migration* gives them a whole device of ours instead, by rules. *Progressive
migration* leaves them native, and only has our scheduler place them: it knows where shares are held.

Source: TensorFusion's admission contract (auto migration, progressive migration).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.dynamic_config import AutoMigration, RuleSet
from tensorfusion.model.providers import Providers
from tensorfusion.model.request import Isolation
from tensorfusion.policy.patches import Json, Patch
from tensorfusion.policy.resolve import native_gpus


@dataclass(frozen=True, slots=True)
class Migration:
    """The settings in force."""

    progressive: bool = False
    auto: AutoMigration = AutoMigration()  # noqa: RUF009  (frozen)

    @property
    def sees_native_pods(self) -> bool:
        """Whether pods without a key of ours are any of our business."""
        return self.progressive or self.auto.enable


NO_MIGRATION = Migration()


def asks_native(containers: Sequence[Mapping[str, Json]], providers: Providers) -> bool:
    """Whether any container asks a vendor's own device plugin for devices."""
    try:
        return native_gpus(containers, providers).total > 0
    except InvalidRequest:  # the API server has the better words for it
        return False


def needs_namespace(auto: AutoMigration) -> bool:
    """Whether the rules look at the labels of the pod's namespace."""
    scope = auto.scope
    sides = (scope.includes, scope.excludes) if scope is not None else ()
    return any(rules is not None and rules.namespace_selector is not None for rules in sides)


def is_migrated(
    auto: AutoMigration, *, labels: Mapping[str, str], namespace: str, namespace_labels: Mapping[str, str]
) -> bool:
    """Whether the rules give a native pod a share. The label enabled="false" always says no."""
    if not auto.enable or labels.get(keys.ENABLED) == "false":
        return False
    scope = auto.scope
    if scope is None:
        return True

    def matches(rules: RuleSet) -> bool:
        return (
            namespace in rules.namespace_names
            or (rules.namespace_selector is not None and rules.namespace_selector.matches(namespace_labels))
            or (rules.pod_selector is not None and rules.pod_selector.matches(labels))
        )

    if scope.excludes is not None and matches(scope.excludes):
        return False
    return scope.includes is None or matches(scope.includes)


def marked(pod: Mapping[str, Json], patch: Patch) -> Mapping[str, Json]:
    """The pod as if its owner had enabled it, with the operations that make it so."""
    metadata: dict[str, Json] = dict(pod.get("metadata") or {})
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    more = {} if keys.ISOLATION in annotations else {keys.ISOLATION: Isolation.SHARED.value}
    patch.merge("/metadata/labels", labels, {keys.ENABLED: "true"})
    patch.merge("/metadata/annotations", annotations, more)
    metadata["labels"] = {**labels, keys.ENABLED: "true"}
    metadata["annotations"] = {**annotations, **more}
    return {**pod, "metadata": metadata}


def native_placement(pod: Mapping[str, Json]) -> Patch:
    """The one change of a pod that stays native under progressive migration."""
    patch = Patch()
    spec = pod.get("spec") or {}
    patch.set("/spec/schedulerName", spec.get("schedulerName"), keys.SCHEDULER_NAME)
    return patch
