"""GPUNodeClaim: a wish for one machine from a provider.

Source: GPUNodeClaim of tensor-fusion.ai/v1; ``status.conditions`` is ours, for saying why a claim does not go on.
"""

from typing import Annotated

import msgspec

from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.pool_nodes import NodeClassRef
from tensorfusion.model.rules import Column, Count, Part, Quantity, Rules


class GPUNodeClaimSpec(Part, frozen=True):
    """Which machine is wanted, and what it brings."""

    node_name: Annotated[str, Rules("Name that the node will have.")] = msgspec.field(default="", name="nodeName")
    region: Annotated[str, Rules("Region of the machine.")] = ""
    zone: Annotated[str, Rules("Zone of the machine.")] = ""
    instance_type: Annotated[str, Rules("Type of the machine, in the provider's words.")] = msgspec.field(
        default="", name="instanceType"
    )
    node_class_ref: Annotated[NodeClassRef | None, Rules("Template that the machine is made from.")] = msgspec.field(
        default=None, name="nodeClassRef"
    )
    capacity_type: Annotated[str, Rules("OnDemand, Reserved or Spot.")] = msgspec.field(default="", name="capacityType")
    tflops_offered: Annotated[Quantity, Rules("Compute that the machine brings, in TFLOPS.", required=True)] = (
        msgspec.field(default="", name="tflopsOffered")
    )
    vram_offered: Annotated[Quantity, Rules("Device memory that the machine brings.", required=True)] = msgspec.field(
        default="", name="vramOffered"
    )
    gpu_device_offered: Annotated[Count, Rules("Devices that the machine brings.", required=True, defaulted=False)] = (
        msgspec.field(default=0, name="gpuDeviceOffered")
    )
    extra_params: Annotated[dict[str, str], Rules("More parameters of the provider.")] = msgspec.field(
        default_factory=dict, name="extraParams"
    )


class GPUNodeClaimStatus(Part, frozen=True):
    """How far the machine has come."""

    phase: Annotated[str, Rules("Pending, Creating once it is asked for, Bound once its node runs.", required=True)] = (
        "Pending"
    )
    instance_id: Annotated[str, Rules("The machine, in the provider's words.")] = msgspec.field(
        default="", name="instanceID"
    )
    conditions: Annotated[tuple[Condition, ...], Rules("Details of the phase.", map_key="type")] = ()


class GPUNodeClaim(Object, frozen=True):
    """A wish for one machine from a provider."""

    spec: Annotated[GPUNodeClaimSpec, Rules("Which machine is wanted.")] = msgspec.field(
        default_factory=GPUNodeClaimSpec
    )
    status: Annotated[GPUNodeClaimStatus, Rules("How far the machine has come.")] = msgspec.field(
        default_factory=GPUNodeClaimStatus
    )


COLUMNS = (Column("Phase", ".status.phase"),)
