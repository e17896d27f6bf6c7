"""The book of who holds what stays exact under any churn of pods and devices."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.policy.capacity import Amount
from tensorfusion.policy.usage import Share, UsageBook, charge_of
from tensorfusion.scheduling.quota import Usage

GPUS = ["gpu-0", "gpu-1", "gpu-2"]


def share(uid: str, devices: tuple[str, ...], *, namespace: str = "team", **request: object) -> Share:
    asked = GpuRequest(pool="p", count=len(devices), **request)  # type: ignore[arg-type]
    return Share(uid, namespace, f"pod-{uid}", "w", asked, devices)


def test_a_percentage_is_a_part_of_the_device_it_lies_on_rounded_down() -> None:
    request = GpuRequest(pool="p", percent=14_285, percent_limit=50_000, vram=7)
    charge = charge_of(request, Amount(312_000, 100))
    assert (charge.held, charge.limits) == (Amount(44_569, 7), Amount(156_000, 0))


def test_shared_holds_the_whole_device_and_asks_for_what_it_says() -> None:
    charge = charge_of(GpuRequest(pool="p", compute=5, isolation=Isolation.SHARED), Amount(100, 1000))
    assert (charge.held, charge.requests) == (Amount(100, 1000), Amount(5, 0))


def test_several_devices_count_several_times_and_one_worker() -> None:
    book = UsageBook()
    book.set_share(share("a", ("gpu-0", "gpu-1"), compute=10, compute_limit=30, vram=5, vram_limit=6))
    assert book.namespace("team") == Usage(20, 10, 60, 12, workers=1, devices=2)


def test_what_is_released_is_what_was_charged_though_the_device_changed_meanwhile() -> None:
    book = UsageBook()
    book.set_device("gpu-0", Amount(1000, 100))
    book.set_share(share("a", ("gpu-0",), percent=50_000))
    assert book.device("gpu-0").available == Amount(500, 100)
    book.set_device("gpu-0", Amount(2000, 100))
    assert book.device("gpu-0").available == Amount(1000, 100)
    assert book.namespace("team").compute == 1000
    assert book.drop_share("a") == {"gpu-0"}
    assert book.device("gpu-0").available == Amount(2000, 100)
    assert book.namespace("team") == Usage()


def test_a_share_on_an_unknown_device_is_charged_when_the_device_appears() -> None:
    book = UsageBook()
    book.set_share(share("a", ("gpu-0",), percent=50_000, vram=10))
    book.set_device("gpu-0", Amount(1000, 100))
    assert book.device("gpu-0").available == Amount(500, 90)


def test_a_share_in_percent_of_a_device_that_is_gone_counts_for_what_it_was() -> None:
    asked = GpuRequest(pool="p", count=2, percent=50_000, percent_limit=100_000)
    book = UsageBook()
    book.set_device("gpu-1", Amount(3000, 100))
    book.set_share(Share("a", "team", "pod-a", "w", asked, ("gpu-0", "gpu-1"), capacities=(1000, 2000)))
    assert book.namespace("team") == Usage(2000, 0, 4000, 0, workers=1, devices=2)
    book.remove_device("gpu-1")
    assert book.namespace("team") == Usage(1500, 0, 3000, 0, workers=1, devices=2)
    book.drop_share("a")
    assert book.namespace("team") == Usage()


def test_available_is_never_negative() -> None:
    book = UsageBook()
    book.set_device("gpu-0", Amount(10, 10))
    book.set_share(share("a", ("gpu-0",), compute=50, vram=50))
    assert book.device("gpu-0").available == Amount(0, 0)


@pytest.mark.parametrize("again", [1, 3])
def test_telling_the_same_twice_changes_nothing(again: int) -> None:
    book = UsageBook()
    held = share("a", ("gpu-0",), compute=50)
    assert book.set_share(held) == {"gpu-0"}
    for _ in range(again):
        assert book.set_share(held) == frozenset()
    assert book.drop_share("a") == {"gpu-0"}
    assert book.drop_share("a") == frozenset()


requests = st.builds(
    GpuRequest,
    pool=st.just("p"),
    compute=st.sampled_from([0, 0, 10, 333]),
    compute_limit=st.sampled_from([0, 500]),
    percent=st.sampled_from([0, 14_285, 50_000]),
    percent_limit=st.sampled_from([0, 100_000]),
    vram=st.integers(0, 50),
    vram_limit=st.integers(0, 50),
    isolation=st.sampled_from([Isolation.SOFT, Isolation.SHARED]),
)
shares = st.builds(
    Share,
    uid=st.sampled_from("abcdef"),
    namespace=st.sampled_from(["one", "two"]),
    name=st.just("pod"),
    workload=st.just("w"),
    request=requests,
    devices=st.lists(st.sampled_from(GPUS), min_size=1, unique=True).map(tuple),
)
steps = st.one_of(
    st.tuples(st.just("share"), shares),
    st.tuples(st.just("drop"), st.sampled_from("abcdef")),
    st.tuples(st.just("device"), st.sampled_from(GPUS), st.integers(0, 2000), st.integers(0, 500)),
    st.tuples(st.just("lose"), st.sampled_from(GPUS)),
)


@settings(deadline=None, max_examples=part_of(200))
@given(st.lists(steps, max_size=40))
def test_any_churn_leaves_what_a_fresh_count_finds(history) -> None:
    book = UsageBook()
    capacities: dict[str, Amount] = {}
    live: dict[str, Share] = {}
    for step in history:
        match step:
            case ("share", held):
                book.set_share(held)
                live[held.uid] = held
            case ("drop", uid):
                book.drop_share(uid)
                live.pop(uid, None)
            case ("device", name, compute, vram):
                book.set_device(name, Amount(compute, vram))
                capacities[name] = Amount(compute, vram)
            case ("lose", name):
                book.remove_device(name)
                capacities.pop(name, None)
    held: Counter[str] = Counter()
    namespaces = {name: Usage() for name in ("one", "two")}
    for one in live.values():
        usage = namespaces[one.namespace]
        usage.workers += 1
        for name in one.devices:
            charge = charge_of(one.request, capacities.get(name, Amount()))
            held[name, "compute"] += charge.held.compute
            held[name, "vram"] += charge.held.vram
            held[name, "limit"] += charge.limits.compute
            usage.compute += charge.requests.compute
            usage.vram += charge.requests.vram
            usage.compute_limit += charge.limits.compute
            usage.vram_limit += charge.limits.vram
            usage.devices += 1
    for name in GPUS:
        found = book.device(name)
        assert found.capacity == capacities.get(name, Amount())
        assert (found.held_compute, found.held_vram) == (held[name, "compute"], held[name, "vram"])
        assert found.limits.compute == held[name, "limit"]
        assert set(found.charges) == {uid for uid, one in live.items() if name in one.devices}
    for name, usage in namespaces.items():
        assert book.namespace(name) == usage
