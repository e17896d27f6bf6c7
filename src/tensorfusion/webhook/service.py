"""The admission service: routes that decide from caches, and read through to the API where a cache is behind.

``kubectl apply`` of one file posts a pod within milliseconds of its pool, before any watch can have told us about the
pool. An object that a decision misses is therefore read once before the pod is refused for it.

The epoch fence lives in ``webhook/fence``: while the leader's Lease as the informer saw it cannot have passed to
anybody else, a Binding costs no read; after that the Lease is read before the answer.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from tensorfusion.errors import ApiError, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Lease, Namespace, Pod, SizedOwner
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Key, Object, Raw
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.workload import TensorFusionWorkload, WorkloadProfile
from tensorfusion.policy.admission import admit, left_native
from tensorfusion.policy.canary import OWNERS, Canary, reservation_id
from tensorfusion.policy.guards import (
    CONFLICT,
    Accounts,
    BindingTruth,
    PodTruth,
    epoch_of,
    review_binding,
    review_decision,
    review_foreign_binding,
    review_term,
    review_update,
    term_of,
)
from tensorfusion.policy.host_ports import DEFAULT_RANGE, HostPort
from tensorfusion.policy.migration import NO_MIGRATION, Migration
from tensorfusion.policy.patches import Patch
from tensorfusion.policy.shards import shard_lease
from tensorfusion.policy.verdict import Denial, Missing, Snapshot, Verdict, forged_annotation, one_line
from tensorfusion.runtime.admission import AdmissionApp, AdmissionRequest, AdmissionResponse
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.metrics import counter, histogram
from tensorfusion.webhook.canary import CanaryGate, NoAnswer, Place, marks
from tensorfusion.webhook.fence import Fence
from tensorfusion.webhook.host_ports import Assignments
from tensorfusion.webhook.lookup import CachedObjects, LiveModels, Overlay
from tensorfusion.webhook.resizing import Judge, Resizing, unjudged

MUTATE_POD = "/mutate-v1-pod"
RESIZE_POD = "/resize-v1-pod"
VALIDATE_POD = "/validate-v1-pod"
VALIDATE_BINDING = "/validate-v1-binding"

_SIZED = frozenset((*OWNERS.values(), r.DEPLOYMENTS))
"""Controllers whose number of pods is the size of a gang."""
_UNAVAILABLE = 503
_READS = 6
_ALLOWED = AdmissionResponse(allowed=True)

ADMISSIONS = counter("tensorfusion_admissions_total", "Admission answers.", ("webhook", "result"))
SECONDS = histogram(
    "tensorfusion_admission_seconds",
    "Time of one admission decision.",
    ("webhook",),
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 1.0, 10.0),
)

Decide = Callable[[AdmissionRequest], Awaitable[AdmissionResponse]]


class Webhook:
    """Registers its informers with a manager; ``app`` is served by whoever composes the process.

    ``lease`` names the scheduler's Lease, whose transitions are the epoch. ``judge`` says whether a pod's devices have
    room for other amounts, where this process knows. ``gateway`` is the URL of the AI gateway; empty: there is none.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        accounts: Accounts | None = None,
        judge: Judge = unjudged,
        migration: Callable[[], Migration] = lambda: NO_MIGRATION,
        gateway: Callable[[], str] = lambda: "",
        assignments: Assignments | None = None,
        lease: Key = Key(keys.SYSTEM_NAMESPACE, keys.LEADER_LEASE),  # noqa: B008  (frozen)
    ) -> None:
        self._client: Api = manager.client
        self._accounts = accounts or Accounts()
        self._snapshot = CachedObjects(
            pools=manager.informer(r.GPU_POOLS, GPUPool),
            profiles=manager.informer(r.WORKLOAD_PROFILES, WorkloadProfile),
            quotas=manager.informer(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota),
            namespaces=manager.informer(r.NAMESPACES, Namespace),
            workloads=manager.informer(r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload),
            models=LiveModels(manager.informer(r.GPUS, GPU), manager.informer(r.PROVIDER_CONFIGS, ProviderConfig)),
        )
        self._migration = migration
        self._gateway = gateway
        self._clock = manager.clock
        self._assignments = assignments or Assignments(manager.client, DEFAULT_RANGE, clock=manager.clock)
        self._gate = CanaryGate(manager.client, clock=manager.clock)
        self._resizing = Resizing(judge)
        self.fence = Fence()
        leases = manager.informer(r.LEASES, Lease, namespace=lease.namespace, fields=f"metadata.name={lease.name}")
        leases.subscribe(lambda change: self.fence.saw_lease(change.new))
        self._lease = lease
        self._shards: dict[str, Fence] = {}
        """By the name of a shard's Lease; read when a Binding in its name comes, and not followed."""
        self.app = AdmissionApp(
            {
                MUTATE_POD: _measured("mutate-pod", self.mutate_pod),
                RESIZE_POD: _measured("resize-pod", self._resizing.review),
                VALIDATE_POD: _measured("validate-pod", self.validate_pod),
                VALIDATE_BINDING: _measured("validate-binding", self.validate_binding),
            }
        )

    async def mutate_pod(self, request: AdmissionRequest) -> AdmissionResponse:
        """Decide about a pod that is being created."""
        pod = request.object or {}
        snapshot: Snapshot = self._snapshot
        overlay: Overlay | None = None
        migration, gateway = self._migration(), self._gateway()
        for _ in range(_READS):
            verdict = admit(
                pod,
                namespace=request.namespace,
                seed=request.uid,
                snapshot=snapshot,
                migration=migration,
                gateway=gateway,
            )
            missing = verdict.denial.missing if verdict.denial is not None else None
            if missing is None:
                break
            snapshot = overlay = overlay or Overlay(self._snapshot)
            try:
                if not await self._read(missing, overlay):
                    break
            except ApiError as error:
                message = f"{missing.resource.kind} {missing.name or '(default)'} could not be read, try again: {error}"
                return AdmissionResponse(allowed=False, code=_UNAVAILABLE, message=message)
        if verdict.canary is not None:
            try:
                verdict = await self._count(verdict, verdict.canary, pod, request, snapshot)
            except NoAnswer as error:
                message = (
                    f"annotation {keys.ENABLED_REPLICAS}: it cannot be said yet whether this pod is one of the "
                    f"enabled ones: {error}; create it again"
                )
                return AdmissionResponse(allowed=False, code=_UNAVAILABLE, message=one_line(message))
        if verdict.host_port is not None:
            try:
                verdict = await self._give_port(verdict, verdict.host_port, pod, request)
            except ApiError as error:
                message = f"label {keys.HOST_PORT}: no host port could be assigned, try again: {error}"
                return AdmissionResponse(allowed=False, code=_UNAVAILABLE, message=one_line(message))
        if verdict.denial is not None:
            return _denied(verdict.denial)
        return AdmissionResponse(allowed=True, patch=verdict.ops, warnings=verdict.warnings)

    async def _give_port(self, verdict: Verdict, wish: HostPort, pod: Raw, request: AdmissionRequest) -> Verdict:
        """The verdict with a host port of the cluster's range."""
        annotations = _mapping(_mapping(pod.get("metadata")).get("annotations"))
        dry_run = bool(request.dry_run)
        if keys.PORT_NUMBER in annotations:
            port = wish.claimed
            if port is None or wish.found != port or not (dry_run or await self._assignments.is_reserved(port)):
                return forged_annotation(annotations, keys.PORT_NUMBER)
            return verdict
        port = await self._assignments.host_port(reservation_id(request.uid), dry_run=dry_run)
        patch = Patch()
        patch.ops.extend(verdict.ops)
        patch.set(wish.path, wish.found, port)
        patch.merge("/metadata/annotations", annotations, {keys.PORT_NUMBER: str(port)})
        return replace(verdict, ops=tuple(patch.ops))

    async def _count(
        self, verdict: Verdict, canary: Canary, pod: Raw, request: AdmissionRequest, snapshot: Snapshot
    ) -> Verdict:
        """What becomes of an admitted pod of a canary: the only thing that admission writes beside the pod."""
        place, id_ = await self._gate.enter(
            canary, request.namespace, request_uid=request.uid, dry_run=bool(request.dry_run)
        )
        annotations = _mapping(_mapping(pod.get("metadata")).get("annotations"))
        match place:
            case Place.TAKEN:
                patch = Patch()
                patch.ops.extend(verdict.ops)
                patch.merge("/metadata/annotations", annotations, marks(canary, id_))
                return replace(verdict, ops=tuple(patch.ops))
            case Place.FULL:
                return left_native(
                    pod, snapshot, namespace=request.namespace, migration=self._migration(), gateway=self._gateway()
                )
            case Place.FORGED:
                return forged_annotation(annotations, keys.POD_COUNTER_ID)

    async def validate_pod(self, request: AdmissionRequest) -> AdmissionResponse:
        """Guard what only the system writes on an existing pod."""
        old, new, user = _truth(request.old_object), _truth(request.object), request.user.username
        if user in self._accounts.scheduler:
            pod = f"{request.namespace}/{request.name}"
            denial = None
            if _answers(old, new):
                denial = review_decision(new.annotations, pod=pod, epoch=self.fence.epoch)
                term = term_of(new.annotations)
                if denial is None and term is not None:
                    try:
                        denial = await self._review_term(new.annotations, term[0], pod=pod)
                    except ApiError as error:
                        return _unreadable(Key(self._lease.namespace, shard_lease(term[0])), error)
        else:
            denial = review_update(old, new, user=user, accounts=self._accounts)
        return _ALLOWED if denial is None else _denied(denial)

    async def validate_binding(self, request: AdmissionRequest) -> AdmissionResponse:
        """Guard Bindings: who may bind which pod, and from which epoch."""
        body = request.object or {}
        metadata = _mapping(body.get("metadata"))
        name = request.name or str(metadata.get("name", ""))
        binding = BindingTruth(
            pod=f"{request.namespace}/{name}",
            node=str(_mapping(body.get("target")).get("name", "")),
            annotations=_mapping(metadata.get("annotations")),
        )
        user = request.user.username
        carries_epoch = user in self._accounts.scheduler and keys.SCHEDULER_EPOCH in binding.annotations
        if carries_epoch and not self.fence.is_certain(self._clock.now()):
            try:
                self.fence.saw_lease(await self._read_lease(self._lease))
            except ApiError as error:
                return _unreadable(self._lease, error)
            overdue = self.fence.overdue(self._clock.now())
            if overdue is not None:
                return _denied(Denial(CONFLICT, f"binding of pod {binding.pod}: {overdue}"))
        denial = review_binding(binding, user=user, accounts=self._accounts, epoch=self.fence.epoch)
        if denial is None and carries_epoch and keys.SCHEDULER_SHARD in binding.annotations:
            term = term_of(binding.annotations)
            shard = term[0] if term is not None else ""
            try:
                denial = await self._review_term(binding.annotations, shard, pod=binding.pod)
            except ApiError as error:
                return _unreadable(Key(self._lease.namespace, shard_lease(shard)), error)
        if denial is not None:
            return _denied(denial)
        if user in self._accounts.scheduler:
            epoch = epoch_of(binding.annotations)
            if epoch is not None:
                self.fence.saw_epoch(epoch)
            return _ALLOWED
        try:
            pod = await self._client.get(r.PODS, Pod, name, namespace=request.namespace)
        except NotFound:
            return _ALLOWED  # the API server has the better words for it
        except ApiError as error:
            return AdmissionResponse(
                allowed=False, code=_UNAVAILABLE, message=f"pod {binding.pod} could not be read, try again: {error}"
            )
        truth = PodTruth(pod.metadata.labels, pod.metadata.annotations, pod.spec.scheduler_name)
        denial = review_foreign_binding(binding, truth, user=user)
        return _ALLOWED if denial is None else _denied(denial)

    async def _review_term(self, annotations: Mapping[str, str], shard: str, *, pod: str) -> Denial | None:
        """Whether what was decided in a shard's name still counts.

        Raises:
            ApiError: the shard's Lease cannot be read.
        """
        fence = self._shards.setdefault(shard_lease(shard), Fence())
        if not fence.is_certain(self._clock.now()):
            fence.saw_lease(await self._read_lease(Key(self._lease.namespace, shard_lease(shard))))
            overdue = fence.overdue(self._clock.now())
            if overdue is not None:
                return Denial(CONFLICT, f"pod {pod}: {overdue}")
        denial = review_term(annotations, pod=pod, epoch=fence.epoch)
        term = term_of(annotations)
        if denial is None and term is not None:
            fence.saw_epoch(term[1])
        return denial

    async def _read_lease(self, lease: Key) -> Lease | None:
        try:
            return await self._client.get(r.LEASES, Lease, lease.name, namespace=lease.namespace)
        except NotFound:
            return None

    async def _read(self, missing: Missing, overlay: Overlay) -> bool:
        """Read a missing object from the API; False where it does not exist there either."""
        try:
            if missing.resource is r.WORKLOAD_PROFILES:
                profile = await self._client.get(
                    r.WORKLOAD_PROFILES, WorkloadProfile, missing.name, namespace=missing.namespace
                )
                overlay.profiles[profile.key] = profile
                return True
            if missing.resource is r.TENSOR_FUSION_WORKLOADS:
                workload = await self._client.get(
                    r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload, missing.name, namespace=missing.namespace
                )
                overlay.workloads[workload.key] = workload
                return True
            if missing.resource is r.LLM_ROUTES:
                route = await self._client.get(r.LLM_ROUTES, Object, missing.name, namespace=missing.namespace)
                overlay.routes.add(route.key)
                return True
            if missing.resource in _SIZED:
                owner = await self._client.get(missing.resource, SizedOwner, missing.name, namespace=missing.namespace)
                overlay.owners[missing.resource, owner.key] = owner
                return True
            if missing.resource is r.NAMESPACES:
                overlay.namespaces[missing.name] = await self._client.get(r.NAMESPACES, Namespace, missing.name)
                return True
            if missing.name:
                pool = await self._client.get(r.GPU_POOLS, GPUPool, missing.name)
                overlay.pools[pool.metadata.name] = pool
                return True
        except NotFound:
            return False
        listing = await self._client.list(r.GPU_POOLS, GPUPool)
        overlay.pools |= {pool.metadata.name: pool for pool in listing.items}
        return overlay.default_pool() is not None


