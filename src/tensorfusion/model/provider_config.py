"""ProviderConfig: what is to know of one vendor's devices - images, resource names, models and partitions.

Source: ProviderConfig of tensor-fusion.ai/v1. The kind has no status. What is shipped is in ``provider_defaults``.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.meta import Object
from tensorfusion.model.rules import Column, Part, Quantity, Rules, UInt32, UInt64


class IsolationGroupSharing(StrEnum):
    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class ProviderImages(Part, frozen=True):
    """Images for the vendor's devices; they go before those of a pool."""

    middleware: Annotated[str, Rules("Limiter and vendor library.", required=True)] = ""
    remote_client: Annotated[str, Rules("Client library of remote devices.")] = msgspec.field(
        default="", name="remoteClient"
    )
    remote_worker: Annotated[str, Rules("Worker of remote devices.")] = msgspec.field(default="", name="remoteWorker")


class EnvVar(Part, frozen=True):
    """One environment variable."""

    name: Annotated[str, Rules("Name of the variable.")]
    value: Annotated[str, Rules("Value of the variable.")] = ""


class HostPathMount(Part, frozen=True):
    """One folder of the node in the node agent."""

    name: Annotated[str, Rules("Name of the volume.")]
    host_path: Annotated[str, Rules("Folder on the node.")] = msgspec.field(name="hostPath")
    mount_path: Annotated[str, Rules("Where the agent sees it.")] = msgspec.field(name="mountPath")
    read_only: Annotated[bool | None, Rules("The agent only reads it.")] = msgspec.field(default=None, name="readOnly")


class DeviceMount(Part, frozen=True):
    """Device files that a pod with a share gets."""

    device_mount_rule: Annotated[str, Rules("CEL expression: files of a whole device.")] = msgspec.field(
        default="", name="deviceMountRule"
    )
    partitioned_device_mount_rule: Annotated[str, Rules("CEL expression: files of a partition.")] = msgspec.field(
        default="", name="partitionedDeviceMountRule"
    )
    shared_devices: Annotated[tuple[str, ...], Rules("Files that every pod gets: paths or globs.")] = msgspec.field(
        default=(), name="sharedDevices"
    )


class ProviderHypervisor(Part, frozen=True):
    """What the node agent needs on nodes of the vendor."""

    privileged_hypervisor: Annotated[bool | None, Rules("The agent runs privileged.")] = msgspec.field(
        default=None, name="privilegedHypervisor"
    )
    ld_library_path: Annotated[str, Rules("Appended to LD_LIBRARY_PATH.")] = msgspec.field(
        default="", name="ldLibraryPath"
    )
    extra_env: Annotated[tuple[EnvVar, ...], Rules("More environment of the agent.")] = msgspec.field(
        default=(), name="extraEnv"
    )
    host_path_mounts: Annotated[tuple[HostPathMount, ...], Rules("Folders of the node in the agent.")] = msgspec.field(
        default=(), name="hostPathMounts"
    )
    device_mount: Annotated[DeviceMount | None, Rules("Device files that pods get.")] = msgspec.field(
        default=None, name="deviceMount"
    )


class HardwareModel(Part, frozen=True):
    """One model of device."""

    model: Annotated[str, Rules("Short name of the model.")]
    full_model_name: Annotated[str, Rules("Name that the driver reports.")] = msgspec.field(name="fullModelName")
    fp16_tflops: Annotated[Quantity, Rules("Compute in TFLOPS, FP16 without sparsity.")] = msgspec.field(
        name="fp16TFlops"
    )
    cost_per_hour: Annotated[str, Rules("Dollars an hour.")] = msgspec.field(default="", name="costPerHour")
    max_partitions: Annotated[UInt32 | None, Rules("Partitions of one device at most.")] = msgspec.field(
        default=None, name="maxPartitions"
    )
    max_placement_slots: Annotated[UInt32 | None, Rules("Slots that partitions take.")] = msgspec.field(
        default=None, name="maxPlacementSlots"
    )
    max_isolation_groups: Annotated[UInt32 | None, Rules("Isolation groups of one device.")] = msgspec.field(
        default=None, name="maxIsolationGroups"
    )
    total_extended_resources: Annotated[dict[str, UInt32], Rules("Other units of one device, by name.")] = (
        msgspec.field(default_factory=dict, name="totalExtendedResources")
    )
    partition_template_refs: Annotated[tuple[str, ...], Rules("Ids of the partition templates it takes.")] = (
        msgspec.field(default=(), name="partitionTemplateRefs")
    )
    device_mount: Annotated[DeviceMount | None, Rules("Device files, where they differ for the model.")] = (
        msgspec.field(default=None, name="deviceMount")
    )


