"""Decide about one new pod: leave it, refuse it, or say which changes make it a pod with a share of a GPU.

Pure: a pod as JSON and a snapshot of what it refers to go in, a verdict comes out. Nothing but the pod is ever written;
its workload object is made by the operator from the admitted pod. Admitting an admitted pod changes nothing.

Source: TensorFusion's admission contract. Ours: mistakes of the user are 4xx denials (upstream answers 500); modes that
this version does not have are refused instead of half carried out; ``dra-enabled`` also switches the pod on.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.annotations import PodWishes, annotations_of, parse_wishes
from tensorfusion.model.container_counts import container_counts
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.model.workload import WorkloadProfile
from tensorfusion.policy.affinity import add_node_affinity
from tensorfusion.policy.canary import canary_of
from tensorfusion.policy.container_patch import patch_containers
from tensorfusion.policy.gang import GangStamps, gang_stamps
from tensorfusion.policy.host_ports import host_port_of, wants_port
from tensorfusion.policy.injection import USED_BY_TOLERATION, container_patch_of, inject, soft_limiter, strip_native
from tensorfusion.policy.llm_route import routed
from tensorfusion.policy.migration import (
    NO_MIGRATION,
    Migration,
    asks_native,
    is_migrated,
    marked,
    native_placement,
    needs_namespace,
)
from tensorfusion.policy.misspelled import misspelled
from tensorfusion.policy.names import deployment_of, label_value, short_id
from tensorfusion.policy.patches import Json, Patch, contains
from tensorfusion.policy.recommendation import follow
from tensorfusion.policy.references import pool_of, profile_of
from tensorfusion.policy.resolve import NativeGpus, canonical, native_gpus, resolve
from tensorfusion.policy.shape import check_metadata, check_spec
from tensorfusion.policy.sidecar import inject_sidecar, sidecar
from tensorfusion.policy.verdict import (
    BAD_REQUEST,
    UNCHANGED,
    Denial,
    Missing,
    NotAllowed,
    Snapshot,
    Unknown,
    Verdict,
    forbidden,
    forged_annotation,
    one_line,
)

_COUNTED = {keys.POD_COUNTER_KEY, keys.POD_COUNTER_ID}
"""What a pod of a canary carries when it is looked at a second time."""
_UNSET_ON_NEW_PODS = keys.SYSTEM_WRITTEN | {keys.RESIZE}
_PRIORITY_CLASSES = {QoS.HIGH: keys.PRIORITY_CLASS_HIGH, QoS.CRITICAL: keys.PRIORITY_CLASS_CRITICAL}


def is_enabled(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Whether a pod wants a share: by its label, by asking for DRA, or by an annotation of the label's name.

    The label "false" switches off whatever the annotations say.
    """
    label = labels.get(keys.ENABLED)
    if label is None and annotations.get(keys.ENABLED) == "true":
        return True
    return label == "true" or (label != "false" and annotations.get(keys.DRA_ENABLED) == "true")


def admit(
    pod: Mapping[str, Json],
    *,
    namespace: str,
    seed: str,
    snapshot: Snapshot,
    migration: Migration = NO_MIGRATION,
    gateway: str | None = None,
) -> Verdict:
    """The verdict about a pod that is being created.

    ``namespace`` is where it is created (the object may leave it out); ``seed`` is the admission request's uid, from
    which the workload name of a pod without a name is made. ``migration`` says what becomes of native pods; ``gateway``
    is where the AI gateway is (see ``policy.llm_route``).
    """

    def decide(found: Mapping[str, Json]) -> Verdict:
        return _decide(found, namespace=namespace, seed=seed, snapshot=snapshot, migration=migration)

    verdict = _routed(pod, decide, namespace=namespace, snapshot=snapshot, gateway=gateway)
    metadata = _mapping(pod.get("metadata"))
    hints = misspelled(_mapping(metadata.get("labels")), _mapping(metadata.get("annotations")))
    if not hints:
        return verdict
    if verdict.denial is not None:
        told = one_line(f"{verdict.denial.message}; {hints[0]}")
        return replace(verdict, denial=replace(verdict.denial, message=told))
    return replace(verdict, warnings=(*verdict.warnings, *map(one_line, hints)))


