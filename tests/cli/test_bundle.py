"""What an installation brings: the vendors' ProviderConfigs, brought up to date unless somebody edited them."""

from typing import Any

import msgspec
import pytest

from tensorfusion.cli.bundle import SHIPPED_HASH, install_provider
from tensorfusion.model.provider_config import ProviderConfigSpec, ProviderImages
from tensorfusion.model.resources import PROVIDER_CONFIGS
from tensorfusion.testing.api import FakeApi
from tensorfusion.testing.clock import VirtualClock

OLD = ProviderConfigSpec(vendor="NVIDIA", images=ProviderImages(middleware="m:1"), in_use_resource_names=("a", "b"))
NEW = msgspec.structs.replace(OLD, images=ProviderImages(middleware="m:2"))


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(VirtualClock())


def spec(api: FakeApi) -> Any:
    return api.object(PROVIDER_CONFIGS, "nvidia-provider")["spec"]


async def test_a_new_version_of_what_was_shipped_reaches_an_untouched_config(api: FakeApi) -> None:
    await install_provider(api, "nvidia-provider", OLD)
    assert spec(api)["images"] == {"middleware": "m:1"}
    await install_provider(api, "nvidia-provider", NEW)
    assert spec(api)["images"] == {"middleware": "m:2"}
    before = api.object(PROVIDER_CONFIGS, "nvidia-provider")
    assert before["metadata"]["annotations"][SHIPPED_HASH]
    await install_provider(api, "nvidia-provider", NEW)
    assert api.object(PROVIDER_CONFIGS, "nvidia-provider") == before


async def test_an_edited_config_is_left_as_it_is(api: FakeApi) -> None:
    await install_provider(api, "nvidia-provider", OLD)
    api.change(PROVIDER_CONFIGS, "nvidia-provider", {"spec": {"inUseResourceNames": ["mine"]}})
    await install_provider(api, "nvidia-provider", NEW)
    assert spec(api) == {"vendor": "NVIDIA", "images": {"middleware": "m:1"}, "inUseResourceNames": ["mine"]}


async def test_a_config_of_that_name_that_was_never_shipped_is_left_as_it_is(api: FakeApi) -> None:
    own = {"vendor": "NVIDIA", "images": {"middleware": "own"}}
    api.seed(PROVIDER_CONFIGS, {"metadata": {"name": "nvidia-provider"}, "spec": own})
    await install_provider(api, "nvidia-provider", NEW)
    assert spec(api) == own