class VirtualizationTemplate(Part, frozen=True):
    """One form of hardware partition."""

    id: Annotated[str, Rules("Id, unique among the templates.")]
    name: Annotated[str, Rules("Name, such as 1g.10gb.")]
    memory_gigabytes: Annotated[UInt64, Rules("Device memory in GiB.")] = msgspec.field(name="memoryGigabytes")
    compute_percent: Annotated[str, Rules("Compute in percent of the device, a decimal.")] = msgspec.field(
        name="computePercent"
    )
    nvml_profile_id: Annotated[UInt32 | None, Rules("Profile number of the driver.")] = msgspec.field(
        default=None, name="nvmlProfileId"
    )
    description: Annotated[str, Rules("For people.")] = ""
    max_instances: Annotated[UInt32 | None, Rules("Partitions of this form on one device at most.")] = msgspec.field(
        default=None, name="maxInstances"
    )
    placement_limit: Annotated[tuple[UInt32, ...], Rules("Slots at which it may start.")] = msgspec.field(
        default=(), name="placementLimit"
    )
    placement_offset: Annotated[UInt32 | None, Rules("Slots that it takes.")] = msgspec.field(
        default=None, name="placementOffset"
    )
    extended_resources: Annotated[dict[str, UInt32], Rules("Other units that it takes, by name.")] = msgspec.field(
        default_factory=dict, name="extendedResources"
    )
    isolation_group_sharing: Annotated[IsolationGroupSharing, Rules("Whether it shares an isolation group.")] = (
        msgspec.field(default=IsolationGroupSharing.EXCLUSIVE, name="isolationGroupSharing")
    )
    max_partitions_per_isolation_group: Annotated[UInt32 | None, Rules("Partitions of one shared group at most.")] = (
        msgspec.field(default=None, name="maxPartitionsPerIsolationGroup")
    )
    isolation_group_slots: Annotated[UInt32 | None, Rules("Isolation groups that it takes.")] = msgspec.field(
        default=None, name="isolationGroupSlots"
    )


class DevicePluginDetection(Part, frozen=True):
    """How devices that another system hands out are recognised."""

    resource_name_prefixes: Annotated[tuple[str, ...], Rules("Beginnings of that system's resource names.")] = (
        msgspec.field(default=(), name="resourceNamePrefixes")
    )
    used_by_system_name: Annotated[str, Rules("Name of that system in usedBy of a GPU.")] = msgspec.field(
        default="", name="usedBySystemName"
    )


class ProviderConfigSpec(Part, frozen=True):
    """What is to know of one vendor's devices."""

    vendor: Annotated[str, Rules("Vendor of the devices.", required=True)] = ""
    images: Annotated[ProviderImages, Rules("Images for the vendor's devices.", required=True)] = msgspec.field(
        default_factory=ProviderImages
    )
    hypervisor: Annotated[ProviderHypervisor | None, Rules("What the node agent needs.")] = None
    hardware_metadata: Annotated[tuple[HardwareModel, ...], Rules("Models of the vendor.")] = msgspec.field(
        default=(), name="hardwareMetadata"
    )
    virtualization_templates: Annotated[
        tuple[VirtualizationTemplate, ...], Rules("Forms of hardware partitions.", map_key="id")
    ] = msgspec.field(default=(), name="virtualizationTemplates")
    in_use_resource_names: Annotated[
        tuple[str, ...], Rules("Resources of the vendor's device plugin: GPU claims, replaced by shares.")
    ] = msgspec.field(default=(), name="inUseResourceNames")
    device_plugin_detection: Annotated[
        DevicePluginDetection | None, Rules("How devices of another system are recognised.")
    ] = msgspec.field(default=None, name="devicePluginDetection")


class ProviderConfig(Object, frozen=True):
    """What is to know of one vendor's devices: images, resource names, models and partitions."""

    spec: Annotated[ProviderConfigSpec, Rules("What is to know of the vendor's devices.")] = msgspec.field(
        default_factory=ProviderConfigSpec
    )


COLUMNS = (Column("Vendor", ".spec.vendor"), Column("Age", ".metadata.creationTimestamp", "date"))
