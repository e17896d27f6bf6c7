"""The learned mix: exact while it is small, bounded in memory and in what one tenant can make of it."""

from hypothesis import example, given
from hypothesis import strategies as st

from tensorfusion.scheduling.arrivals import ArrivalMix, Mix, Part, Size, fair_mix, mix_of

HALF, ONE, PLAIN = Size(1000, 1024, 1, 500), Size(2000, 1024, 1, 1000), Size(500, 1024, 0, 0)
EIGHT = Size(64_000, 4096, 8, 1000)


def learned(*tenants: list[Size], classes: int = 100, most_percent: int = 25) -> ArrivalMix:
    found = ArrivalMix(classes=classes, most_percent=most_percent)
    for name, sizes in enumerate(tenants):
        for size in sizes:
            found.add(size, f"tenant-{name}")
    return found


def parts(mix: Mix) -> dict[Size, float]:
    """Each size's part of the mix."""
    whole = sum(mix.weights)
    return {size: weight / whole for size, weight in zip(mix.sizes, mix.weights, strict=True)}


def odd(number: int) -> Size:
    return Size(number, 7, 1, 13)


def test_nothing_is_known_before_the_first_arrival() -> None:
    assert learned().mix() == Mix([], [])


def test_the_mix_of_one_tenant_is_what_arrived() -> None:
    assert parts(learned([HALF] * 6 + [ONE] * 3 + [PLAIN]).mix()) == {PLAIN: 0.1, HALF: 0.6, ONE: 0.3}


def test_two_tenants_weigh_alike_however_many_pods_one_of_them_sends() -> None:
    assert parts(learned([HALF] * 10, [ONE] * 1000).mix()) == {HALF: 0.5, ONE: 0.5}


def test_tenants_below_the_cap_count_in_full() -> None:
    tenants = [[HALF] * 10, [HALF] * 12, [ONE] * 11, [PLAIN] * 9, [ONE] * 8]
    assert parts(learned(*tenants).mix()) == {PLAIN: 9 / 50, HALF: 22 / 50, ONE: 19 / 50}


def test_a_tenant_that_floods_odd_sizes_gets_a_quarter_of_the_mix_and_forgets_nobody_elses_sizes() -> None:
    honest = [[HALF] * 20 + [ONE] * 5, [HALF] * 25, [ONE] * 10 + [EIGHT] * 2, [PLAIN] * 12]
    mix = learned(*honest, [odd(number) for number in range(5000)], classes=50).mix()
    known = parts(mix)
    assert len(known) <= 50
    flooded = sum(part for size, part in known.items() if size.milli == 13)
    assert flooded <= 0.2501
    assert known.keys() >= {HALF, ONE, EIGHT, PLAIN}
    assert mix.whole_share(8)[0] > 0


def test_an_eighth_of_a_full_memory_is_dropped_at_once_the_rarest_of_those_that_have_most() -> None:
    """To look for one at each arrival would take longer than to place a pod."""
    often = [odd(number) for number in range(40)]
    found = learned([HALF, ONE], often * 2 + [odd(number) for number in range(40, 62)], classes=64)
    found.add(odd(99), "tenant-1")
    assert set(found.mix().sizes) == {HALF, ONE, *often, *(odd(number) for number in range(48, 62)), odd(99)}


def fair(found: ArrivalMix, gpus: int = 8, most_percent: int = 25) -> Mix:
    return fair_mix(found.weights(), gpus=gpus, most_percent=most_percent)


def test_few_large_jobs_of_a_tenant_are_no_more_than_its_part_of_the_demand() -> None:
    found = learned([HALF] * 40, [HALF] * 30, [ONE] * 30, [EIGHT] * 40)
    before, demand = found.mix().whole_share(8)
    assert before / demand > 0.75
    after, demand = fair(found).whole_share(8)
    assert 0.249 < after / demand <= 0.2501


