"""What all ProviderConfigs together say, ready to be looked up: resource names, images, models, partition forms.

Built anew when a ProviderConfig changes, which is rare; a lookup costs a dict access. Where several configs speak of
one vendor, the first by name counts. A vendor without a config has the built-in names of its device plugin.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import chain

from tensorfusion.model.catalogue import lookup
from tensorfusion.model.provider_config import (
    HardwareModel,
    ProviderConfig,
    ProviderImages,
    VirtualizationTemplate,
)

FALLBACK_NAMES: Mapping[str, tuple[str, ...]] = {"NVIDIA": ("nvidia.com/gpu",), "AMD": ("amd.com/gpu",)}
"""Resource names of the device plugins of vendors without a ProviderConfig."""

_FALLBACK_PREFIXES = {"NVIDIA": "nvidia.com/mig-"}
_SEPARATORS = re.compile(r"[._ /+-]+")


class Providers:
    """The ProviderConfigs as one view. Without any, only the built-in names are known."""

    def __init__(self, configs: Iterable[ProviderConfig] = ()) -> None:
        by_vendor: dict[str, ProviderConfig] = {}
        for config in sorted(configs, key=lambda one: one.metadata.name):
            by_vendor.setdefault(config.spec.vendor, config)
        self._images = {vendor: config.spec.images for vendor, config in by_vendor.items()}
        self._names = {
            name: vendor for vendor, names in FALLBACK_NAMES.items() if vendor not in by_vendor for name in names
        }
        self._prefixes = tuple(
            (prefix, vendor) for vendor, prefix in _FALLBACK_PREFIXES.items() if vendor not in by_vendor
        )
        self._models: dict[str, HardwareModel] = {}
        self._templates: dict[str, dict[str, VirtualizationTemplate]] = {}
        for vendor, config in by_vendor.items():
            self._names |= dict.fromkeys(config.spec.in_use_resource_names, vendor)
            self._take_models(vendor, config)

    def native_vendor(self, resource: str) -> str | None:
        """The vendor whose own device plugin serves this extended resource; None for any other resource."""
        vendor = self._names.get(resource)
        if vendor is None:
            for prefix, owner in self._prefixes:
                if resource.startswith(prefix):
                    return owner
        return vendor

    @property
    def native_names(self) -> frozenset[str]:
        """What makes an extended resource native: whole names, and the beginnings of names."""
        return frozenset(self._names) | frozenset(f"{prefix}*" for prefix, _ in self._prefixes)

    def images(self, vendor: str) -> ProviderImages | None:
        """The images for a vendor's devices; None where no ProviderConfig speaks of the vendor."""
        return self._images.get(vendor)

    def model(self, name: str) -> HardwareModel | None:
        """What is known of a model, by its short or its driver's name, in any case, with or without the vendor."""
        return self._models.get(name.lower())

    def device_name(self, wanted: str) -> str:
        """What a device of a wished model reports: for models that only a ProviderConfig knows, its driver's name."""
        if not wanted or lookup(wanted) is not None:
            return wanted
        known = self.model(wanted)
        return known.full_model_name if known is not None else wanted

    def template(self, model: str, wanted: str) -> VirtualizationTemplate | None:
        """The partition form of a model that an id or a name means: ``mig-1g-10gb`` and ``1g.10gb`` are the same."""
        known = self.model(model)
        return self._templates[known.model].get(template_key(wanted)) if known is not None else None

    def templates(self, model: str) -> tuple[VirtualizationTemplate, ...]:
        """Every partition form of a model, in the order of its ProviderConfig."""
        known = self.model(model)
        return tuple({id(one): one for one in self._templates[known.model].values()}.values()) if known else ()

    def _take_models(self, vendor: str, config: ProviderConfig) -> None:
        by_id = {template.id: template for template in config.spec.virtualization_templates}
        for model in config.spec.hardware_metadata:
            short = model.full_model_name.removeprefix(f"{vendor} ")
            for name in (model.model, model.full_model_name, short):
                self._models.setdefault(name.lower(), model)
            forms = [by_id[ref] for ref in model.partition_template_refs if ref in by_id]
            keyed = chain.from_iterable(((template_key(one.id), one), (template_key(one.name), one)) for one in forms)
            self._templates.setdefault(model.model, dict(keyed))


def template_key(text: str) -> str:
    """A reference to a partition form without its freedoms: case, separators, and ``mig-`` in front."""
    return _SEPARATORS.sub("-", text.strip().lower()).removeprefix("mig-")


NO_PROVIDERS = Providers()
"""Only the built-in names."""