def _decide(pod: Mapping[str, Json], *, namespace: str, seed: str, snapshot: Snapshot, migration: Migration) -> Verdict:
    try:
        check_metadata(pod)
    except InvalidRequest as error:
        return Verdict(denial=Denial(BAD_REQUEST, one_line(str(error))))
    metadata = _mapping(pod.get("metadata"))
    labels, annotations = _mapping(metadata.get("labels")), _mapping(metadata.get("annotations"))
    forged = _UNSET_ON_NEW_PODS.intersection(annotations)
    if forged:
        forged -= _carried(labels, annotations)
        if forged:
            return forged_annotation(annotations, min(forged))
    verdict = UNCHANGED
    migrated = Patch()
    native = migration.sees_native_pods and _asks_native(pod, snapshot)
    enabled = is_enabled(labels, annotations)
    if enabled or (native and migration.auto.enable):
        try:
            if not enabled and _is_migrated(labels, namespace, snapshot, migration):
                pod = marked(pod, migrated)
                labels, annotations = pod["metadata"]["labels"], pod["metadata"]["annotations"]
                enabled = True
            if enabled:
                verdict = _admit_enabled(pod, labels, annotations, namespace=namespace, seed=seed, snapshot=snapshot)
        except Unknown as error:
            return Verdict(denial=Denial(BAD_REQUEST, one_line(str(error)), error.missing))
        except NotAllowed as error:
            return forbidden(str(error))
        except InvalidRequest as error:
            return Verdict(denial=Denial(BAD_REQUEST, one_line(str(error))))
    if not verdict.admitted:
        return _native_verdict(pod, verdict, placed_by_us=native and migration.progressive)
    return replace(verdict, ops=(*migrated.ops, *verdict.ops)) if migrated.ops else verdict


def _asks_native(pod: Mapping[str, Json], snapshot: Snapshot) -> bool:
    try:
        check_spec(pod)
    except InvalidRequest:  # the API server has the better words for it, unless the pod is ours
        return False
    return asks_native(pod["spec"]["containers"], snapshot.providers())


def _is_migrated(labels: Mapping[str, str], namespace: str, snapshot: Snapshot, migration: Migration) -> bool:
    found = snapshot.namespace(namespace) if needs_namespace(migration.auto) else None
    if found is None and needs_namespace(migration.auto):
        raise Unknown(f"namespace {namespace}: is not known", Missing(r.NAMESPACES, "", namespace))
    namespace_labels = found.metadata.labels if found is not None else {}
    return is_migrated(migration.auto, labels=labels, namespace=namespace, namespace_labels=namespace_labels)


def left_native(
    pod: Mapping[str, Json],
    snapshot: Snapshot,
    *,
    namespace: str,
    migration: Migration = NO_MIGRATION,
    gateway: str | None = None,
) -> Verdict:
    """The verdict about a pod of a canary whose places are all taken."""

    def decide(found: Mapping[str, Json]) -> Verdict:
        placed_by_us = migration.progressive and _asks_native(found, snapshot)
        return _native_verdict(found, UNCHANGED, placed_by_us=placed_by_us)

    return _routed(pod, decide, namespace=namespace, snapshot=snapshot, gateway=gateway)


def _routed(
    pod: Mapping[str, Json],
    decide: Callable[[Mapping[str, Json]], Verdict],
    *,
    namespace: str,
    snapshot: Snapshot,
    gateway: str | None,
) -> Verdict:
    """The verdict about the pod with what its LLMRoute puts into it, whether it takes a share or not."""
    try:
        found = routed(pod, namespace=namespace, snapshot=snapshot, gateway=gateway)
    except Unknown as error:
        return Verdict(denial=Denial(BAD_REQUEST, one_line(str(error)), error.missing))
    except InvalidRequest as error:
        return Verdict(denial=Denial(BAD_REQUEST, one_line(str(error))))
    verdict = decide(found.pod)
    if verdict.denial is not None or not (found.ops or found.warnings):
        return verdict
    warnings = (*verdict.warnings, *map(one_line, found.warnings))
    return replace(verdict, ops=(*found.ops, *verdict.ops), warnings=warnings)


