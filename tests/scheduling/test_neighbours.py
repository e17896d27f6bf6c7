"""Topology spread and pod affinity: Kubernetes' answers, from counts that follow every charge and release."""

import random
import weakref
from collections.abc import Iterable
from typing import Any

import pytest

from naive_neighbours import Neighbourhood
from tensorfusion.model.core import Taint, Toleration
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.scheduling.cycle import decide
from tensorfusion.scheduling.diagnosis import Unschedulable
from tensorfusion.scheduling.domains import KEPT_DOMAINS
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.hints import Change, ChangeKind, helps
from tensorfusion.scheduling.neighbours import KEPT_BYTES, Neighbours
from tensorfusion.scheduling.pod_rules import PodRules, PodSelector, PodTerm, SpreadRule
from tensorfusion.scheduling.simulate import simulate
from tensorfusion.scheduling.state import State
from worlds import device, node, plain, pod, run

HOST = "kubernetes.io/hostname"


def label(key: str, *values: str, operator: str = "In") -> SelectorRequirement:
    return SelectorRequirement(key, operator, values)


def pods(*labels: SelectorRequirement, namespaces: Iterable[str] = ("team",)) -> PodSelector:
    return PodSelector(labels, tuple(namespaces))


WEB = pods(label("app", "web"))
DB = pods(label("app", "db"))


def zones(*names: str, devices: int = 0) -> State:
    """Nodes n0, n1, ... in these zones; "" is no zone."""
    state = State()
    for number, zone in enumerate(names):
        labels = {HOST: f"n{number}", **({"zone": zone} if zone else {})}
        state.upsert_node(node(f"n{number}", labels=labels))
        for index in range(devices):
            state.upsert_device(device(f"n{number}-{index}", f"n{number}"))
    return state


def web(name: str, **own: Any) -> PodFacts:
    rules = PodRules(**own) if own else None
    return plain(name, labels={"app": "web"}, rules=rules)


def refused(state: State, wish: PodFacts) -> Unschedulable:
    with pytest.raises(Unschedulable) as failure:
        decide(state, wish)
    return failure.value


def test_a_required_spread_keeps_the_skew_between_zones() -> None:
    state = zones("a", "a", "b")
    rule = SpreadRule("zone", 1, WEB)
    nodes = [run(state, web(str(number), spread=(rule,))).placement.node for number in range(4)]
    assert sorted(nodes).count("n2") == 2


def test_pods_with_shares_are_spread_as_well() -> None:
    state = zones("a", "a", "b", devices=2)
    rules = PodRules(spread=(SpreadRule("zone", 1, WEB),))
    nodes = [run(state, pod(str(n), labels={"app": "web"}, rules=rules)).placement.node for n in range(4)]
    assert sorted(nodes).count("n2") == 2


def test_a_zone_that_is_full_makes_the_spread_unsatisfiable_and_the_reason_says_what_to_do() -> None:
    state = zones("a", "b")
    state.upsert_node(node("n1", labels={"zone": "b"}, pods=0))
    rule = SpreadRule("zone", 1, WEB)
    run(state, web("one", spread=(rule,)))
    error = refused(state, web("two", spread=(rule,)))
    assert error.reasons == {"pods": 1, "topology-spread": 1}
    assert "raise maxSkew, or set whenUnsatisfiable to ScheduleAnyway" in str(error)


def test_nodes_without_the_label_are_out_and_a_label_that_no_node_has_is_named() -> None:
    state = zones("a", "")
    rule = SpreadRule("zone", 1, WEB)
    assert run(state, web("one", spread=(rule,))).placement.node == "n0"
    error = refused(state, web("two", spread=(SpreadRule("zones", 1, WEB),)))
    assert error.reasons == {"topology-label": 2}
    assert "No node has the label zones that topologySpreadConstraints names as topologyKey: did you mean zone" in str(
        error
    )


def test_min_domains_counts_missing_domains_as_empty() -> None:
    state = zones("a", "b")
    rule = SpreadRule("zone", 1, WEB, min_domains=3)
    run(state, web("one", spread=(rule,)), web("two", spread=(rule,)))
    assert refused(state, web("three", spread=(rule,))).reasons == {"topology-spread": 2}


