"""Give each TensorFusionConnection a worker of its workload, and say in its status which, or why none.

The worker's name goes into a label first and into the status then, so that whoever counts connections never sees fewer
than there are.

Source: TensorFusionConnection of tensor-fusion.ai/v1; the choice is made in ``policy.connection``.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import NotFound
from tensorfusion.kube.api import Api
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.connection import TensorFusionConnection, TensorFusionConnectionStatus
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Key, Object
from tensorfusion.model.wire import to_wire
from tensorfusion.model.workload import TensorFusionWorkload
from tensorfusion.operator.workers import Workers
from tensorfusion.policy.connection import CONDITION, choose_worker, connected, waiting
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.writer import StatusWriter

_LOOK_AGAIN = Result(requeue_after=6.0)
_WORKLOAD = "operator/workload"


class _Address(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    pod_ip: str = msgspec.field(default="", name="podIP")


class _Reachable(Object, frozen=True):
    status: _Address = msgspec.field(default_factory=_Address)


class ConnectionReconciler:
    """Key: a connection."""

    def __init__(
        self, workers: Workers, manager: Manager, writer: StatusWriter, *, recorder: EventRecorder, clock: Clock
    ) -> None:
        self._workers = workers
        self._client: Api = manager.client
        self._writer = writer
        self._recorder = recorder
        self._clock = clock
        connections = manager.informer(r.TENSOR_FUSION_CONNECTIONS, TensorFusionConnection)
        connections.add_index(_WORKLOAD, lambda one: (f"{one.metadata.namespace}/{one.spec.workload_name}",))
        self.connections = connections.cache
        self._workloads = manager.informer(r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload).cache
        self._chosen: dict[Key, str] = {}
        """Workers that were chosen and do not stand in the status yet."""

    def ask_about(self, workload: Key, ask: Callable[[Key], None]) -> None:
        """Ask for the connections of a workload whose workers changed."""
        if len(self.connections):
            for connection in self.connections.by_index(_WORKLOAD, str(workload)):
                ask(connection.key)

    async def reconcile(self, key: Key) -> Result:
        connection = self.connections.get(key)
        if connection is None or connection.metadata.deleting:
            self._chosen.pop(key, None)
            return DONE
        if self._chosen.get(key) == connection.status.worker_name:
            del self._chosen[key]
        workload_key = Key(key.namespace, connection.spec.workload_name)
        workload = self._workloads.get(workload_key)
        others = self.connections.by_index(_WORKLOAD, str(workload_key))
        counts = Counter(self._worker_of(one) for one in others if one.key != key)
        worker = choose_worker(
            connection,
            workload,
            current=self._worker_of(connection),
            pods=self._workers.pods(workload_key),
            connections=counts,
        )
        address = await self._address(worker) if worker is not None else ""
        now = timestamp(self._clock.now())
        if worker is None or not address:
            self._chosen.pop(key, None)
            status = waiting(connection, workload, now=now)
            self._tell_why(connection, status)
            self._write(connection, status)
            return _LOOK_AGAIN
        is_new = self._worker_of(connection) != worker.metadata.name
        self._chosen[key] = worker.metadata.name
        await self._label(connection, workload=workload_key.name, worker=worker.metadata.name)
        status = connected(connection, worker, address, now=now)
        if is_new:
            self._record(connection, EventType.NORMAL, "WorkerSelected", f"worker {status.worker_name}")
            self._record(connection, EventType.NORMAL, "ConnectionReady", f"reached at {status.connection_url}")
        self._write(connection, status)
        return DONE

    def _tell_why(self, connection: TensorFusionConnection, status: TensorFusionConnectionStatus) -> None:
        """Say once for each reason why there is no worker."""
        before = {one.type: one.message for one in connection.status.conditions}
        for condition in status.conditions:
            if condition.type == CONDITION and before.get(CONDITION) != condition.message:
                self._record(connection, EventType.WARNING, "WorkerSelectionFailed", condition.message)

    def _record(self, connection: TensorFusionConnection, type_: EventType, reason: str, message: str) -> None:
        reference = reference_to(r.TENSOR_FUSION_CONNECTIONS, connection)
        self._recorder.record(reference, type_=type_, reason=reason, message=message)

    def _worker_of(self, connection: TensorFusionConnection) -> str:
        """The worker that serves a connection, also while its status has yet to say so."""
        status = connection.status
        return self._chosen.get(connection.key) or (status.worker_name if status.phase == "Running" else "")

    async def _address(self, worker: Pod) -> str:
        try:
            found = await self._client.get(
                r.PODS, _Reachable, worker.metadata.name, namespace=worker.metadata.namespace
            )
        except NotFound:
            return ""
        return found.status.pod_ip

    async def _label(self, connection: TensorFusionConnection, *, workload: str, worker: str) -> None:
        wanted = {keys.WORKLOAD: workload, keys.WORKER_NAME: worker}
        if all(connection.metadata.labels.get(key) == value for key, value in wanted.items()):
            return
        with suppress(NotFound):
            await self._client.patch(
                r.TENSOR_FUSION_CONNECTIONS,
                connection.metadata.name,
                {"metadata": {"labels": wanted}},
                namespace=connection.metadata.namespace,
            )

    def _write(self, connection: TensorFusionConnection, status: TensorFusionConnectionStatus) -> None:
        """The whole status: the schema requires parts that have no default there."""
        if status != connection.status:
            self._writer.submit(r.TENSOR_FUSION_CONNECTIONS, connection.key, {"status": to_wire(status)}, urgent=True)
