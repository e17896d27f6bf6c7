"""The shipped ProviderConfigs are what the reference says, and ProviderConfigs together are looked up as it says."""

from typing import Any

import msgspec
import pytest

from tensorfusion.model.catalogue import CATALOGUE
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.provider_defaults import provider_objects, provider_specs
from tensorfusion.model.providers import NO_PROVIDERS, Providers, template_key


def config(name: str, vendor: str, **spec: Any) -> ProviderConfig:
    body = {"metadata": {"name": name}, "spec": {"vendor": vendor, "images": {"middleware": ""}, **spec}}
    return msgspec.convert(body, ProviderConfig)


@pytest.fixture(scope="module")
def shipped() -> Providers:
    return Providers(msgspec.convert(body, ProviderConfig) for body in provider_objects())


# The contract's table of models, typed apart from the code: TFLOPS, dollars, partitions, slots, number of forms.
NVIDIA = {
    "NVIDIA A100-SXM4-80GB": ("312", "1.89", 7, 8, 7),
    "NVIDIA A100 80GB PCIe": ("312", "1.79", 7, 8, 7),
    "NVIDIA H100 PCIe": ("756", "2.79", 7, 8, 7),
    "NVIDIA H200": ("989", "3.99", 7, 8, 7),
    "NVIDIA H200 NVL": ("835", "3.99", 7, 8, 5),
    "NVIDIA A800-PCIE-40GB": ("312", "1.39", 7, 8, 7),
    "NVIDIA A30": ("165", "0.45", 4, 4, 3),
    "NVIDIA L40S": ("366", "1.40", None, None, 0),
    "Tesla T4": ("65", "0.35", None, None, 0),
}


@pytest.mark.parametrize("full_name", sorted(NVIDIA))
def test_nvidia_models_are_those_of_the_reference(shipped: Providers, full_name: str) -> None:
    model = shipped.model(full_name)
    assert model is not None
    found = (model.fp16_tflops, model.cost_per_hour, model.max_partitions, model.max_placement_slots)
    assert (*found, len(shipped.templates(full_name))) == NVIDIA[full_name]


# id: NVML profile, GiB, percent, instances, starts, slots.
FORMS = {
    "nv-80g-1g-10gb": (19, 10, "14.2857", 7, (0, 1, 2, 3, 4, 5, 6), 1),
    "nv-80g-1g-10gb-me": (20, 10, "14.2857", 1, (0, 1, 2, 3, 4, 5, 6), 1),
    "nv-80g-3g-40gb": (9, 40, "42.8571", 2, (0, 4), 4),
    "nv-h200-1g-35gb": (15, 35, "14.2857", 4, (0, 2, 4, 6), 2),
    "nv-h200-7g-141gb": (0, 141, "100", 1, (0,), 8),
    "nv-40g-4g-20gb": (5, 20, "57.1428", 1, (0,), 4),
    "nv-a30-2g-12gb": (5, 12, "50", 2, (0, 2), 2),
}


def test_nvidia_forms_are_those_of_the_reference() -> None:
    spec = provider_specs()["nvidia-provider"]
    by_id = {one.id: one for one in spec.virtualization_templates}
    assert len(by_id) == 24
    for id_, wanted in FORMS.items():
        one = by_id[id_]
        assert (
            one.nvml_profile_id,
            one.memory_gigabytes,
            one.compute_percent,
            one.max_instances,
            one.placement_limit,
            one.placement_offset,
        ) == wanted
    assert len(spec.hardware_metadata) == 24
    assert len(spec.in_use_resource_names) == 24
    assert {"nvidia.com/gpu", "nvidia.com/mig-1g.10gb.me", "nvidia.com/mig-4g.24gb"} < set(spec.in_use_resource_names)


def test_every_reference_of_a_model_is_a_form_of_its_config() -> None:
    for name, spec in provider_specs().items():
        ids = {one.id for one in spec.virtualization_templates}
        for model in spec.hardware_metadata:
            assert set(model.partition_template_refs) <= ids, (name, model.model)