def test_a_pod_that_is_being_deleted_counts_no_more_for_a_spread() -> None:
    state = zones("a", "b")
    state.upsert_node(node("n1", labels={"zone": "b"}, pods=0))
    rule = SpreadRule("zone", 1, WEB)
    wish = web("two", spread=(rule,))
    run(state, web("one", spread=(rule,)))
    failure = refused(state, wish)
    changes = state.leaving("uid-one")
    assert changes == (Change(ChangeKind.NEIGHBOUR),)
    assert helps(failure, changes[0])
    mark = state.checkpoint()
    state.release("uid-one")
    state.rollback(mark)
    assert run(state, wish).placement.node == "n0"


def test_a_preferred_spread_leads_to_the_emptier_zone_and_never_refuses() -> None:
    state = zones("a", "a", "b")
    rule = SpreadRule("zone", 1, WEB, required=False)
    nodes = [run(state, web(str(number), spread=(rule,))).placement.node for number in range(4)]
    assert nodes.count("n2") == 2


def test_anti_affinity_keeps_pods_apart_also_from_those_that_say_nothing() -> None:
    state = zones("a", "a", "b")
    alone = PodTerm("zone", WEB)
    first = run(state, web("one", anti_affinity=(alone,))).placement.node
    assert first == "n0"
    assert run(state, web("silent")).placement.node == "n2"
    error = refused(state, web("three", anti_affinity=(alone,)))
    assert error.reasons == {"pod-anti-affinity": 3}
    run(state, plain("other", labels={"app": "db"}))
    state.release("uid-silent")
    state.upsert_node(node("n2", labels={"zone": "b"}, ready=False))
    error = refused(state, web("silent-too"))
    assert error.reasons == {"not-ready": 1, "anti-affinity-of-others": 2}
    assert "Placed pods keep this one away by zone (pods with app=web in team)" in str(error)
    assert simulate(state, web("silent-too")).node_refusals["n1"] == "anti-affinity-of-others"


def test_the_first_of_pods_that_want_each_other_is_placed_and_the_others_follow() -> None:
    state = zones("a", "b", "b")
    together = PodTerm("zone", WEB)
    state.upsert_node(node("n0", labels={"zone": "a"}, pods=2))
    nodes = [run(state, web(str(number), affinity=(together,))).placement.node for number in range(2)]
    assert nodes == ["n0", "n0"]
    assert refused(state, web("three", affinity=(together,))).reasons == {"pods": 1, "pod-affinity": 2}


def test_two_pods_that_require_each_other_are_told_that_they_wait_for_ever() -> None:
    state = zones("a")
    error = refused(state, web("one", affinity=(PodTerm("zone", DB),)))
    assert error.reasons == {"pod-affinity": 1}
    assert "none of pods with app=db in team is placed: place one first; two pods that require each other" in str(error)
    (placed,) = state.assume(web("db"), run(state, plain("x")).placement)
    assert helps(error, placed)


def test_namespaces_are_chosen_by_name_or_by_label_as_they_change() -> None:
    state = zones("a", "b")
    run(state, PodFacts("u", "other", "db", labels={"app": "db"}))
    chosen = PodSelector((label("app", "db"),), (), (label("tier", "back"),))
    wish = web("one", affinity=(PodTerm("zone", chosen),))
    refused(state, wish)
    assert state.set_namespace("other", {"tier": "back"})
    assert decide(state, wish).placement.node == "n0"
    assert state.set_namespace("other", None)
    refused(state, wish)
    assert not state.set_namespace("other", {})


def test_new_labels_of_a_placed_pod_count_at_once() -> None:
    state = zones("a", "b")
    wish = web("one", affinity=(PodTerm("zone", DB),))
    refused(state, wish)
    where = run(state, plain("db", labels={"app": "none"})).placement
    state.confirm(plain("db", labels={"app": "db"}), where)
    assert decide(state, wish).placement.node == where.node
    state.confirm(plain("db", labels={"app": "none"}), where)
    refused(state, wish)