def test_large_jobs_that_are_no_whole_nodes_leave_the_whole_node_jobs_of_others_their_part() -> None:
    six = Size(1, 1, 6, 1000)
    found = learned([HALF] * 40, [HALF] * 40, [EIGHT] * 5 + [HALF] * 35, [six] * 400)
    before, demand = found.mix().whole_share(8)
    after, of = fair(found).whole_share(8)
    assert before / demand < 0.13 < 0.2 < after / of <= 0.2501


def test_tenants_of_moderate_demand_count_in_full() -> None:
    usual = [EIGHT] * 5 + [ONE] * 60
    found = learned(usual, usual, usual, [Size(1, 1, 1, 130)] * 40)
    assert fair(found) == found.mix()


def test_a_tenant_whose_jobs_want_no_devices_takes_nothing_from_those_that_do() -> None:
    assert fair(learned([PLAIN] * 2, [HALF, EIGHT])) == mix_of([(HALF, 1 << 30), (EIGHT, 1 << 30)])


SIZES = st.builds(Size, st.integers(0, 30), st.just(1), st.integers(0, 2), st.just(1000))


@given(
    st.lists(st.tuples(st.sampled_from("abcdefg"), SIZES), min_size=1, max_size=200),
    st.integers(1, 12),
    st.integers(1, 100),
)
def test_the_bounds_hold_whatever_arrives(arrivals: list[tuple[str, Size]], classes: int, most_percent: int) -> None:
    """No more sizes than allowed, and no tenant above its part. Tenants are told apart by the sizes' memory."""
    mix = ArrivalMix(classes=classes, most_percent=most_percent)
    for tenant, size in arrivals:
        mix.add(Size(size.cpu, ord(tenant), size.gpus, size.milli), tenant)
    found = mix.mix()
    assert mix.count == len(arrivals)
    assert 1 <= len(found.sizes) <= classes
    assert list(found.sizes) == sorted(set(found.sizes))
    assert min(found.weights) > 0
    tenants: dict[int, float] = {}
    for size, part in parts(found).items():
        tenants[size.memory] = tenants.get(size.memory, 0) + part
    assert max(tenants.values()) <= max(most_percent / 100, 1 / len(tenants)) + 1e-4


@given(st.lists(st.tuples(st.sampled_from("abcdef"), SIZES), min_size=1, max_size=60), st.integers(1, 100))
def test_no_tenant_is_more_than_its_part_of_the_demand(arrivals: list[tuple[str, Size]], most_percent: int) -> None:
    mix = ArrivalMix(classes=1000, most_percent=most_percent)
    for tenant, size in arrivals:
        mix.add(Size(size.cpu, ord(tenant), size.gpus, size.milli), tenant)
    found = fair_mix(mix.weights(), gpus=2, most_percent=most_percent)
    demands: dict[tuple[int, bool], int] = {}
    for size, weight in zip(found.sizes, found.weights, strict=True):
        part = size.memory, size.is_whole(2)
        demands[part] = demands.get(part, 0) + size.takes(2) * weight
    tenants = {ord(tenant) for tenant, size in arrivals if size.demand}
    assert {tenant for tenant, _ in demands} == tenants
    if tenants:
        bound = max(most_percent / 100, 1 / len(tenants))
        assert max(demands.values()) <= (bound + 1e-4) * sum(demands.values())
    if len({tenant for tenant, _ in arrivals}) == 1:
        whole = mix.mix()
        pairs = zip(whole.sizes, whole.weights, strict=True)
        assert found == mix_of((size, weight) for size, weight in pairs if size.demand)


@given(st.lists(st.tuples(st.integers(0, 1), SIZES), max_size=60))
def test_the_order_of_arrivals_does_not_matter_while_there_is_room(arrivals: list[tuple[int, Size]]) -> None:
    first, again = ArrivalMix(classes=1000, most_percent=25), ArrivalMix(classes=1000, most_percent=25)
    for tenant, size in arrivals:
        first.add(size, str(tenant))
    for tenant, size in sorted(arrivals):
        again.add(size, str(tenant))
    assert first.mix() == again.mix()