def test_ascend_units_and_groups(shipped: Providers) -> None:
    model = shipped.model("310p3")
    assert model is not None
    assert (model.max_partitions, model.max_isolation_groups) == (7, 4)
    assert model.total_extended_resources["AICORE"] == 8
    small = shipped.template("310P3", "vir01")
    assert small is not None
    assert (small.isolation_group_sharing, small.max_partitions_per_isolation_group) == ("shared", 2)
    narrow = shipped.template("310P3", "vir04_3c")
    assert narrow is not None
    assert narrow.extended_resources == {"AICORE": 4, "AICPU": 3}


def test_shipped_figures_are_the_catalogues(shipped: Providers) -> None:
    for facts in CATALOGUE:
        model = shipped.model(facts.full_name)
        if model is not None:
            assert facts.compute == round(float(model.fp16_tflops) * 1000), facts.full_name


@pytest.mark.parametrize("text", ["1g.10gb", "mig-1g.10gb", "MIG-1g-10gb", "nv-80g-1g-10gb", "1G_10GB", "1g / 10gb"])
def test_a_form_is_meant_by_id_or_name_in_any_spelling(shipped: Providers, text: str) -> None:
    found = shipped.template("NVIDIA A100-SXM4-80GB", text)
    assert found is not None
    assert found.id == "nv-80g-1g-10gb"


def test_the_same_name_means_each_models_own_form(shipped: Providers) -> None:
    found = shipped.template("A100_SXM_40G", "1g.10gb")
    assert found is not None
    assert found.id == "nv-40g-1g-10gb"
    assert shipped.template("H200_NVL", "1g.35gb") is None
    assert shipped.template("NVIDIA L4", "1g.10gb") is None
    assert template_key("1g.10gb+me") == "1g-10gb-me"


def test_without_a_config_a_vendor_has_its_built_in_names() -> None:
    assert NO_PROVIDERS.native_vendor("nvidia.com/gpu") == "NVIDIA"
    assert NO_PROVIDERS.native_vendor("nvidia.com/mig-1g.10gb") == "NVIDIA"
    assert NO_PROVIDERS.native_vendor("amd.com/gpu") == "AMD"
    assert NO_PROVIDERS.native_vendor("cpu") is None
    assert NO_PROVIDERS.native_vendor("huawei.com/npu") is None


def test_a_config_says_which_names_its_vendor_has() -> None:
    found = Providers([config("n", "NVIDIA", inUseResourceNames=["example.com/gpu"]), config("h", "Hygon")])
    assert found.native_vendor("example.com/gpu") == "NVIDIA"
    assert found.native_vendor("nvidia.com/gpu") is None
    assert found.native_vendor("nvidia.com/mig-1g.10gb") is None
    assert found.native_vendor("amd.com/gpu") == "AMD", "no config speaks of AMD"


def test_of_two_configs_of_a_vendor_the_first_by_name_counts() -> None:
    found = Providers(
        [
            config("b", "NVIDIA", images={"middleware": "second"}),
            config("a", "NVIDIA", images={"middleware": "first"}),
        ]
    )
    images = found.images("NVIDIA")
    assert images is not None
    assert images.middleware == "first"


def test_a_model_that_only_a_config_knows_is_named_as_its_driver_does(shipped: Providers) -> None:
    model = {"model": "B300", "fullModelName": "NVIDIA B300 SXM6", "fp16TFlops": "2500"}
    found = Providers([config("n", "NVIDIA", hardwareMetadata=[model])])
    assert found.device_name("b300") == "NVIDIA B300 SXM6"
    assert found.device_name("B300 SXM6") == "NVIDIA B300 SXM6"
    assert found.device_name("A100") == "A100", "families stay for the catalogue"
    assert found.device_name("H100_SXM") == "H100_SXM"
    assert found.device_name("nothing") == "nothing"
    assert shipped.device_name("") == ""
