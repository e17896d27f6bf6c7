"""Whether a new pod is a member of a gang, of how many, and how many of them have to start together.

Apart from the rest of admission because the size comes from elsewhere than the pod: the first of these that is stated

1. annotation ``enabled-replicas``,
2. the WorkloadProfile's ``replicas``,
3. the TensorFusionWorkload's ``replicas``,
4. the pod's controller: a Deployment's, ReplicaSet's or StatefulSet's replicas, a Job's parallelism (or completions,
   where those are fewer).

``gang-min-members`` (the profile's ``minMembers``) says how many of them start together; without it all do.

Pods that other gang schedulers' labels put into a group are a gang too, where its size is known: the number beside the
group's name, else the controller's. The objects that those schedulers keep (PodGroups) are not read.

Source: TensorFusion's gang contract. Labels of others: coscheduling (scheduler-plugins), Volcano, KAI.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.annotations import PodWishes
from tensorfusion.model.core import SizedOwner
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.workload import GangScheduling, WorkloadProfile
from tensorfusion.policy.canary import OWNERS
from tensorfusion.policy.patches import Json
from tensorfusion.policy.verdict import Missing, Snapshot, Unknown

_NAMES = (
    ("label", "scheduling.x-k8s.io/pod-group"),
    ("label", "pod-group.scheduling.sigs.k8s.io/name"),
    ("label", "pod-group.scheduling.sigs.k8s.io"),
    ("annotation", "scheduling.volcano.sh/group-name"),
    ("annotation", "scheduling.k8s.io/group-name"),
    ("annotation", "pod-group-name"),
)
"""Where other schedulers name a pod's group: coscheduling now and in older versions, Volcano, KAI."""
_SIZES = (
    ("label", "pod-group.scheduling.sigs.k8s.io/min-available"),
    ("annotation", "scheduling.volcano.sh/group-min-member"),
    ("annotation", "kai.scheduler/batch-min-member"),
)
"""Where they say on the pod how many start together."""
_STAMPS = (keys.GANG_DESIRED_MEMBERS, keys.GANG_REQUIRED_MEMBERS, keys.GANG_GROUP_KEY)
_SMALLEST = 2
_LARGEST = 100_000
_DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
"""On a ReplicaSet: how many pods its Deployment wants, while a rollout gives the ReplicaSet fewer."""


@dataclass(frozen=True, slots=True)
class GangStamps:
    """The annotations that make the pod a member of its gang; none for a pod that is in no gang."""

    annotations: Mapping[str, str]
    warnings: tuple[str, ...] = ()


NO_GANG = GangStamps({})


@dataclass(frozen=True, slots=True)
class _Group:
    """A group by another scheduler's labels. ``size`` is how many of it start together, where the pod says so."""

    name: str
    source: str
    size: int | None


@dataclass(frozen=True, slots=True)
class _Size:
    """How many members there are to be, and who says so."""

    members: int
    source: str


def gang_stamps(
    wishes: PodWishes,
    metadata: Mapping[str, Json],
    *,
    namespace: str,
    workload: str,
    profile: WorkloadProfile | None,
    snapshot: Snapshot,
) -> GangStamps:
    """What admission writes on a pod about its gang.

    Raises:
        InvalidRequest: the pod asks for a gang that cannot be, or for one of unknown size.
        Unknown: the size is said by an object that is not known yet.
    """
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    settings = profile.spec.gang_scheduling if profile is not None else None
    group = _group(labels, annotations) if wishes.gang_enabled is not False else None
    asked = wishes.gang_enabled or (wishes.gang_enabled is None and settings is not None)
    if not asked and group is None:
        _refuse_stamps(annotations)
        return NO_GANG
    desired = _desired(wishes, metadata, namespace=namespace, workload=workload, profile=profile, snapshot=snapshot)
    least = _least(wishes, settings, group)
    if not asked and group is not None:  # another scheduler's word: no reason to refuse a pod
        known = least.members if least is not None else desired.members if desired is not None else None
        if known is None:
            warning = (
                f"{group.source}: the size of group {group.name} is not known, so the pod is placed singly: "
                f"set annotation {keys.GANG_MIN_MEMBERS}"
            )
            return GangStamps({}, (warning,))
        if known < _SMALLEST:
            return NO_GANG
    if group is None and keys.WORKLOAD not in labels and _controller(metadata) is None:
        raise InvalidRequest(
            f"annotation {keys.GANG_ENABLED}: wanted a pod that others can join, found a pod without a controller: "
            f"give all members the same label {keys.WORKLOAD}, and annotation {keys.GANG_MIN_MEMBERS}"
        )
    required, wanted = _checked(least, desired, group, metadata)
    stamps = {
        keys.GANG_DESIRED_MEMBERS: str(wanted),
        keys.GANG_REQUIRED_MEMBERS: str(required),
        keys.GANG_GROUP_KEY: f"{namespace}/{group.name if group is not None else workload}",
    }
    return GangStamps(stamps | _settings(wishes, profile, settings))


