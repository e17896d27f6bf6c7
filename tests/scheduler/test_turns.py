"""Whose turn it is in a cohort: priority first, then the smallest share, then arrival; and who is woken for what."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from example_counts import part_of
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduler.pods import Failure
from tensorfusion.scheduler.queue import Entry, PendingQueue
from tensorfusion.scheduler.turns import Turns
from tensorfusion.scheduling.facts import CohortFacts, PodFacts, QuotaFacts
from tensorfusion.scheduling.quota import QuotaBook, Usage, usage_of
from tensorfusion.testing.reference_cohorts import ReferenceCohorts


class Site:
    """A queue and a book of quotas, in devices; placed pods are charged."""

    def __init__(self, *facts: QuotaFacts | CohortFacts) -> None:
        self.book = QuotaBook()
        for one in facts:
            self.tell(one)
        self.turns = Turns(self.book.cohorts)
        self.queue: PendingQueue[PodFacts, Failure] = PendingQueue(self.turns)
        self.now = 0.0

    def tell(self, facts: QuotaFacts | CohortFacts) -> None:
        if isinstance(facts, QuotaFacts):
            self.book.set(facts)
        else:
            self.book.cohorts.set_cohort(facts)

    def put(self, *names: str, count: int = 1, priority: int = 0) -> None:
        """Pods: the first letter is the namespace."""
        for name in names:
            facts = PodFacts(name, name[0], name, request=GpuRequest("pool", count=count))
            self.queue.put(name, facts, priority=priority, now=self.now)

    def decide(self) -> str:
        """One turn: the pod, and a ! where it has to wait. Empty where nobody is due."""
        entry = self.queue.pop(self.now)
        if entry is None:
            return ""
        facts = entry.facts
        assert facts.request is not None
        try:
            self.book.check(facts.namespace, facts.request)
        except QuotaExceeded as failure:
            self.queue.failed(entry, failure, now=self.now)
            return f"{facts.name}!"
        self.book.add(facts.namespace, usage_of(facts.request, (0,) * facts.request.count))
        self.queue.remove(entry.uid)
        return facts.name

    def all(self) -> list[str]:
        """Turns until nobody is due any more."""
        found: list[str] = []
        while True:
            for entry in self.turns.due():
                self.queue.activate(entry.uid)
            name = self.decide()
            if not name:
                return found
            found.append(name)

    def end(self, namespace: str, devices: int = 1) -> None:
        self.book.add(namespace, Usage(devices=devices, workers=1), -1)
        self.turns.given_back([self.book.cohorts.tree_of(namespace)])


def gpus(namespace: str, own: int, cohort: str = "x", **other: Any) -> QuotaFacts:
    return QuotaFacts(namespace, total_devices=own, cohort=cohort, **other)


def test_those_within_their_own_go_before_those_who_borrow_whoever_came_first() -> None:
    site = Site(gpus("a", 2), gpus("b", 2), gpus("c", 4))
    site.put("a1", "a2", "a3", "a4", "b1", "b2", "b3")
    assert site.all() == ["a1", "a2", "b1", "b2", "a3", "b3", "a4"]


def test_priority_goes_first_and_share_among_equals() -> None:
    site = Site(gpus("a", 0), gpus("b", 0), gpus("c", 9))
    site.put("a1", "a2")
    site.put("b1", "a3", priority=5)
    site.put("b2")
    assert site.all() == ["b1", "a3", "a1", "b2", "a2"]


def test_twice_the_weight_gets_twice_the_part() -> None:
    site = Site(gpus("a", 0, fair_weight=2), gpus("b", 0), gpus("c", 9))
    site.put(*(f"b{i}" for i in range(9)), *(f"a{i}" for i in range(9)))
    first = site.all()[:9]
    assert sorted(name[0] for name in first) == ["a"] * 6 + ["b"] * 3


def test_shares_are_compared_from_the_top() -> None:
    site = Site(
        CohortFacts("p"),
        CohortFacts("x", parent="p"),
        CohortFacts("y", parent="p"),
        gpus("a", 0),
        gpus("b", 0),
        gpus("c", 0, "y"),
        gpus("d", 8, "p"),
    )
    site.put("a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3", "c4")
    assert site.all()[:8] == ["a1", "c1", "b1", "c2", "a2", "c3", "b2", "c4"]


def test_the_turns_of_other_pods_stay_theirs() -> None:
    site = Site(gpus("a", 1), gpus("b", 9))
    site.put("a1", "z1", "a2", "z2", "b1", "z3")
    assert site.all() == ["a1", "z1", "b1", "z2", "a2", "z3"]


def test_what_is_given_back_goes_to_the_smallest_share_without_a_backoff_and_wakes_no_others() -> None:
    site = Site(gpus("a", 1), gpus("b", 1), gpus("c", 2))
    site.put("a1", "a2", "a3", "b1")
    assert site.all() == ["a1", "b1", "a2", "a3"]
    site.put(*(f"a{i}" for i in range(4, 20)), "b2", "b3")
    assert len(site.all()) == 18
    site.end("a")
    assert site.all() == ["b2"]
    site.end("a")
    assert site.all() == ["a4"]  # both have a share of a quarter: the one who came first
    site.end("a", 2)
    assert site.all() == ["a5", "a6"]  # with it a comes to a quarter again, b would come to a half


def test_what_the_first_one_cannot_use_the_next_one_gets() -> None:
    site = Site(gpus("a", 1), gpus("b", 1), gpus("c", 2))
    site.put("c1", count=4)
    assert site.all() == ["c1"]
    site.put("b1", count=2)
    site.put("a1", "a2")
    assert site.all() == ["a1!", "a2!", "b1!"]
    site.end("c", 1)
    assert site.all() == ["a1"]
    site.end("c", 1)
    assert site.all() == ["a2"]  # b1 comes first by its share, but needs two


def test_who_is_gone_when_it_is_woken_leaves_its_turn_to_the_next() -> None:
    site = Site(gpus("a", 1), gpus("b", 1))
    site.put("a1", "a2", "a3", "b1")
    assert site.all() == ["a1", "b1", "a2!", "a3!"]
    site.end("b")
    (woken,) = site.turns.due()
    site.queue.activate(woken.uid)
    site.queue.remove(woken.uid)
    assert site.all() == ["a3"]


def test_nothing_changes_for_those_in_no_cohort() -> None:
    site = Site(QuotaFacts("a", total_devices=1), QuotaFacts("b", total_devices=9))
    site.put("a1", "a2", "b1")
    assert site.all() == ["a1", "a2!", "b1"]
    site.tell(gpus("b", 9))
    site.put("b2", "b3", "a3")
    site.tell(gpus("a", 1))
    assert site.all() == ["b2", "b3", "a3"]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcz"), st.integers(1, 3), st.integers(0, 1)),
        st.tuples(st.just("end"), st.sampled_from("abc"), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("turn"), st.just(""), st.just(0), st.just(0)),
        st.tuples(st.just("quota"), st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 2)),
        st.tuples(st.just("drop"), st.just(""), st.integers(0, 9), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=part_of(150), deadline=None)
@given(steps)
def test_in_any_order_of_events_it_is_the_turn_of_the_smallest_share_and_nobody_is_forgotten(
    events: list[tuple[str, str, int, int]],
) -> None:
    quotas = {
        name: gpus(name, own, "xxy"[i], fair_weight=i + 1)
        for i, (name, own) in enumerate(zip("abc", (2, 1, 2), strict=True))
    }
    cohorts = {"x": CohortFacts("x", parent="p"), "y": CohortFacts("y", parent="p"), "p": CohortFacts("p")}
    site = Site(*quotas.values(), *cohorts.values())
    number = 0
    for kind, name, amount, priority in events:
        held = {one: site.book.usage(one).shared for one in "abc"}
        model = ReferenceCohorts(quotas, cohorts, held)
        if kind == "put":
            number += 1
            site.put(f"{name}{number}", count=amount, priority=priority)
        elif kind == "end" and held[name][2] >= amount:
            site.end(name, amount)
        elif kind == "quota":
            quotas[name] = gpus(name, amount, ("x", "y", "p")[priority], fair_weight=amount + 1)
            site.tell(quotas[name])
            site.queue.wake(lambda _: True, now=site.now)  # as a hint about cohorts does
            site.now += 100
        elif kind == "drop":
            names = sorted(one.uid for one in entries(site))
            if names:
                site.queue.remove(names[amount % len(names)])
        elif kind == "turn":
            site.queue.next_due(site.now)  # whose backoff is over is active from here on
            active = [one for one in entries(site) if one.place.name == "ACTIVE"]
            told = site.decide().rstrip("!")
            if told and told[0] != "z":
                mine = next(one for one in active if one.uid == told)
                rivals = [one for one in active if one.priority == mine.priority and one.facts.namespace != "z"]
                heads = [min((one for one in rivals if one.uid[0] == name), default=None) for name in "abc"]
                assert key(model, mine) == min(key(model, one) for one in heads if one is not None)
    site.all()
    for entry in site.queue.waiting():  # nobody waits whom the tree has room for
        request = entry.facts.request
        assert request is not None
        with pytest.raises(QuotaExceeded):
            site.book.check(entry.facts.namespace, request)


def entries(site: Site) -> list[Entry[PodFacts, Failure]]:
    return [entry for i in range(60) for name in "abcz" if (entry := site.queue.get(f"{name}{i}")) is not None]


def key(model: ReferenceCohorts, entry: Entry[PodFacts, Failure]) -> tuple[Any, ...]:
    request, namespace = entry.facts.request, entry.facts.namespace
    assert request is not None
    after = model.with_more(namespace, (0, 0, request.count))
    cohort = model.quotas[namespace].cohort
    above = [after.cohort_share(cohort)] if model.parent(cohort) else []
    return (*above, after.share(namespace)), entry.arrival