def _native_verdict(pod: Mapping[str, Json], verdict: Verdict, *, placed_by_us: bool) -> Verdict:
    """The verdict about a pod that takes no share; ``placed_by_us``: our scheduler looks after its native devices."""
    metadata = _mapping(pod.get("metadata"))
    for key in (keys.POD_COUNTER_KEY, keys.PORT_NUMBER):
        if key in (annotations := _mapping(metadata.get("annotations"))):
            return forged_annotation(annotations, key)
    if _mapping(metadata.get("labels")).get(keys.COMPONENT) == "worker":
        # Everyone downstream takes the label as the word of admission.
        return forbidden(
            f"label {keys.COMPONENT}: wanted it unset, found 'worker': set label {keys.ENABLED}: \"true\" and "
            "annotations that ask for a GPU, and the system sets it"
        )
    if placed_by_us:
        return replace(verdict, ops=tuple(native_placement(pod).ops))
    return verdict


def _carried(labels: Mapping[str, str], annotations: Mapping[str, str]) -> set[str]:
    """What only the system writes and a pod may carry all the same: it was put there when the pod was looked at first.

    Whoever carries out the verdict makes sure of that.
    """
    found = set()
    if keys.ENABLED_REPLICAS in annotations and annotations.keys() >= _COUNTED:
        found |= _COUNTED
    if labels.get(keys.HOST_PORT) == "auto":
        found.add(keys.PORT_NUMBER)
    return found


def _admit_enabled(
    pod: Mapping[str, Json],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    *,
    namespace: str,
    seed: str,
    snapshot: Snapshot,
) -> Verdict:
    check_spec(pod)
    spec = _mapping(pod.get("spec"))
    containers: list[Mapping[str, Json]] = spec["containers"]
    if spec.get("nodeName"):
        raise InvalidRequest(
            f"spec.nodeName: wanted it unset, found {spec['nodeName']!r}: a pod with a share of a GPU is placed by "
            f"{keys.SCHEDULER_NAME}; use a node selector or affinity"
        )
    wishes = parse_wishes(annotations)
    if wishes.enabled_replicas == 0:  # rollback: new pods are native again
        return UNCHANGED
    host_port = host_port_of(labels, containers, annotations) if wants_port(labels) else None
    canary = canary_of(pod, wishes.enabled_replicas) if wishes.enabled_replicas is not None else None
    profile = profile_of(wishes, namespace, snapshot)
    pool = pool_of(wishes, profile, namespace, snapshot)
    _refuse_other_modes(wishes, profile, pool)
    providers = snapshot.providers()
    native = native_gpus(containers, providers)
    injected = _injected(wishes, containers, native)
    request = resolve(
        wishes,
        pool=pool,
        profile=profile,
        quota=snapshot.quota(namespace),
        native=native,
        capacities=snapshot,
        providers=providers,
    )
    workload = labels.get(keys.WORKLOAD) or workload_name(_mapping(pod.get("metadata")), seed)
    if not wishes.dedicated_gpu:
        request = follow(request, snapshot.workload(namespace, workload))
    names = frozenset(str(container.get("name", "")) for container in containers)
    if not names & injected:
        known, asked = ", ".join(sorted(names)), ", ".join(sorted(injected))
        warning = f"annotation {keys.INJECT_CONTAINER}: wanted one of {known}, found {asked}: the pod gets no GPU"
        return Verdict(warnings=(one_line(warning),))
    _check_container_counts(annotations, names, request)
    patch = Patch()
    gang = gang_stamps(
        wishes,
        _mapping(pod.get("metadata")),
        namespace=namespace,
        workload=workload,
        profile=profile,
        snapshot=snapshot,
    )
    warnings = [*_unused(wishes, profile, labels, annotations), *gang.warnings]
    limiter = soft_limiter(pool, request.vendor, switches=wishes.disabled_features or (), providers=providers)
    hard = request.isolation is Isolation.HARD and not _is_worker(pod)  # a worker needs none beside itself
    beside = sidecar(pool, request, providers=providers) if hard else None
    _write_annotations(
        patch,
        annotations,
        wishes=wishes,
        request=request,
        injected=injected,
        native=native,
        containers=containers,
        gang=gang,
    )
    patch.merge(
        "/metadata/labels",
        labels,
        {
            keys.COMPONENT: "worker",
            keys.WORKLOAD: workload,
            keys.GPU_POOL: label_value(request.pool),
            keys.POD_TEMPLATE_HASH: _worker_hash(pod) or (limiter.hash if beside is None else beside.hash),
        },
    )
    _write_spec(patch, spec, request)
    if profile is not None and profile.spec.node_affinity is not None:
        add_node_affinity(patch, spec, profile.spec.node_affinity)
    spec = patch_containers(
        patch,
        spec,
        container_patch_of(pool),
        names=injected,
        source=f"GPUPool {pool.metadata.name}: componentConfig.client.patchToContainer",
    )
    strip_native(patch, spec["containers"], names=injected, providers=providers)
    if request.isolation is Isolation.SOFT:
        warnings += inject(patch, spec, limiter=limiter, containers=injected)
    elif beside is not None:
        warnings += inject_sidecar(patch, spec, sidecar=beside, containers=injected)
    return Verdict(
        ops=tuple(patch.ops), warnings=tuple(map(one_line, warnings)), admitted=True, canary=canary, host_port=host_port
    )