def _settings(wishes: PodWishes, profile: WorkloadProfile | None, settings: GangScheduling | None) -> dict[str, str]:
    """What the profile says where the pod says nothing."""
    found: dict[str, str] = {}
    if settings is None or profile is None:
        return found
    if settings.timeout and wishes.gang_timeout is None:
        try:
            parse_duration(settings.timeout)
        except InvalidRequest as error:
            raise InvalidRequest(f"WorkloadProfile {profile.key}: gangScheduling.timeout: {error}") from error
        found[keys.GANG_TIMEOUT] = settings.timeout
    if settings.mode is not None and wishes.gang_mode is None:
        found[keys.GANG_MODE] = settings.mode.value
    return found


def _refuse_stamps(annotations: Mapping[str, Json]) -> None:
    for key in _STAMPS:
        if key in annotations:
            raise InvalidRequest(
                f'annotation {key}: wanted it unset, found {annotations[key]!r}: set {keys.GANG_ENABLED}: "true", and '
                "admission writes it"
            )


def _group(labels: Mapping[str, Json], annotations: Mapping[str, Json]) -> _Group | None:
    places = {"label": labels, "annotation": annotations}
    for where, key in _NAMES:
        name = places[where].get(key)
        if name:
            return _Group(str(name), f"{where} {key}", _size_beside(places))
    return None


def _size_beside(places: Mapping[str, Mapping[str, Json]]) -> int | None:
    for where, key in _SIZES:
        text = places[where].get(key)
        if text is None:
            continue
        size = str(text)
        if not (size.isascii() and size.isdigit() and int(size[:9]) <= _LARGEST and len(size) < 9):
            raise InvalidRequest(f"{where} {key}: wanted a whole number up to {_LARGEST}, found {size[:64]!r}")
        return int(size)
    return None


def _least(wishes: PodWishes, settings: GangScheduling | None, group: _Group | None) -> _Size | None:
    """How many start together, where somebody says so; 0 means all, and says nothing."""
    if wishes.gang_min_members is not None:
        found = _Size(wishes.gang_min_members, f"annotation {keys.GANG_MIN_MEMBERS}")
    elif settings is not None and settings.min_members is not None:
        found = _Size(settings.min_members, "gangScheduling.minMembers of the WorkloadProfile")
    elif group is not None and group.size is not None:
        found = _Size(group.size, group.source)
    else:
        return None
    return found if found.members else None


def _checked(
    least: _Size | None, desired: _Size | None, group: _Group | None, metadata: Mapping[str, Json]
) -> tuple[int, int]:
    """Required and desired members."""
    if least is None and desired is None:
        raise InvalidRequest(
            f"annotation {keys.GANG_ENABLED}: wanted a pod whose gang has a known size, found {_found(metadata)}: "
            f"cannot determine gang size: set annotation {keys.GANG_MIN_MEMBERS}, or let a Deployment, StatefulSet or "
            "Job make the pods"
        )
    if desired is None or (group is not None and least is not None):
        # a group of another scheduler may span several controllers: its own number counts
        least = least or desired
        members = max(least.members, desired.members if desired is not None else 0) if least is not None else 0
        desired = _Size(members, least.source if least is not None else "")
    if desired.members < _SMALLEST:
        raise InvalidRequest(
            f"annotation {keys.GANG_ENABLED}: wanted a gang of at least {_SMALLEST} members, found {desired.members} "
            f"({desired.source}): ask for more of them, or take the annotation away"
        )
    if least is None:
        return desired.members, desired.members
    if least.members < _SMALLEST:
        raise InvalidRequest(f"{least.source}: wanted 0 (all) or a whole number from 2, found {least.members}")
    if least.members > desired.members:
        raise InvalidRequest(
            f"{least.source}: wanted at most {desired.members} members ({desired.source}), found {least.members}"
        )
    return least.members, desired.members


