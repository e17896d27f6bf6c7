"""Which worker serves a TensorFusionConnection, and what the connection's status says.

Source: TensorFusionConnection of tensor-fusion.ai/v1: the worker of the workload with the fewest connections; one that
runs is kept. Ours: only workers of the connection's own namespace count, and the condition says why one waits.
"""

from collections.abc import Iterable, Mapping

import msgspec

from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.connection import TensorFusionConnection, TensorFusionConnectionStatus
from tensorfusion.model.core import Pod
from tensorfusion.model.workload import TensorFusionWorkload
from tensorfusion.policy.conditions import set_condition

CONDITION = "ConnectionReady"
PORT = 8000


def choose_worker(
    connection: TensorFusionConnection,
    workload: TensorFusionWorkload | None,
    *,
    current: str,
    pods: Iterable[Pod],
    connections: Mapping[str, int],
) -> Pod | None:
    """The worker for a connection; None where there is none that runs.

    ``current`` is the worker that it has, ``pods`` are those of the workload, and ``connections`` counts the other
    connections by worker.
    """
    running = {pod.metadata.name: pod for pod in pods if is_worker(pod)}
    kept = running.get(current)
    if kept is not None:
        return kept
    if workload is not None and workload.spec.replicas is None:  # dynamic: a worker of the connection's own
        return running.get(connection.metadata.name)
    return min(
        running.values(), key=lambda pod: (connections.get(pod.metadata.name, 0), pod.metadata.name), default=None
    )


def is_worker(pod: Pod) -> bool:
    """Whether clients can use a pod over the network: it runs, and it is there for them and not for itself.

    A pod that the workload made is a worker; of pods that others made, one whose device is its own containers' is none.
    """
    owner = pod.metadata.controller
    made = owner is not None and owner.kind == r.TENSOR_FUSION_WORKLOADS.kind
    runs = pod.status.phase == "Running" and not pod.metadata.deleting
    return runs and (made or pod.metadata.annotations.get(keys.EMBEDDED_WORKER) != "true")


def connected(
    connection: TensorFusionConnection, worker: Pod, address: str, *, now: str
) -> TensorFusionConnectionStatus:
    """The status of a connection with a worker at an IP address."""
    name = worker.metadata.name
    url = connection.status.connection_url
    if connection.status.worker_name != name or not url.startswith(f"native+{address}+{PORT}+{name}-"):
        url = f"native+{address}+{PORT}+{name}-{worker.metadata.resource_version}"
    conditions = set_condition(
        connection.status.conditions,
        CONDITION,
        "True",
        reason="ConnectionReady",
        message=f"worker {name} serves the connection",
        now=now,
        generation=connection.metadata.generation,
    )
    return msgspec.structs.replace(
        connection.status, phase="Running", connection_url=url, worker_name=name, conditions=conditions
    )


def waiting(
    connection: TensorFusionConnection, workload: TensorFusionWorkload | None, *, now: str
) -> TensorFusionConnectionStatus:
    """The status of a connection without a worker: Failed where it had one, else Pending, and why."""
    lost = connection.status.worker_name
    wanted = f"{connection.metadata.namespace}/{connection.spec.workload_name}"
    if workload is None:
        reason, message = "WorkloadNotFound", f"TensorFusionWorkload {wanted} does not exist: create it"
    elif workload.spec.replicas is None:
        reason = "NotServedYet"
        message = (
            f"TensorFusionWorkload {wanted} has no fixed replicas, and this version makes no worker for one "
            "connection: set spec.replicas"
        )
    elif workload.spec.replicas == 0:
        reason, message = "ScaledToZero", f"TensorFusionWorkload {wanted} has 0 replicas: raise spec.replicas"
    else:
        reason, message = "WorkerSelectionFailed", f"no worker of TensorFusionWorkload {wanted} runs"
    if lost:
        message = f"worker {lost} no longer runs; {message}"
    conditions = set_condition(
        connection.status.conditions,
        CONDITION,
        "False",
        reason=reason,
        message=message,
        now=now,
        generation=connection.metadata.generation,
    )
    return msgspec.structs.replace(
        connection.status,
        phase="Failed" if lost else "Pending",
        connection_url="",
        worker_name=lost,
        conditions=conditions,
    )