def _measured(name: str, decide: Decide) -> Decide:
    async def measured(request: AdmissionRequest) -> AdmissionResponse:
        started = time.perf_counter()
        result = "error"
        try:
            answer = await decide(request)
            result = ("changed" if answer.patch else "allowed") if answer.allowed else "denied"
            return answer
        finally:
            SECONDS.labels(name).observe(time.perf_counter() - started)
            ADMISSIONS.labels(name, result).inc()

    return measured


def _unreadable(lease: Key, error: ApiError) -> AdmissionResponse:
    message = f"Lease {lease} could not be read, try again: {error}"
    return AdmissionResponse(allowed=False, code=_UNAVAILABLE, message=message)


def _denied(denial: Denial) -> AdmissionResponse:
    return AdmissionResponse(allowed=False, code=denial.code, message=denial.message)


def _answers(old: PodTruth, new: PodTruth) -> bool:
    """The change takes a wish for other amounts away: it is the scheduler's answer."""
    return keys.RESIZE in old.annotations and keys.RESIZE not in new.annotations


def _mapping(value: object) -> Raw:
    return value if isinstance(value, dict) else {}


def _truth(pod: Raw | None) -> PodTruth:
    metadata = _mapping((pod or {}).get("metadata"))
    spec = _mapping((pod or {}).get("spec"))
    return PodTruth(
        _mapping(metadata.get("labels")), _mapping(metadata.get("annotations")), str(spec.get("schedulerName", ""))
    )
