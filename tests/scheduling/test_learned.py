"""What a pool has learned: the mix is taken as arrivals grow, and what is old loses its weight."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduling.arrivals import ARRIVAL, IDLE
from tensorfusion.scheduling.asked import Asked, Kind, asked_of
from tensorfusion.scheduling.learned import HALF_LIFE, MOST, Learned
from worlds import pod

SMALL, LARGE = Asked(1000, 1, 1, percent=10_000), Asked(1000, 1, 8, percent=100_000)
HALF, ODD = Asked(1000, 1, 1, percent=50_000), Asked(1000, 1, 1, percent=13_000)
DAY = 24 * 3600
START = 1_700_000_000


def parts(learned: Learned) -> dict[Asked, float]:
    weights: Counter[Asked] = Counter()
    for its in learned.mix:
        weights.update(dict(its.weights))
    return {size: weight / weights.total() for size, weight in weights.items()}


def test_the_mix_is_taken_as_arrivals_grow_by_a_quarter() -> None:
    learned, versions = Learned(), []
    for _ in range(20):
        learned.add(SMALL, "a", created=START)
        versions.append(learned.version)
    assert versions == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12]


def test_a_flood_makes_nobody_elses_arrivals_forgotten() -> None:
    learned = Learned()
    for _ in range(500):
        for tenant in "acd":
            learned.add(SMALL, tenant, created=START)
        learned.add(LARGE, "b", created=START)
    before = learned.counts()
    for _ in range(140_000):
        learned.add(ODD, "flood", created=START)
    found = learned.counts()
    flood = found.pop("flood")
    assert found == before
    assert sum(flood.values()) < MOST * ARRIVAL
    assert parts(learned)[ODD] <= 0.2501
    assert learned.count <= 4 * 500 + MOST


def test_who_comes_weekly_is_known_however_many_others_come() -> None:
    learned = Learned()
    for day in range(50):
        for _ in range(2000):
            learned.add(SMALL, "a", created=START + day * DAY)
        if day % 7 == 0:
            learned.add(LARGE, "b", created=START + day * DAY)
        assert "b" in learned.counts()


def test_a_batch_that_came_once_is_little_of_what_is_expected_after_a_week() -> None:
    learned = Learned()
    for _ in range(100):
        learned.add(LARGE, "a", created=START)
    found = []
    for day in range(1, 15):
        for _ in range(100):
            learned.add(HALF, "a", created=START + day * DAY)
        part = parts(learned).get(LARGE, 0)
        found.append(8 * part / (8 * part + (1 - part) / 2))
    assert found[0] > 0.8
    assert found[6] < 0.1
    assert found[13] < 0.001


def test_sizes_that_a_tenant_asks_for_no_more_lose_their_weight() -> None:
    learned = Learned()
    for _ in range(1000):
        learned.add(LARGE, "a", created=START)
    for _ in range(2 * MOST):
        learned.add(SMALL, "a", created=START)
    assert parts(learned)[LARGE] < 0.005


def test_what_is_old_is_forgotten_though_nothing_comes() -> None:
    learned = Learned()
    learned.add(LARGE, "a", created=START)
    learned.age(START + HALF_LIFE - 1)
    assert learned.mix
    learned.age(START + (IDLE - 1) * HALF_LIFE)
    assert learned.mix
    learned.age(START + IDLE * HALF_LIFE)
    assert not learned.mix
    learned.add(SMALL, "a", created=START + 400 * DAY)
    assert parts(learned) == {SMALL: 1.0}


def test_a_clock_that_is_set_back_forgets_nothing() -> None:
    learned = Learned()
    learned.add(LARGE, "a", created=START)
    version = learned.version
    learned.age(START - 90 * DAY)
    learned.add(LARGE, "a", created=0)
    assert learned.version == version + 1
    assert learned.count == 2


@given(st.lists(st.tuples(st.sampled_from((SMALL, LARGE)), st.sampled_from("abc"), st.integers(0, 90 * DAY))))
def test_the_same_arrivals_give_the_same_mix_whoever_asks_in_between(
    arrivals: list[tuple[Asked, str, int]],
) -> None:
    one, other = Learned(), Learned()
    for size, tenant, at in arrivals:
        one.add(size, tenant, created=START + at)
        assert one.mix is one.mix
        other.add(size, tenant, created=START + at)
    assert (one.mix, one.version, one.count) == (other.mix, other.version, other.count)


def test_names_are_bounded_whatever_a_pod_says() -> None:
    one = pod(model="x" * 10_000)
    assert one.request is not None
    assert len(asked_of(one, one.request).model) < 100


class TestKinds:
    def test_a_share_counts_by_the_resource_that_it_takes_most_of(self) -> None:
        kind = Kind(100_000, 80 << 30)
        assert kind.milli(Asked(0, 0, 1, compute=50_000, vram=8 << 30)) == 500
        assert kind.milli(Asked(0, 0, 1, compute=1, vram=40 << 30)) == 500
        assert kind.milli(Asked(0, 0, 1, percent=33_333)) == 334, "rounded up: never less than it takes"
        assert kind.milli(Asked(0, 0, 1, isolation="shared")) == 1000

    def test_what_no_device_of_the_kind_can_give_is_not_expected_of_it(self) -> None:
        kind = Kind(100_000, 80 << 30, frozenset({("NVIDIA", "NVIDIA A100-SXM4-80GB")}))
        assert kind.milli(Asked(0, 0, 1, compute=100_001)) is None
        assert kind.milli(Asked(0, 0, 1, vram=81 << 30)) is None
        assert kind.milli(Asked(0, 0, 1, compute=1, vendor="AMD")) is None
        assert kind.milli(Asked(0, 0, 1, compute=1, model="H100")) is None
        assert kind.milli(Asked(0, 0, 1, compute=1, model="A100")) == 1
        assert kind.milli(Asked(0, 0, 1, isolation="partitioned", partition="1g.10gb")) is None

    def test_devices_without_a_resource_give_none_of_it(self) -> None:
        kind = Kind(0, 16 << 30)
        assert kind.milli(Asked(0, 0, 1, vram=8 << 30)) == 500
        assert kind.milli(Asked(0, 0, 1, compute=1)) is None


def test_nothing_that_was_learned_is_halved_without_end() -> None:
    """A clock that jumps ahead by ages costs a bounded number of steps."""
    learned = Learned()
    learned.add(SMALL, "a", created=1)
    learned.age(1 << 40)
    assert not learned.mix


def test_an_old_batch_of_one_namespace_fades_beside_another_one_that_goes_on() -> None:
    """Day by day: not as long as two namespaces are two, which would be nine days."""
    learned = Learned()
    for _ in range(200):
        learned.add(LARGE, "b", created=START)
    found = []
    for day in range(5):
        for _ in range(200):
            learned.add(SMALL, "a", created=START + day * DAY)
        found.append(parts(learned)[LARGE])
    assert found[0] == 0.5
    assert all(now <= before * 0.67 for before, now in pairwise(found)), found
    assert found[-1] < 0.06
    learned.add(LARGE, "b", created=START + 4 * DAY)
    learned.age(START + 5 * DAY)
    assert parts(learned)[LARGE] > 0.3, "it has come back"