def _found(metadata: Mapping[str, Json]) -> str:
    owner = _controller(metadata)
    if owner is None:
        return "a pod without a controller"
    return f"a pod of {owner.get('kind')} {owner.get('name')}, which says no number of pods"


def _desired(
    wishes: PodWishes,
    metadata: Mapping[str, Json],
    *,
    namespace: str,
    workload: str,
    profile: WorkloadProfile | None,
    snapshot: Snapshot,
) -> _Size | None:
    """How many members there are to be; None where nobody says so.

    Raises:
        Unknown: the controller is not known yet.
    """
    if wishes.enabled_replicas is not None:
        return _Size(wishes.enabled_replicas, f"annotation {keys.ENABLED_REPLICAS}")
    if profile is not None and profile.spec.replicas is not None:
        return _Size(profile.spec.replicas, f"replicas of WorkloadProfile {profile.key}")
    known = snapshot.workload(namespace, workload)
    if known is not None and known.spec.replicas is not None:
        return _Size(known.spec.replicas, f"replicas of TensorFusionWorkload {known.key}")
    owner = _controller(metadata)
    if owner is None:
        return None
    name = str(owner.get("name", ""))
    if owner.get("kind") == r.TENSOR_FUSION_WORKLOADS.kind:
        if known is None:
            raise _unknown(r.TENSOR_FUSION_WORKLOADS, namespace, name)
        return None
    resource = OWNERS.get((str(owner.get("apiVersion", "")), str(owner.get("kind", ""))))
    if resource is None or resource is r.DAEMON_SETS:
        return None
    return _size_of(resource, _owner(resource, namespace, name, snapshot), namespace, snapshot)


def _size_of(resource: r.Resource, owner: SizedOwner, namespace: str, snapshot: Snapshot) -> _Size | None:
    spec, name = owner.spec, owner.metadata.name
    source = f"{resource.kind} {name}"
    if resource is r.JOBS:
        numbers = [number for number in (spec.parallelism, spec.completions) if number is not None]
        return _Size(min(numbers), f"parallelism and completions of {source}") if numbers else None
    if resource is r.REPLICA_SETS:
        stated = owner.metadata.annotations.get(_DESIRED_REPLICAS, "")
        if stated.isascii() and stated.isdigit():
            return _Size(int(stated), f"replicas of the Deployment of {source}")
        above = owner.metadata.controller
        if above is not None and above.kind == r.DEPLOYMENTS.kind:
            found = _owner(r.DEPLOYMENTS, namespace, above.name, snapshot)
            return _size_of(r.DEPLOYMENTS, found, namespace, snapshot)
    return _Size(1 if spec.replicas is None else spec.replicas, f"replicas of {source}")


def _owner(resource: r.Resource, namespace: str, name: str, snapshot: Snapshot) -> SizedOwner:
    found = snapshot.owner(resource, namespace, name)
    if found is None:
        raise _unknown(resource, namespace, name)
    return found


def _unknown(resource: r.Resource, namespace: str, name: str) -> Unknown:
    return Unknown(
        f"annotation {keys.GANG_ENABLED}: cannot determine gang size: {resource.kind} {namespace}/{name}, the "
        f"pod's controller, does not exist",
        Missing(resource, namespace, name),
    )


def _controller(metadata: Mapping[str, Json]) -> Mapping[str, Json] | None:
    owners: Sequence[Mapping[str, Json]] = metadata.get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)