def test_preferences_of_placed_pods_count_for_those_that_come() -> None:
    state = zones("a", "b")
    run(state, plain("full", cpu=1000))
    liked = plain("db", node_selector={"zone": "b"}, rules=PodRules(preferred=((50, PodTerm("zone", WEB)),)))
    run(state, liked)
    assert decide(state, plain("any")).placement.node == "n0"
    assert decide(state, web("one")).placement.node == "n1"
    assert decide(state, web("one", preferred=((-60, PodTerm("zone", pods())),))).placement.node == "n1"


def test_counts_that_nobody_asks_about_any_more_are_forgotten_by_their_size() -> None:
    neighbours, rows = Neighbours(), 100_000
    kept = [weakref.ref(neighbours.selection((pods(label("app", str(n))),), rows)) for n in range(200)]
    alive = [one for ref in kept if (one := ref()) is not None]
    assert 0 < sum(one.pods.nbytes + one.leaving.nbytes for one in alive) <= KEPT_BYTES
    assert kept[-1]() is not None


def test_counts_that_placed_pods_have_terms_about_take_no_room_from_the_others() -> None:
    neighbours, rows = Neighbours(), 100_000
    neighbours.selection((WEB,), rows)
    terms = [PodTerm("zone", pods(label("app", str(number)))) for number in range(100)]
    for number, term in enumerate(terms):
        neighbours.charge(0, plain(str(number), rules=PodRules(anti_affinity=(term,))))
    asked = neighbours.selection((WEB,), rows)
    neighbours.selection((DB,), rows)
    assert neighbours.selection((WEB,), rows) is asked
    held = [weakref.ref(neighbours.selection((term.pods,), rows)) for term in terms]
    for number, term in enumerate(terms):
        neighbours.charge(0, plain(str(number), rules=PodRules(anti_affinity=(term,))), -1)
    for number in range(100):
        neighbours.selection((pods(label("tier", str(number))),), rows)
    assert not any(ref() for ref in held)


def test_node_labels_that_rules_named_once_are_forgotten_and_those_in_use_are_not() -> None:
    state = zones("a", "b")
    nodes, domains = state.fleet.nodes, state.fleet.neighbours.domains
    used = domains.of("zone", nodes)
    kept = []
    for number in range(4 * KEPT_DOMAINS):
        kept.append(weakref.ref(domains.of(f"key-{number}", nodes)))
        assert domains.of("zone", nodes) is used
    assert sum(ref() is not None for ref in kept) < KEPT_DOMAINS
    many = PodRules(spread=tuple(SpreadRule(f"key-{number}", 1, WEB) for number in range(2 * KEPT_DOMAINS)))
    assert refused(state, web("many", spread=many.spread)).reasons == {"topology-label": 2}
    assert run(state, web("one", spread=(SpreadRule("zone", 1, WEB),))).placement.node == "n0"


def random_selector(rng: random.Random) -> PodSelector:
    labels: Any = rng.choice(
        (
            (label("app", "web"),),
            (label("app", "db"),),
            (label("app", "web", "db"),),
            (label("app", operator="Exists"), label("tier", "x", operator="NotIn")),
            (),
            None,
        )
    )
    namespaces = rng.choice((("team",), ("team",), ("other", "team"), ()))
    by_label: Any = rng.choice((None, (), (label("kind", "big"),))) if not namespaces or rng.random() < 0.2 else None
    return PodSelector(labels, namespaces, by_label)


def random_rules(rng: random.Random) -> PodRules | None:
    if rng.random() < 0.3:
        return None
    keys = ("zone", "zone", "rack", HOST)
    terms = [PodTerm(rng.choice(keys), random_selector(rng)) for _ in range(4)]
    spread = [
        SpreadRule(
            rng.choice(keys),
            rng.randint(1, 3),
            PodSelector(random_selector(rng).labels, ("team",)),
            required=rng.random() < 0.5,
            min_domains=rng.choice((1, 1, 2, 4)),
            honour_affinity=rng.random() < 0.7,
            honour_taints=rng.random() < 0.5,
        )
        for _ in range(rng.choice((0, 0, 1, 2)))
    ]
    return PodRules(
        spread=tuple(spread),
        affinity=tuple(terms[: rng.choice((0, 0, 0, 1, 2))]),
        anti_affinity=tuple(terms[2:3] if rng.random() < 0.25 else ()),
        preferred=((rng.choice((-7, 3, 40)), terms[3]),) if rng.random() < 0.4 else (),
    )


