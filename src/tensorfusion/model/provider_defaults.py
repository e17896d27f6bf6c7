"""The ProviderConfigs that are shipped: what every installation knows of the vendors' devices from the start.

Where a vendor's images are not published, ``middleware`` is empty and the pool's image counts.

Source: ``provider_rows`` and the live rows of the catalogue.
"""

from tensorfusion.model.catalogue_rows import PROVIDER
from tensorfusion.model.meta import Raw
from tensorfusion.model.provider_config import (
    DevicePluginDetection,
    HardwareModel,
    IsolationGroupSharing,
    ProviderConfigSpec,
    ProviderImages,
    VirtualizationTemplate,
)
from tensorfusion.model.provider_rows import (
    ASCEND_FORMS,
    ASCEND_RESOURCES,
    ASCEND_UNITS,
    MIG_FAMILIES,
    MIG_FORMS,
    NOT_OFFERED,
    NVIDIA_RESOURCES,
    PPU_RESOURCES,
    AscendForm,
    Form,
)
from tensorfusion.model.resources import PROVIDER_CONFIGS
from tensorfusion.model.wire import to_wire

_NVIDIA_IMAGES = ProviderImages(
    middleware="tensorfusion/vgpu-provider-nvidia:1.3.9",
    remote_client="tensorfusion/tensor-fusion-client:v2.15.0",
    remote_worker="tensorfusion/tensor-fusion-worker:v2.15.0",
)
_ASCEND_GROUPS = 4


def template_id(family: str, name: str) -> str:
    """The id of a MIG form: ``nv-80g`` and ``1g.10gb+me`` give ``nv-80g-1g-10gb-me``."""
    return f"{family}-{name.replace('.', '-').replace('+', '-')}"


def provider_specs() -> dict[str, ProviderConfigSpec]:
    """The shipped specs by the name of their object."""
    return {
        "nvidia-provider": ProviderConfigSpec(
            vendor="NVIDIA",
            images=_NVIDIA_IMAGES,
            hardware_metadata=_models("NVIDIA"),
            virtualization_templates=tuple(map(_mig_template, MIG_FORMS)),
            in_use_resource_names=NVIDIA_RESOURCES,
            device_plugin_detection=DevicePluginDetection(
                resource_name_prefixes=("nvidia.com/gpu", "nvidia.com/mig-"),
                used_by_system_name="nvidia-device-plugin",
            ),
        ),
        "ascend-provider": ProviderConfigSpec(
            vendor="Ascend",
            hardware_metadata=_models("Ascend"),
            virtualization_templates=tuple(map(_ascend_template, ASCEND_FORMS)),
            in_use_resource_names=ASCEND_RESOURCES,
        ),
        "ppu-provider": ProviderConfigSpec(
            vendor="PPU", hardware_metadata=_models("PPU"), in_use_resource_names=PPU_RESOURCES
        ),
        "moorethreads-provider": ProviderConfigSpec(vendor="MooreThreads", hardware_metadata=_models("MooreThreads")),
    }


def provider_objects() -> list[Raw]:
    """The shipped ProviderConfigs as they are created."""
    return [
        {
            "apiVersion": PROVIDER_CONFIGS.api_version,
            "kind": PROVIDER_CONFIGS.kind,
            "metadata": {"name": name},
            "spec": to_wire(spec),
        }
        for name, spec in provider_specs().items()
    ]


def _models(vendor: str) -> tuple[HardwareModel, ...]:
    return tuple(
        HardwareModel(
            model=model,
            full_model_name=full_name,
            fp16_tflops=tflops,
            cost_per_hour=cost,
            max_partitions=partitions or None,
            max_placement_slots=slots or None,
            max_isolation_groups=_ASCEND_GROUPS if vendor == "Ascend" else None,
            total_extended_resources=dict(ASCEND_UNITS) if vendor == "Ascend" else {},
            partition_template_refs=_templates_of(vendor, model),
        )
        for model, row_vendor, full_name, tflops, cost, _, partitions, slots in PROVIDER
        if row_vendor == vendor
    )


def _templates_of(vendor: str, model: str) -> tuple[str, ...]:
    if vendor == "Ascend":
        return tuple(form[0] for form in ASCEND_FORMS)
    return tuple(
        template_id(family, name)
        for family, _, name, *_ in MIG_FORMS
        if model in MIG_FAMILIES[family] and (model, name) not in NOT_OFFERED
    )


def _mig_template(form: Form) -> VirtualizationTemplate:
    family, profile, name, gib, percent, instances, starts, slots = form
    return VirtualizationTemplate(
        id=template_id(family, name),
        name=name,
        nvml_profile_id=profile,
        memory_gigabytes=gib,
        compute_percent=percent,
        max_instances=instances,
        placement_limit=starts,
        placement_offset=slots,
    )


def _ascend_template(form: AscendForm) -> VirtualizationTemplate:
    name, gib, percent, instances, cores, cpus = form
    shared = name == "vir01"
    return VirtualizationTemplate(
        id=name,
        name=name,
        memory_gigabytes=gib,
        compute_percent=percent,
        max_instances=instances,
        extended_resources={"AICORE": cores, "AICPU": cpus},
        isolation_group_sharing=IsolationGroupSharing.SHARED if shared else IsolationGroupSharing.EXCLUSIVE,
        max_partitions_per_isolation_group=2 if shared else None,
    )
