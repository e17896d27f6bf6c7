"""Pods that wait for others to leave, in what cohorts share: counted once, and right before, in between and after."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cohort_worlds import NAMESPACES, cohorts, gpus, quotas, requests
from example_counts import part_of
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS, Amounts, Node
from tensorfusion.scheduling.copies import facts_of, state_of
from tensorfusion.scheduling.facts import CohortFacts, Placement, PodFacts, QuotaFacts
from tensorfusion.scheduling.quota import usage_of
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_cohorts import ReferenceCohorts
from worlds import fleet, pod

MOST = 4
"""Exchanges at one time: every set of them is a future."""


@dataclass(eq=False)
class Waits:
    """Pods that wait together for others to leave."""

    pods: list[PodFacts]
    awaits: frozenset[str]


class ExchangeMachine(RuleBasedStateMachine):
    """A state with nominated pods against a model of every future."""

    def __init__(self) -> None:
        super().__init__()
        self.state: State = fleet(1, 6)
        self.quotas: dict[str, QuotaFacts] = {}
        self.cohorts: dict[str, CohortFacts] = {}
        self.live: dict[str, PodFacts] = {}
        self.waits: list[Waits] = []
        self.number = 0

    @rule(quota=quotas)
    def set_quota(self, quota: QuotaFacts) -> None:
        self.state.set_quota(quota)
        self.quotas[quota.namespace] = quota

    @rule(facts=cohorts)
    def set_cohort(self, facts: CohortFacts) -> None:
        self.state.set_cohort(facts)
        self.cohorts[facts.name] = facts

    def made(self, namespace: str, request: GpuRequest) -> PodFacts:
        self.number += 1
        one = pod(f"p{self.number}", namespace=namespace)
        return PodFacts(one.uid, namespace, one.name, request=request)

    @staticmethod
    def place(request: GpuRequest) -> Placement:
        return Placement("n0", tuple(f"n0-{number}" for number in range(request.count)))

    @rule(namespace=st.sampled_from(NAMESPACES), request=requests)
    def come(self, namespace: str, request: GpuRequest) -> None:
        """A pod is admitted exactly where it is in every future, as far as that can be said."""
        refusing = [model for model in self.futures() if self.refuses(model, namespace, request)]
        try:
            self.state.quotas.check(namespace, request)
        except QuotaExceeded:
            member = self.state.quotas.cohorts.member(namespace)
            assert refusing or not self.apart or (member is not None and keeps(member.root))
            return
        assert not refusing
        one = self.made(namespace, request)
        self.live[one.uid] = one
        self.state.confirm(one, self.place(request))

    def refuses(self, model: ReferenceCohorts, namespace: str, request: GpuRequest) -> bool:
        quota, more = self.quotas.get(namespace), amounts(request)
        if quota is None:
            return False
        if quota.cohort and model.refused(namespace, more) is not None:
            return True
        live = [one for one in self.state.allocations.values() if one.pod.namespace == namespace]
        if quota.total_workers is not None and len(live) >= quota.total_workers:
            return True
        own = (quota.total_compute, quota.total_vram, quota.total_devices)
        held = [sum(one.usage.shared[part] for one in live) for part in DIMENSIONS]
        return not quota.cohort and any(
            most is not None and more[part] and held[part] + more[part] > most for part, most in enumerate(own)
        )

    @precondition(lambda self: self.live and len(self.waits) < MOST)
    @rule(data=st.data(), namespace=st.sampled_from(NAMESPACES), asked=st.lists(requests, min_size=1, max_size=2))
    def nominate(self, data: st.DataObject, namespace: str, asked: list[GpuRequest]) -> None:
        awaits = frozenset(data.draw(st.lists(st.sampled_from(sorted(self.live)), min_size=1, max_size=3)))
        pods = [self.made(namespace, request) for request in asked]
        for one in pods:
            assert one.request is not None
            self.state.nominate(one, self.place(one.request), awaits)
        same = next((one for one in self.waits if one.awaits == awaits), None)
        if same is None:
            self.waits.append(Waits(pods, awaits))
        else:
            same.pods += pods

    @precondition(lambda self: self.waits)
    @rule(data=st.data(), placed=st.booleans())
    def end(self, data: st.DataObject, placed: bool) -> None:
        """An exchange is given up, or all of its pods that have to leave have done so and it is made."""
        one = self.waits.pop(data.draw(st.integers(0, len(self.waits) - 1)))
        if placed:
            for uid in sorted(one.awaits & self.live.keys()):
                self.leave_(uid)
        for each in one.pods:
            assert each.request is not None
            if placed:
                self.live[each.uid] = each
                self.state.confirm(each, self.place(each.request))
            else:
                self.state.release(each.uid)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.leave_(data.draw(st.sampled_from(sorted(self.live))))

    def leave_(self, uid: str) -> None:
        del self.live[uid]
        self.state.release(uid)

    @rule(data=st.data())
    def try_out(self, data: st.DataObject) -> None:
        """What is undone leaves no trace, and another world like this one counts the same."""
        before = self.counted(self.state)
        mark = self.state.checkpoint()
        for uid in data.draw(
            st.lists(st.sampled_from(sorted(self.state.allocations)), unique=True) if self.live else st.just([])
        ):
            self.state.release(uid)
        self.counted(self.state)
        self.state.rollback(mark)
        assert self.counted(self.state) == before
        assert self.counted(state_of(facts_of(self.state))) == before

    @rule(data=st.data(), namespace=st.sampled_from(NAMESPACES), request=requests)
    def ask_without(self, data: st.DataObject, namespace: str, request: GpuRequest) -> None:
        """What would be if some pods had gone is what is when they have."""
        held = self.state.allocations
        gone = data.draw(st.lists(st.sampled_from(sorted(held)), max_size=3, unique=True)) if held else []
        less: dict[str, object] = {}
        quotas_of = self.state.quotas
        for uid in gone:
            usage = held[uid].usage
            if held[uid].pod.namespace in less:
                less[held[uid].pod.namespace].add(usage)  # type: ignore[attr-defined]
            else:
                less[held[uid].pod.namespace] = usage
        exchanged = frozenset(uid for uid in gone if self.state.is_exchanged(held[uid]))
        asked = answer(lambda: quotas_of.check(namespace, request, released=less, gone=exchanged))  # type: ignore[arg-type]
        mark = self.state.checkpoint()
        for uid in gone:
            self.state.release(uid)
        assert answer(lambda: quotas_of.check(namespace, request)) == asked
        self.state.rollback(mark)

    @property
    def apart(self) -> bool:
        """Nobody has to leave for several."""
        return all(not one.awaits & other.awaits for one, other in combinations(self.waits, 2))

    def futures(self) -> Iterator[ReferenceCohorts]:
        """What everybody holds when some of the exchanges were made; those who left for one have left for all."""
        for count in range(len(self.waits) + 1):
            for made in combinations(self.waits, count):
                left = frozenset[str]().union(*(one.awaits for one in made))
                there = [one for uid, one in self.live.items() if uid not in left]
                there += [
                    one
                    for wait in self.waits
                    if wait in made or not wait.awaits & self.live.keys()
                    for one in wait.pods
                ]
                held = dict.fromkeys(NAMESPACES, (0, 0, 0))
                for one in there:
                    assert one.request is not None
                    compute, vram, devices = amounts(one.request)
                    now = held[one.namespace]
                    held[one.namespace] = now[0] + compute, now[1] + vram, now[2] + devices
                yield ReferenceCohorts(self.quotas, self.cohorts, held)

    def counted(self, state: State) -> dict[str, list[list[int]]]:
        found = {}
        for name in NAMESPACES:
            node = state.quotas.cohorts.member(name)
            if node is not None:
                found[name] = [list(one.counted) for one in node.path]
                assert (name in node.root.borrowers) == any(map(node.above, DIMENSIONS))
        return found

    @invariant()
    def what_is_counted_is_the_most_that_any_future_holds(self) -> None:
        futures, book = list(self.futures()), self.state.quotas.cohorts
        for name in NAMESPACES:
            node = book.member(name)
            if node is None:
                continue
            apart = self.apart
            exact = apart and not keeps(node.root)
            for part in DIMENSIONS:
                most = max(model.uses(name, part) for model in futures)
                assert node.counted[part] >= most
                assert node.counted[part] == most or not apart
                for cohort in node.path[:-1]:
                    most = max(held_of(cohort, model, part) for model in futures)
                    assert cohort.counted[part] >= most
                    assert cohort.counted[part] == most or not (exact or len(self.waits) == 1)
                if node.own[part] is not None:
                    least = min(model.room(name, part) for model in futures)
                    assert max(0, node.room(part)) <= least
                    assert max(0, node.room(part)) == least or not exact


def keeps(root: Node) -> bool:
    """Some node of the tree does not lend all that it has."""
    return any(any(one.kept) or keeps(one) for one in root.children)


def held_of(cohort: Node, model: ReferenceCohorts, part: int) -> int:
    return cohort.quota[part] - model.balance(cohort.name, part, with_limit=False)


def amounts(request: GpuRequest) -> Amounts:
    return usage_of(request, (0,) * request.count).shared


def answer(check: object) -> str:
    try:
        check()  # type: ignore[operator]
    except QuotaExceeded as error:
        return error.key
    return ""


TestExchanges = ExchangeMachine.TestCase
TestExchanges.settings = settings(max_examples=part_of(40), stateful_step_count=25, deadline=None)


def test_who_has_to_leave_for_two_is_counted_for_one_of_them() -> None:
    state = fleet(1, 4)
    state.set_quota(gpus("a", 4))
    state.confirm(pod("there", namespace="a", count=2), Placement("n0", ("n0-0", "n0-1")))
    for number, others in enumerate((("uid-there",), ("uid-there", "uid-gone"))):
        state.nominate(pod(f"p{number}", namespace="a", count=2), Placement("n0", ("n0-0", "n0-1")), frozenset(others))
    member = state.quotas.cohorts.member("a")
    assert member is not None and member.counted[2] == 4
    state.release("uid-p0")
    assert state.quotas.cohorts.member("a") is member and member.counted[2] == 2


def test_what_passes_a_limit_on_lending_is_worked_out_anew_as_others_come_and_go() -> None:
    """The pod that goes is within what its namespace keeps: only while that holds more its end gives others room."""
    state = fleet(1, 8)
    for quota in (gpus("a", 4, lend_devices=2), gpus("b", 4)):
        state.set_quota(quota)
    here = Placement("n0", ("n0-0",))
    state.confirm(pod("goes", namespace="a"), here)
    state.nominate(pod("waits", namespace="b"), here, frozenset({"uid-goes"}))
    counted = []
    for change in ("", "first", "second", "third", "-third", "-second"):
        if change.startswith("-"):
            state.release(f"uid-{change[1:]}")
        elif change:
            state.confirm(pod(change, namespace="a"), here)
        root = state.quotas.cohorts.cohort("x")
        assert root is not None
        counted.append(root.counted[2])
    assert counted == [1, 1, 1, 2, 1, 1]
