"""Make a TensorFusionWorkload of each group of admitted pods, and keep its spec and status; keep the worker pods of
workloads that users made with a fixed number of replicas.

Admission writes nothing but the pod, so the object that stands for the group is made here, from the label that
admission gave its pods. It belongs to what stands above the pods and goes with it: the Deployment, any other
controller, or the pod itself.

Source: TensorFusionWorkload of tensor-fusion.ai/v1; spec and status are decided in ``policy.workload``.
"""

from contextlib import suppress

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import AlreadyExists, InvalidRequest, NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.annotations import request_of
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Object, OwnerReference, Raw
from tensorfusion.model.template import SchedulingConfigTemplate
from tensorfusion.model.wire import merge_patch, to_wire
from tensorfusion.model.workload import TensorFusionWorkload, TensorFusionWorkloadStatus, WorkloadProfileSpec
from tensorfusion.operator.fleet import Fleet
from tensorfusion.operator.rollup import RollUp
from tensorfusion.operator.worker_pods import WorkerPods
from tensorfusion.operator.workers import Workers
from tensorfusion.policy.gang_status import gang_of_pod, gang_status, seconds_to_timeout, with_gang
from tensorfusion.policy.membership import default_pool
from tensorfusion.policy.names import label_value
from tensorfusion.policy.worker import is_fixed, wanted_workers
from tensorfusion.policy.workload import is_dynamic, workload_spec, workload_status
from tensorfusion.runtime.budget import Budget
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

_RATE, _BURST = 20.0, 20.0

log = get_logger(__name__)


class WorkloadReconciler:
    """Key: namespace and name of a workload. Creations share a budget, status goes through the roll-up."""

    def __init__(
        self,
        fleet: Fleet,
        workers: Workers,
        manager: Manager,
        *,
        worker_pods: WorkerPods,
        rollup: RollUp,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._workers = workers
        self._worker_pods = worker_pods
        self._client: Api = manager.client
        self._rollup = rollup
        self._clock = clock
        self._budget = Budget(clock, rate=_RATE, burst=_BURST)
        self.workloads = manager.informer(r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload).cache
        self._templates = manager.informer(r.SCHEDULING_CONFIG_TEMPLATES, SchedulingConfigTemplate).cache

    async def reconcile(self, key: Key) -> Result:
        await self._rollup.room()
        found = self.workloads.get(key)
        pod = self._workers.newest(key)
        if found is None:
            if pod is not None and not pod.metadata.deleting and not _made_here(pod):
                await self._create(key, pod)
            return DONE
        if found.metadata.deleting:
            self._worker_pods.forget(found)
            return DONE
        if is_fixed(found):
            return await self._keep_workers(found)
        if pod is not None and is_dynamic(found.metadata.annotations):
            await self._update_spec(found, pod)
        template_hash = pod.metadata.labels.get(keys.POD_TEMPLATE_HASH, "") if pod is not None else ""
        status = workload_status(
            found.status,
            self._workers.counts(key),
            replicas=found.spec.replicas,
            template_hash=template_hash or found.status.pod_template_hash,
            now=timestamp(self._clock.now()),
        )
        return self._submit(found, status)

    def _submit(self, found: TensorFusionWorkload, status: TensorFusionWorkloadStatus) -> Result:
        """Write the status, with how far the gang has come where the workload is one."""
        key, wanted = found.key, found.spec.gang_scheduling
        gang = gang_of_pod(self._workers.newest(key))
        look_again = None
        if gang is not None or wanted is not None or status.gang is not None:
            now, pods = timestamp(self._clock.now()), self._workers.pods(key)
            status = with_gang(status, gang_status(status.gang, gang, pods, workload=key, wanted=wanted, now=now))
            look_again = seconds_to_timeout(gang, pods, now=now)
        submitted = self._rollup.submit(r.TENSOR_FUSION_WORKLOADS, key, old=found.status, new=status)
        if look_again is None or (submitted.requeue_after is not None and submitted.requeue_after < look_again):
            return submitted
        return Result(requeue_after=look_again)

    async def _keep_workers(self, found: TensorFusionWorkload) -> Result:
        """The pods of a fixed workload are ours to make."""
        pools = self._fleet.pools
        name = found.spec.pool_name
        pool = pools.get(Key("", name)) if name else default_pool(pools.all())
        kept = await self._worker_pods.keep(found, pool)
        status = workload_status(
            found.status,
            kept.counts,
            replicas=wanted_workers(found),
            template_hash=kept.template_hash or found.status.pod_template_hash,
            now=timestamp(self._clock.now()),
            failure=kept.failure,
        )
        submitted = self._submit(found, status)
        return submitted if kept.again is None else Result(requeue_after=kept.again)

    async def _create(self, key: Key, pod: Pod) -> None:
        spec = self._spec(pod)
        if spec is None:
            return
        await self._budget.wait()
        body = {
            "apiVersion": r.TENSOR_FUSION_WORKLOADS.api_version,
            "kind": r.TENSOR_FUSION_WORKLOADS.kind,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "labels": {keys.GPU_POOL: label_value(spec.pool_name)},
                "annotations": {keys.WORKLOAD_MODE: "dynamic"},
                "ownerReferences": [_reference(await self._top(pod))],
            },
            "spec": to_wire(spec),
        }
        with suppress(AlreadyExists, NotFound):  # made meanwhile; or the namespace is going
            await self._client.create(r.TENSOR_FUSION_WORKLOADS, body, namespace=key.namespace)

    async def _update_spec(self, found: TensorFusionWorkload, pod: Pod) -> None:
        spec = self._spec(pod)
        if spec is None:
            return
        patch = merge_patch(to_wire(found.spec), to_wire(spec))
        patch.pop("replicas", None)  # not ours: a user or the autoscaler may set it
        if patch:
            await self._budget.wait()
            with suppress(NotFound):
                await self._client.patch(
                    r.TENSOR_FUSION_WORKLOADS,
                    found.metadata.name,
                    {"spec": patch},
                    namespace=found.metadata.namespace,
                )

    def _spec(self, pod: Pod) -> WorkloadProfileSpec | None:
        labels, annotations = pod.metadata.labels, pod.metadata.annotations
        try:
            request = request_of(annotations, labels)
            if request is None:
                return None
            pool = self._fleet.pools.get(Key("", request.pool))
            template = self._templates.get(Key("", pool.spec.scheduling_config_template)) if pool is not None else None
            return workload_spec(request, labels=labels, annotations=annotations, template=template)
        except InvalidRequest as error:
            log.warning("an admitted pod's annotations cannot be read", pod=pod.key, error=error)
            return None

    async def _top(self, pod: Pod) -> OwnerReference:
        """What stands above the pod: the Deployment of a ReplicaSet, else the controller, else the pod itself."""
        owner = pod.metadata.controller
        if owner is None:
            return OwnerReference(
                api_version=r.PODS.api_version, kind=r.PODS.kind, name=pod.metadata.name, uid=pod.metadata.uid
            )
        if owner.kind == r.REPLICA_SETS.kind:
            try:
                replica_set = await self._client.get(
                    r.REPLICA_SETS, Object, owner.name, namespace=pod.metadata.namespace
                )
            except NotFound:
                return owner
            return replica_set.metadata.controller or owner
        return owner


def _made_here(pod: Pod) -> bool:
    """Whether the pod is a worker of a workload that is gone, on its way to the garbage collector."""
    owner = pod.metadata.controller
    return owner is not None and owner.kind == r.TENSOR_FUSION_WORKLOADS.kind


def _reference(owner: OwnerReference) -> Raw:
    return {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
