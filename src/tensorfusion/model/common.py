"""Enums and parts that several of our kinds share."""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.request import QoS
from tensorfusion.model.rules import Part, Rules


class PlacementMode(StrEnum):
    """Where shares go: together, apart, nodes together and devices apart, or where least is lost for what will come."""

    COMPACT_FIRST = "CompactFirst"
    LOW_LOAD_FIRST = "LowLoadFirst"
    NODE_COMPACT_GPU_LOW_LOAD = "NodeCompactGPULowLoad"
    FRAGMENTATION_AWARE = "FragmentationAware"


class IsolationPolicy(StrEnum):
    """Whether a device keeps one isolation mode or takes that of its first share."""

    STATIC = "Static"
    DYNAMIC = "Dynamic"


class UsedBy(StrEnum):
    """Which system hands a device out."""

    TENSOR_FUSION = "tensor-fusion"
    NVIDIA_DEVICE_PLUGIN = "nvidia-device-plugin"


class PodOnDevice(Part, frozen=True):
    """One pod that holds a share of a device (PodGPUInfo)."""

    name: Annotated[str, Rules("Name of the pod.")] = ""
    namespace: Annotated[str, Rules("Namespace of the pod.")] = ""
    uid: Annotated[str, Rules("UID of the pod.")] = ""
    requests: Annotated[ComputeResource | None, Rules("What the pod is guaranteed of the device.")] = None
    limits: Annotated[ComputeResource | None, Rules("What the pod may use of the device at most.")] = None
    qos: Annotated[QoS | None, Rules("Quality of service of the pod.")] = None
    is_external: Annotated[bool | None, Rules("The share was handed out by another device plugin.")] = msgspec.field(
        default=None, name="isExternal"
    )


class SecretReference(Part, frozen=True):
    """One entry of a Secret."""

    name: Annotated[str, Rules("Name of the Secret.", min_length=1)]
    namespace: Annotated[str, Rules("Namespace of the Secret.", min_length=1)]
    key: Annotated[str, Rules("Entry of the Secret.", min_length=1)]