def _worker_hash(pod: Mapping[str, Json]) -> str:
    """The hash that the operator gave a worker of its own; empty for any other pod."""
    labels = _mapping(_mapping(pod.get("metadata")).get("labels"))
    return str(labels.get(keys.POD_TEMPLATE_HASH, "")) if _is_worker(pod) else ""


def _is_worker(pod: Mapping[str, Json]) -> bool:
    """Whether the operator made the pod, as a worker of a workload."""
    return any(
        owner.get("controller") and owner.get("kind") == r.TENSOR_FUSION_WORKLOADS.kind
        for owner in _mapping(pod.get("metadata")).get("ownerReferences") or ()
    )


def workload_name(metadata: Mapping[str, Json], seed: str) -> str:
    """The workload of a pod: the controller on top, else the pod itself. Fits a label."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            name = str(owner.get("name", ""))
            if owner.get("kind") == "ReplicaSet":
                name = deployment_of(name, str(_mapping(metadata.get("labels")).get("pod-template-hash", "")))
            return label_value(name)
    if metadata.get("name"):
        return label_value(str(metadata["name"]))
    head = str(metadata.get("generateName") or "pod").rstrip("-.")
    return label_value(f"{head}-{short_id(seed)}")


def _refuse_other_modes(wishes: PodWishes, profile: WorkloadProfile | None, pool: GPUPool) -> None:
    """One line for every mode of the contract that this version does not have."""
    spec = profile.spec if profile is not None else None
    beside, where = wishes.sidecar_worker, f"annotation {keys.SIDECAR_WORKER}"
    if beside is None and profile is not None and profile.spec.sidecar_worker:
        beside, where = True, f"WorkloadProfile {profile.key}: sidecarWorker"
    if beside and wishes.isolation is not Isolation.HARD:
        raise InvalidRequest(
            f"{where}: wanted false, found true: a worker stands beside the pod's containers with isolation hard only"
        )
    local, where = wishes.is_local_gpu, f"annotation {keys.IS_LOCAL_GPU}"
    if local is None and profile is not None and spec is not None and spec.is_local_gpu is not None:
        local, where = spec.is_local_gpu, f"WorkloadProfile {profile.key}: isLocalGPU"
    if local is None and pool.spec.default_using_local_gpu is not None:
        local, where = (
            pool.spec.default_using_local_gpu,
            f"GPUPool {pool.metadata.name}: defaultUsingLocalGPU (set annotation {keys.IS_LOCAL_GPU} on the pod)",
        )
    if local is False:
        raise InvalidRequest(f"{where}: wanted true, found false: this version has no remote GPUs")
    if wishes.worker_pod_template is not None:
        raise InvalidRequest(
            f"annotation {keys.WORKER_POD_TEMPLATE}: wanted it unset, found a template: it is for remote GPUs, "
            "and this pod's GPU is local"
        )


def _injected(wishes: PodWishes, containers: list[Mapping[str, Json]], native: NativeGpus) -> frozenset[str]:
    if wishes.inject_containers is not None:
        return frozenset(wishes.inject_containers)
    if len(containers) == 1:
        return frozenset((str(containers[0].get("name", "")),))
    if native.by_container:
        return frozenset(native.by_container)
    names = ", ".join(str(container.get("name", "")) for container in containers)
    raise InvalidRequest(
        f"annotation {keys.INJECT_CONTAINER}: wanted the containers that use the GPU, found none: name some of {names}"
    )


def _check_container_counts(annotations: Mapping[str, str], names: frozenset[str], request: GpuRequest) -> None:
    """What a user says about the containers' devices has to be possible when they are handed out."""
    counts = container_counts(annotations, request.count) or ()
    unknown = sorted({name for name, _ in counts} - names)
    if unknown:
        raise InvalidRequest(
            f"annotation {keys.CONTAINER_GPU_COUNT}: wanted containers of the pod ({', '.join(sorted(names))}), "
            f"found {unknown[0]!r}"
        )