def test_a_full_memory_drops_the_rarest_size_of_the_tenant_that_has_most_of_them() -> None:
    found = learned([HALF], [ONE] * 3 + [EIGHT] * 2, classes=3)
    found.add(PLAIN, "newcomer")
    assert set(found.mix().sizes) == {HALF, ONE, PLAIN}


def test_the_share_of_whole_node_jobs_is_of_the_demand() -> None:
    # eight devices of 8 + 2 * 0.5 + 1, and CPU-only pods ask for none
    numerator, denominator = learned([EIGHT, HALF, HALF, ONE, PLAIN]).mix().whole_share(8)
    assert numerator * 10 == denominator * 8
    assert Mix().whole_share(8)[0] == 0


def test_the_lighter_quarter_of_whole_node_jobs_decides_what_a_whole_node_is() -> None:
    heavy, light = Size(90_000, 9, 8, 1000), Size(10, 1, 8, 1000)
    assert learned([heavy] * 7 + [EIGHT] * 2 + [light]).mix().light(8) == (64_000, 9)
    assert learned([EIGHT] * 9 + [light]).mix().light(8) == (64_000, 4096)
    assert learned([HALF]).mix().light(8) == (0, 0)


def test_parts_hold_for_the_smallest_weights_too() -> None:
    small = [Part([(HALF, 1)]), Part([(EIGHT, 1)])]
    after, demand = fair_mix(small, gpus=8, most_percent=25).whole_share(8)
    assert abs(after / demand - 0.5) < 1e-6


@example({"a": (0, {PLAIN: 1}), "b": (2, {Size(0, 1, 2, 1000): 1}), "c": (0, {PLAIN: 1170, Size(0, 1, 1, 1000): 1})}, 1)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.tuples(st.integers(0, 8), st.dictionaries(SIZES, st.integers(1, 1 << 20), min_size=1, max_size=3)),
        min_size=1,
    ),
    st.integers(1, 100),
)
def test_who_is_idle_is_no_more_than_its_part_of_a_tenant(
    tenants: dict[str, tuple[int, dict[Size, int]]], most_percent: int
) -> None:
    found = ArrivalMix(classes=1000, most_percent=most_percent)
    counts = {name: sizes for name, (_, sizes) in tenants.items()}
    idle = {name: times for name, (times, _) in tenants.items()}
    found.restore(counts, count=0, idle=idle)
    names, weights = sorted(tenants), found.weights()
    sums = [sum(weight for _, weight in its.weights) for its in weights]
    present = sum(0.5 ** idle[name] for name in names)
    for name, mine in zip(names, sums, strict=True):
        assert mine <= (max(most_percent / 100, 1 / present) * 0.5 ** idle[name] + 1e-3) * sum(sums)
    asked = [name for name, its in zip(names, weights, strict=True) if any(size.demand for size, _ in its.weights)]
    for name in asked:  # told apart by memory, which the sizes have none of otherwise
        marked = [
            Part([(Size(size.cpu, 1 + (one == name), size.gpus, size.milli), w) for size, w in its.weights], its.idle)
            for one, its in zip(names, weights, strict=True)
        ]
        mix = fair_mix(marked, gpus=2, most_percent=most_percent)
        takes = [(size, size.takes(2) * w) for size, w in zip(mix.sizes, mix.weights, strict=True)]
        bound = max(most_percent / 100, 1 / sum(0.5 ** idle[one] for one in asked)) * 0.5 ** idle[name]
        for whole in (True, False):
            mine = sum(demand for size, demand in takes if size.memory == 2 and size.is_whole(2) is whole)
            assert mine <= (bound + 1e-3) * sum(demand for _, demand in takes)
