"""TensorFusionConnection: one client pod and the worker that serves it over the network.

Source: TensorFusionConnection of tensor-fusion.ai/v1; ``status.conditions`` is ours, for saying why one waits.
"""

from typing import Annotated

import msgspec

from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.rules import Column, Part, Rules


class TensorFusionConnectionSpec(Part, frozen=True):
    """Who is connected to what."""

    workload_name: Annotated[str, Rules("TensorFusionWorkload of the same namespace.", required=True)] = msgspec.field(
        default="", name="workloadName"
    )
    client_pod: Annotated[str, Rules("Pod that uses the device.", required=True)] = msgspec.field(
        default="", name="clientPod"
    )


class TensorFusionConnectionStatus(Part, frozen=True):
    """The worker and how it is reached."""

    phase: Annotated[str, Rules("Pending, Running or Failed.", required=True, defaulted=False)] = "Pending"
    connection_url: Annotated[str, Rules("How the client reaches the worker.", required=True)] = msgspec.field(
        default="", name="connectionURL"
    )
    worker_name: Annotated[str, Rules("Pod of the worker.", required=True)] = msgspec.field(
        default="", name="workerName"
    )
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()


class TensorFusionConnection(Object, frozen=True):
    """One client pod and the worker that serves it over the network."""

    spec: Annotated[TensorFusionConnectionSpec, Rules("Who is connected to what.")] = msgspec.field(
        default_factory=TensorFusionConnectionSpec
    )
    status: Annotated[TensorFusionConnectionStatus, Rules("The worker and how it is reached.")] = msgspec.field(
        default_factory=TensorFusionConnectionStatus
    )


COLUMNS = (
    Column("Phase", ".status.phase"),
    Column("Connection URL", ".status.connectionURL"),
    Column("Worker Name", ".status.workerName"),
    Column("Workload Name", ".spec.workloadName"),
    Column("Client Pod", ".spec.clientPod"),
)
