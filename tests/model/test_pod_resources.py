import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.errors import InvalidQuantity
from tensorfusion.model.core import PodSpec
from tensorfusion.model.pod_resources import ResourceTotals, pod_totals

GIB = 1 << 30


def spec(**fields: object) -> PodSpec:
    return msgspec.convert(fields, PodSpec)


def container(
    restart: str | None = None, limits: dict[str, object] | None = None, **requests: object
) -> dict[str, object]:
    resources: dict[str, object] = {"requests": requests}
    if limits:
        resources["limits"] = limits
    return {"resources": resources} | ({"restartPolicy": restart} if restart else {})


def test_a_pod_without_requests_takes_nothing() -> None:
    assert pod_totals(PodSpec()) == ResourceTotals(0, 0, {})
    assert pod_totals(spec(containers=[container()])) == ResourceTotals(0, 0, {})


def test_containers_add_up_in_milli_cpu_and_bytes() -> None:
    totals = pod_totals(spec(containers=[container(cpu="250m", memory="1Gi"), container(cpu=2, memory="500M")]))
    assert (totals.cpu, totals.memory) == (2250, GIB + 500_000_000)


def test_a_limit_is_the_request_where_none_is_set() -> None:
    totals = pod_totals(
        spec(containers=[container(limits={"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": 1}, cpu="1")])
    )
    assert totals == ResourceTotals(1000, GIB, {"nvidia.com/gpu": 1})


def test_init_containers_run_one_after_another_before_the_others() -> None:
    pod = spec(
        initContainers=[container(cpu="3"), container(cpu="1")], containers=[container(cpu="1"), container(cpu="1")]
    )
    assert pod_totals(pod).cpu == 3000


def test_restartable_init_containers_stay_beside_all_that_follow() -> None:
    pod = spec(
        initContainers=[container(cpu="2"), container("Always", cpu="1"), container(cpu="2")],
        containers=[container(cpu="1")],
    )
    assert pod_totals(pod).cpu == 3000
    small = spec(initContainers=[container("Always", cpu="1")], containers=[container(cpu="4")])
    assert pod_totals(small).cpu == 5000


def test_overhead_comes_on_top_of_everything() -> None:
    pod = spec(containers=[container(cpu="1")], overhead={"cpu": "100m", "memory": "1Ki"})
    assert pod_totals(pod) == ResourceTotals(1100, 1024, {})


def test_zero_extended_resources_are_no_resources() -> None:
    assert pod_totals(spec(containers=[container(**{"nvidia.com/gpu": "0"})])).extended == {}


def test_a_broken_quantity_is_named() -> None:
    with pytest.raises(InvalidQuantity, match="'lots'"):
        pod_totals(spec(containers=[container(cpu="lots")]))


def test_reading_a_pod_twice_gives_the_same() -> None:
    pod = spec(containers=[container(cpu="1", memory="1Gi", **{"x/y": 1})])
    assert pod_totals(pod) == pod_totals(pod)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=5),
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
)
def test_the_total_is_the_most_that_ever_runs_at_once(inits: list[tuple[bool, int]], mains: list[int]) -> None:
    pod = spec(
        initContainers=[container("Always" if stays else None, cpu=cpu) for stays, cpu in inits],
        containers=[container(cpu=cpu) for cpu in mains],
    )
    beside, peak = 0, 0
    for stays, cpu in inits:
        peak = max(peak, beside + cpu)
        beside += cpu if stays else 0
    assert pod_totals(pod).cpu == 1000 * max(peak, beside + sum(mains))
