"""A namespace that may use some pools only."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensorfusion.model import keys


def pod(**wishes: str) -> dict[str, Any]:
    annotations = {f"{keys.DOMAIN}/{key.replace('_', '-')}": value for key, value in wishes.items()}
    metadata = {
        "name": "w",
        "labels": {keys.ENABLED: "true"},
        "annotations": {keys.TFLOPS_REQUEST: "10", **annotations},
    }
    return {"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "app"}]}}


@pytest.fixture
def pools(world: Any) -> Any:
    world.add_pool("main", default=True)
    world.add_pool("a")
    world.add_pool("b")
    return world


def pool_of(world: Any, **wishes: str) -> str:
    return str(world.admitted(pod(vram_request="1Gi", **wishes))["metadata"]["annotations"][keys.GPU_POOL])


def test_without_the_annotation_every_pool_may_be_used(pools: Any) -> None:
    assert pool_of(pools) == "main"
    assert pool_of(pools, gpupool="b") == "b"


def test_a_pool_outside_the_list_is_forbidden_by_name(pools: Any) -> None:
    pools.allowed = "a, b"
    denial = pools.decide(pod(vram_request="1Gi", gpupool="main")).denial
    assert denial.code == 403
    assert denial.message == (
        "annotation tensor-fusion.ai/gpupool: wanted one of the pools that namespace team may use (a, b), "
        "found 'main': name an allowed one, or ask an administrator"
    )
    assert pool_of(pools, gpupool="a") == "a"


def test_a_profile_cannot_name_a_pool_outside_the_list_either(pools: Any) -> None:
    pools.allowed = "a"
    pools.add_profile("big", poolName="b")
    denial = pools.decide(pod(vram_request="1Gi", workload_profile="big")).denial
    assert denial.code == 403
    assert "WorkloadProfile team/big: poolName" in denial.message
    assert "found 'b'" in denial.message


def test_the_default_pool_is_the_default_where_it_is_allowed(pools: Any) -> None:
    pools.allowed = "a,main"
    assert pool_of(pools) == "main"


def test_the_only_allowed_pool_is_the_namespaces_default(pools: Any) -> None:
    pools.allowed = "b"
    assert pool_of(pools) == "b"


def test_of_several_allowed_pools_one_has_to_be_named(pools: Any) -> None:
    pools.allowed = "a,b"
    denial = pools.decide(pod(vram_request="1Gi")).denial
    assert denial.code == 403
    assert "(a, b), found none" in denial.message


def test_an_empty_list_allows_no_pool(pools: Any) -> None:
    pools.allowed = " , "
    for wishes in ({}, {"gpupool": "main"}):
        denial = pools.decide(pod(vram_request="1Gi", **wishes)).denial
        assert denial.code == 403
        assert "may use none" in denial.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    allowed=st.none() | st.lists(st.sampled_from(["a", "b", "main", "gone", ""]), max_size=4),
    wish=st.none() | st.sampled_from(["a", "b", "main", "gone"]),
    default=st.booleans(),
)
def test_no_pod_is_ever_admitted_to_a_pool_outside_the_list(
    world: Any, allowed: list[str] | None, wish: str | None, default: bool
) -> None:
    world.pools.clear()
    for name in ("main", "a", "b"):
        world.add_pool(name, default=default and name == "main")
    world.allowed = None if allowed is None else ",".join(allowed)
    verdict = world.decide(pod(vram_request="1Gi", **({"gpupool": wish} if wish else {})))
    if verdict.denial is None:
        labels = world.admitted(pod(vram_request="1Gi", **({"gpupool": wish} if wish else {})))["metadata"]["labels"]
        chosen = labels[keys.GPU_POOL]
        assert allowed is None or chosen in allowed
        assert wish in (None, chosen)


def test_an_allowed_pool_that_does_not_exist_is_said_to_be_missing(pools: Any) -> None:
    pools.allowed = "gone"
    denial = pools.decide(pod(vram_request="1Gi")).denial
    assert denial.code == 400
    assert "namespace team: tensor-fusion.ai/allowed-pools: wanted an existing GPUPool, found 'gone'" in denial.message