def _unused(
    wishes: PodWishes, profile: WorkloadProfile | None, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> list[str]:
    """Warnings about parts of a wish that are kept on the pod but not carried out."""
    warnings = []
    if keys.ENABLED in annotations:
        warnings.append(f"annotation {keys.ENABLED}: it is a label; write it under metadata.labels")
    if wishes.dra_enabled:
        warnings.append(
            f"annotation {keys.DRA_ENABLED}: DRA fields are kept; the pod is placed by {keys.SCHEDULER_NAME}"
        )
    if wishes.partition is not None and wishes.isolation is not Isolation.PARTITIONED:
        warnings.append(f"annotation {keys.PARTITION_ID}: it counts only with isolation partitioned")
    if wishes.isolation is None and profile is not None and profile.spec.isolation is not Isolation.SOFT:
        warnings.append(
            f"WorkloadProfile {profile.key}: isolation {profile.spec.isolation.value} does not count, soft is used: "
            f"set annotation {keys.ISOLATION}"
        )
    if not wishes.autoscale and keys.AUTOSCALE_TARGET in annotations:
        warnings.append(f"annotation {keys.AUTOSCALE_TARGET}: it counts only with {keys.AUTOSCALE}")
    return warnings


def _write_annotations(
    patch: Patch,
    found: Mapping[str, str],
    *,
    wishes: PodWishes,
    request: GpuRequest,
    injected: frozenset[str],
    native: NativeGpus,
    containers: list[Mapping[str, Json]],
    gang: GangStamps,
) -> None:
    """The effective values; a text of the user that means the same stays as it is, so that applying again is calm."""
    written = canonical(wishes)
    values = {key: value for key, value in annotations_of(request).items() if written.get(key) != value}
    values[keys.IS_LOCAL_GPU] = "true"
    beside = request.isolation is Isolation.HARD
    values[keys.SIDECAR_WORKER if beside else keys.EMBEDDED_WORKER] = "true"
    if wishes.inject_containers is None:
        values[keys.INJECT_CONTAINER] = ",".join(
            name for container in containers if (name := str(container.get("name", ""))) in injected
        )
    if native.total == request.count and wishes.gpu_count is None and not request.indices:
        inner = ",".join(f'"{name}":{count}' for name, count in native.by_container.items())
        values[keys.CONTAINER_GPU_COUNT] = f"{{{inner}}}"
    values |= gang.annotations
    patch.merge("/metadata/annotations", found, values)


def _write_spec(patch: Patch, spec: Mapping[str, Json], request: GpuRequest) -> None:
    patch.set("/spec/schedulerName", spec.get("schedulerName"), keys.SCHEDULER_NAME)
    priority_class = _PRIORITY_CLASSES.get(request.qos)
    if priority_class is not None and not spec.get("priorityClassName"):
        patch.set("/spec/priorityClassName", None, priority_class)
        if "priority" in spec:  # computed for the class that the pod had before: the API server computes it again
            patch.remove("/spec/priority")
    if request.isolation is Isolation.PARTITIONED and request.vendor == "Ascend" and not spec.get("runtimeClassName"):
        patch.set("/spec/runtimeClassName", None, "ascend")
    tolerations = spec.get("tolerations")
    if not tolerations:
        patch.set("/spec/tolerations", None, [USED_BY_TOLERATION])
    elif not any(contains(one, USED_BY_TOLERATION) for one in tolerations):
        patch.set("/spec/tolerations/-", None, USED_BY_TOLERATION)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