def random_pod(rng: random.Random, number: int, *, shares: bool) -> PodFacts:
    labels = {"app": rng.choice(("web", "db", "cache"))} | ({"tier": rng.choice("xy")} if rng.random() < 0.5 else {})
    own: dict[str, Any] = {
        "namespace": rng.choice(("team", "team", "other")),
        "labels": labels,
        "rules": random_rules(rng),
        "node_selector": rng.choice(({}, {}, {}, {"zone": "a"})),
        "tolerations": rng.choice(((), (Toleration("key", "Exists"),))),
    }
    return pod(str(number), compute=1000, vram=1, **own) if shares else plain(str(number), **own)


@pytest.mark.parametrize("seed", range(60))
def test_columns_answer_as_loops_over_all_pods_do(seed: int) -> None:
    rng = random.Random(seed)
    state, naive = State(), Neighbourhood()
    shares = seed % 2 == 0
    for number in range(rng.randint(1, 8)):
        name = f"n{number}"
        labels = {HOST: name} | {key: rng.choice("abc") for key in ("zone", "rack") if rng.random() < 0.85}
        taints = rng.choice(((), (), (Taint("key", "", "NoSchedule"),)))
        naive.nodes[name] = node(name, labels=labels, taints=taints)
        state.upsert_node(naive.nodes[name])
        state.upsert_device(device(f"{name}-0", name)) if shares else None
    for number in range(60):
        change(rng, state, naive)
        wish = random_pod(rng, number, shares=shares)
        feasible = [name for name in naive.nodes if own_rules(naive, wish, name) and not naive.refusal(wish, name)]
        answer = simulate(state, wish)
        if not feasible:
            assert answer.decision is None
            continue
        assert set(answer.feasible_nodes) == set(feasible)
        assert answer.decision is not None
        spread, near = naive.spread_points(wish, feasible), naive.affinity_points(wish, feasible)
        weights = [
            (2 * 64 * spread[one] // (5 if shares else 1), 2 * 64 * near[one] // (5 if shares else 1))
            for one in feasible
        ]
        ranks = {
            one: base(state, one, shares=shares) + sum(parts) for one, parts in zip(feasible, weights, strict=True)
        }
        place = answer.decision.placement
        assert ranks[place.node] == max(ranks.values())
        naive.placed[wish.uid] = (wish, place.node)
        state.assume(wish, place)


def own_rules(naive: Neighbourhood, wish: PodFacts, name: str) -> bool:
    facts = naive.nodes[name]
    tolerated = bool(wish.tolerations) or not facts.taints
    return tolerated and all(facts.labels.get(key) == value for key, value in wish.node_selector.items())


def base(state: State, name: str, *, shares: bool) -> int:
    """The key of the node before rules between pods."""
    if not shares:
        return int(state.fleet.nodes.plain_score[state.fleet.nodes.records[name].row])
    pool = state.fleet.pools["pool"]
    row = pool.row_of(name)
    assert row is not None
    return int(pool.node_score[row]) * 64


def change(rng: random.Random, state: State, naive: Neighbourhood) -> None:
    """Something happens in the world."""
    kind = rng.random()
    if kind < 0.25 and naive.placed:
        uid = rng.choice(sorted(naive.placed))
        state.release(uid)
        del naive.placed[uid]
        naive.leaving.discard(uid)
    elif kind < 0.35 and naive.placed:
        uid = rng.choice(sorted(naive.placed))
        state.leaving(uid)
        naive.leaving.add(uid)
    elif kind < 0.45:
        labels = rng.choice(({}, {"kind": "big"}))
        naive.namespaces["other"] = labels
        state.set_namespace("other", labels)
    elif kind < 0.55:
        name = rng.choice(sorted(naive.nodes))
        old = naive.nodes[name]
        labels = {**old.labels, "zone": rng.choice("abc")}
        naive.nodes[name] = node(name, labels=labels, taints=old.taints)
        state.upsert_node(naive.nodes[name])
    elif kind < 0.65 and naive.placed:
        mark = state.checkpoint()
        for uid in rng.sample(sorted(naive.placed), min(2, len(naive.placed))):
            state.release(uid)
        state.rollback(mark)
