"""Quotas that are lent: what members of a cohort may hold, under any order of events, against a plain model."""

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cohort_worlds import COHORTS, NAMESPACES, cohorts, gpus, quotas, requests
from example_counts import part_of
from tensorfusion.errors import QuotaExceeded
from tensorfusion.model.cohort import ReclaimPolicy
from tensorfusion.model.request import GpuRequest
from tensorfusion.scheduling.cohort_nodes import DIMENSIONS
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.facts import CohortFacts, QuotaFacts
from tensorfusion.scheduling.hints import Change, ChangeKind, helps
from tensorfusion.scheduling.quota import QuotaBook, Usage
from tensorfusion.scheduling.state import State
from tensorfusion.testing.reference_cohorts import ReferenceCohorts
from worlds import fleet, pod


def usage(request: GpuRequest) -> Usage:
    return Usage(
        compute=request.compute * request.count,
        vram=request.vram * request.count,
        workers=1,
        devices=request.count,
    )


class BookMachine(RuleBasedStateMachine):
    """The book alone: it admits what the model admits, and its sums and shares are the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.book = QuotaBook()
        self.quotas: dict[str, QuotaFacts] = {}
        self.cohorts: dict[str, CohortFacts] = {}
        self.held: list[tuple[str, Usage]] = []

    @property
    def model(self) -> ReferenceCohorts:
        held = {name: self.sum_of(name) for name in NAMESPACES}
        return ReferenceCohorts(self.quotas, self.cohorts, {name: one.shared for name, one in held.items()})

    def sum_of(self, namespace: str) -> Usage:
        total = Usage()
        for name, one in self.held:
            if name == namespace:
                total.add(one)
        return total

    @rule(quota=quotas)
    def set_quota(self, quota: QuotaFacts) -> None:
        self.book.set(quota)
        self.quotas[quota.namespace] = quota

    @rule(namespace=st.sampled_from(NAMESPACES))
    def remove_quota(self, namespace: str) -> None:
        self.book.remove(namespace)
        self.quotas.pop(namespace, None)

    @rule(facts=cohorts)
    def set_cohort(self, facts: CohortFacts) -> None:
        self.book.cohorts.set_cohort(facts)
        self.cohorts[facts.name] = facts

    @rule(name=st.sampled_from(COHORTS))
    def remove_cohort(self, name: str) -> None:
        self.book.cohorts.remove_cohort(name)
        self.cohorts.pop(name, None)

    @rule(namespace=st.sampled_from(NAMESPACES), request=requests)
    def ask(self, namespace: str, request: GpuRequest) -> None:
        model, more = self.model, usage(request)
        quota = self.quotas.get(namespace)
        refused = quota is not None and (
            quota.total_workers is not None and self.sum_of(namespace).workers + 1 > quota.total_workers
        )
        if namespace in model.quotas:
            refused = refused or model.refused(namespace, more.shared) is not None
        elif quota is not None:
            for part, own in enumerate((quota.total_compute, quota.total_vram, quota.total_devices)):
                now, asked = self.sum_of(namespace).shared[part], more.shared[part]
                refused = refused or (own is not None and asked > 0 and now + asked > own)
        try:
            self.book.check(namespace, request)
        except QuotaExceeded as error:
            assert refused, error
            assert error.cohort in ("", model.root(namespace))
            return
        assert not refused
        if namespace in model.quotas:
            self.admitted(model, namespace, more)
        self.book.add(namespace, more)
        self.held.append((namespace, more))

    def admitted(self, model: ReferenceCohorts, namespace: str, more: Usage) -> None:
        """What holds of every admission: nothing that the tree does not have, and no limit that it passes."""
        after, tree = model.with_more(namespace, more.shared), model.tree(model.root(namespace))
        for part in DIMENSIONS:
            own = model.own(namespace, part)
            if own is None or not more.shared[part]:
                continue
            limit = (model.quotas[namespace].borrow_compute, None, model.quotas[namespace].borrow_devices)[part]
            assert limit is None or after.uses(namespace, part) <= own + limit
            kept = [
                max(0, (model.own(name, part) or 0) - lend)
                if (lend := getattr(model.quotas[name], ("lend_compute", "lend_vram", "lend_devices")[part]))
                is not None
                else 0
                for name in tree
            ]
            if after.uses(namespace, part) > kept[tree.index(namespace)]:  # it takes of what is lent
                taken = sum(max(0, after.uses(name, part) - mine) for name, mine in zip(tree, kept, strict=True))
                lent = sum((model.own(name, part) or 0) - mine for name, mine in zip(tree, kept, strict=True))
                alone = all(model.parent(model.quotas[name].cohort) is None for name in tree)
                assert not alone or taken <= lent

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.held:
            name, one = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
            self.book.add(name, one, -1)

    @rule(data=st.data(), request=requests)
    def ask_without(self, data: st.DataObject, request: GpuRequest) -> None:
        """What would be if some pods had gone is what is when they have."""
        gone = data.draw(st.lists(st.sampled_from(self.held), max_size=3, unique_by=id)) if self.held else []
        namespace = data.draw(st.sampled_from(NAMESPACES))
        released: dict[str, Usage] = {}
        for name, one in gone:
            released.setdefault(name, Usage()).add(one)
        before = self.sums()
        asked = self.answer(namespace, request, released)
        assert self.sums() == before
        for name, one in gone:
            self.book.add(name, one, -1)
        assert self.answer(namespace, request, None) == asked
        for name, one in gone:
            self.book.add(name, one)

    def answer(self, namespace: str, request: GpuRequest, released: dict[str, Usage] | None) -> str:
        try:
            self.book.check(namespace, request, released=released)
        except QuotaExceeded as error:
            return error.key
        return ""

    def sums(self) -> list[object]:
        nodes = [self.book.cohorts.member(name) for name in NAMESPACES]
        return [[(one.name, list(one.held)) for one in node.path] for node in nodes if node is not None]

    @invariant()
    def sums_and_shares_are_the_models(self) -> None:
        model, cohorts = self.model, self.book.cohorts
        for name in NAMESPACES:
            node = cohorts.member(name)
            assert (node is None) == (name not in model.quotas)
            assert cohorts.tree_of(name) == model.root(name)
            if node is None:
                assert list(cohorts.together(name)) == [name]
                continue
            root = node.path[0]
            assert sorted(cohorts.together(name)) == model.tree(root.name)
            for part in DIMENSIONS:
                assert node.held[part] == model.uses(name, part)
                if node.own[part] is not None:
                    room = node.room(part)
                    for more, wanted in ((room, True), (room + 1, False)):
                        amounts = (more * (part == 0), more * (part == 1), more * (part == 2))
                        assert more <= 0 or (model.refused(name, amounts) is None) == wanted
            assert node.share == model.share(name)
            for cohort in node.path[1:-1]:
                assert cohort.share == model.cohort_share(cohort.name)
            for other in node.parent.children if node.parent is not None else ():
                assert (node.standing() < other.standing()) == (node.share < other.share)
            more = model.with_more(name, (2, 1, 1))
            above = [more.cohort_share(one.name) for one in node.path[1:-1]]
            assert len(node.standings_with((2, 1, 1))) == len(above) + 1
            assert (name in root.borrowers) == any(
                node.held[part] > (model.own(name, part) or 0) for part in DIMENSIONS
            )


TestBook = BookMachine.TestCase
TestBook.settings = settings(max_examples=part_of(60), stateful_step_count=30, deadline=None)


def book(*facts: QuotaFacts | CohortFacts) -> QuotaBook:
    found = QuotaBook()
    for one in facts:
        if isinstance(one, QuotaFacts):
            found.set(one)
        else:
            found.cohorts.set_cohort(one)
    return found


def refusal(quotas: QuotaBook, namespace: str, count: int) -> QuotaExceeded | None:
    try:
        quotas.check(namespace, GpuRequest("pool", count=count))
    except QuotaExceeded as error:
        return error
    return None


def test_a_member_uses_what_the_others_do_not() -> None:
    quotas = book(gpus("a", 4), gpus("b", 4))
    assert refusal(quotas, "a", 8) is None
    quotas.add("b", Usage(devices=3))
    assert refusal(quotas, "a", 5) is None
    assert refusal(quotas, "a", 6) is not None


def test_lending_keeps_what_is_not_lent_and_borrowing_has_its_own_limit() -> None:
    quotas = book(gpus("a", 4, borrow_devices=3), gpus("b", 4, lend_devices=2))
    assert refusal(quotas, "a", 6) is None
    assert refusal(quotas, "a", 7) is not None
    quotas.add("a", Usage(devices=6))
    assert refusal(quotas, "b", 2) is None
    assert refusal(quotas, "b", 3) is not None
    assert refusal(book(gpus("a", 4, borrow_devices=3), gpus("b", 9)), "a", 8) is not None


def test_what_a_quota_does_not_bound_is_not_shared() -> None:
    quotas = book(gpus("a", 1), QuotaFacts("b", total_vram=5, cohort="x"))
    assert refusal(quotas, "b", 50) is None
    assert refusal(quotas, "a", 2) is not None


def test_cohorts_lend_each_other_through_their_parent() -> None:
    parts = (gpus("a", 4), gpus("b", 2, "y"), CohortFacts("p"))
    joined = book(*parts, CohortFacts("x", parent="p"), CohortFacts("y", parent="p", lend_devices=1))
    assert refusal(joined, "a", 5) is None
    assert refusal(joined, "a", 6) is not None
    apart = book(*parts, CohortFacts("x", parent="p"))
    assert refusal(apart, "a", 5) is not None


@pytest.mark.parametrize("parent", ["x", "nobody", "y"])
def test_a_parent_that_cannot_be_one_is_none(parent: str) -> None:
    quotas = book(gpus("a", 1), gpus("b", 1, "y"), CohortFacts("x", parent=parent), CohortFacts("y", parent="x"))
    assert refusal(quotas, "a", 2) is not None


def test_a_quota_that_shrinks_under_what_is_held_only_stops_admission() -> None:
    quotas = book(gpus("a", 4), gpus("b", 4))
    quotas.add("a", Usage(devices=6))
    quotas.set(gpus("a", 1))
    error = refusal(quotas, "b", 1)
    assert error is not None
    assert error.resolvable
    quotas.remove("b")
    assert refusal(quotas, "a", 1) is not None
    assert refusal(quotas, "b", 100) is None


def test_the_refusal_says_what_is_ones_own_and_who_is_in_the_way() -> None:
    quotas = book(gpus("a", 4), gpus("b", 4), CohortFacts("x"))
    quotas.add("a", Usage(devices=7))
    assert str(refusal(quotas, "a", 2)) == (
        "quota exceeded in namespace a for total.max.gpuCount.limit: requested 9, limit 8: "
        "4 is its own, cohort x has 1 left for it"
    )
    start = "quota exceeded in namespace b for total.max.gpuCount.limit: requested 2, limit 1: 4 is its own, "
    lent = "1 other namespace of cohort x holds more than its own: "
    assert (
        str(refusal(quotas, "b", 2))
        == f"{start}{lent}it waits until that ends, as no reclaim is asked for between them"
    )
    quotas.cohorts.set_cohort(CohortFacts("x", reclaim=ReclaimPolicy.ANY))
    assert str(refusal(quotas, "b", 2)) == f"{start}{lent}pods of theirs may be evicted for it"
    error = refusal(quotas, "b", 9)
    assert error is not None
    assert not error.resolvable


def test_a_release_anywhere_in_the_tree_helps_and_elsewhere_does_not() -> None:
    state = fleet(2, 4)
    for quota in (gpus("team", 1), gpus("b", 1), gpus("other", 1, "y")):
        state.set_quota(quota)
    for namespace in ("b", "other"):
        one = pod(namespace, namespace=namespace)
        state.confirm(one, decide(state, one).placement)
    state.confirm(pod("p"), decide(state, pod("p")).placement)
    with pytest.raises(QuotaExceeded) as caught:
        decide(state, pod("q"))
    released = {
        uid: [one for one in state.release(uid) if one.kind is ChangeKind.USAGE] for uid in ("uid-b", "uid-other")
    }
    assert [helps(caught.value, one) for one in released["uid-b"]] == [True]
    assert [helps(caught.value, one) for one in released["uid-other"]] == [False]
    assert [helps(caught.value, one) for one in state.set_cohort(CohortFacts("x", parent="z"))] == [True]
    assert not helps(caught.value, Change(ChangeKind.QUOTA, "b"))


def test_a_share_in_percent_is_bounded_by_what_is_lent() -> None:
    state: State = fleet(1, 2)
    quota = QuotaFacts("team", total_compute=4_000, cohort="x")
    state.set_quota(quota)
    half = GpuRequest("pool", percent=50_000)
    with pytest.raises(QuotaExceeded):
        decide(state, replace(pod("p"), request=half))
    state.set_quota(QuotaFacts("b", total_compute=1_000_000, cohort="x"))
    assert decide(state, replace(pod("p"), request=half)).placement.devices
