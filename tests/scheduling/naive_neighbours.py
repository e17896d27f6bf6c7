"""Kubernetes' rules between pods written down naively: every pod, every node, one loop each. No code of the product."""

import math
from dataclasses import dataclass, field
from typing import Any

from tensorfusion.scheduling.facts import NodeFacts, PodFacts
from tensorfusion.scheduling.pod_rules import PodSelector, PodTerm, SpreadRule


def expression_holds(one: Any, labels: dict[str, str]) -> bool:
    has = one.key in labels
    return {
        "In": has and labels.get(one.key) in one.values,
        "NotIn": not has or labels.get(one.key) not in one.values,
        "Exists": has,
        "DoesNotExist": not has,
    }[one.operator]


@dataclass
class Neighbourhood:
    nodes: dict[str, NodeFacts] = field(default_factory=dict)
    placed: dict[str, tuple[PodFacts, str]] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)

    def selects(self, wish: PodSelector, pod: PodFacts) -> bool:
        if wish.labels is None or not all(expression_holds(one, dict(pod.labels)) for one in wish.labels):
            return False
        if pod.namespace in wish.namespaces:
            return True
        by_labels = wish.namespace_labels
        own = self.namespaces.get(pod.namespace, {})
        return by_labels is not None and all(expression_holds(one, own) for one in by_labels)

    def same_domain(self, one: str, other: str, key: str) -> bool:
        if one not in self.nodes or other not in self.nodes:
            return False
        value = self.nodes[one].labels.get(key)
        return value is not None and value == self.nodes[other].labels.get(key)

    def near(self, term: PodTerm, pod: PodFacts, node: str) -> bool:
        return self.selects(term.pods, pod) and self.same_domain(self.placed[pod.uid][1], node, term.key)

    def refusal(self, pod: PodFacts, node: str) -> str:
        rules = pod.rules
        if rules is not None:
            hard = [rule for rule in rules.spread if rule.required]
            if any(rule.key not in self.nodes[node].labels for rule in hard):
                return "topology-label"
            if any(self.too_uneven(pod, rule, hard, node) for rule in hard):
                return "topology-spread"
            if rules.affinity and not self.affine(pod, rules.affinity, node):
                return "pod-affinity"
            for term in rules.anti_affinity:
                if any(self.near(term, other, node) for other, _ in self.placed.values()):
                    return "pod-anti-affinity"
        for other, where in self.placed.values():
            for term in other.rules.anti_affinity if other.rules is not None else ():
                if self.selects(term.pods, pod) and self.same_domain(where, node, term.key):
                    return "anti-affinity-of-others"
        return ""

    def affine(self, pod: PodFacts, terms: tuple[PodTerm, ...], node: str) -> bool:
        if any(term.key not in self.nodes[node].labels for term in terms):
            return False
        chosen = [
            where
            for other, where in self.placed.values()
            if where in self.nodes and all(self.selects(term.pods, other) for term in terms)
        ]
        if all(any(self.same_domain(where, node, term.key) for where in chosen) for term in terms):
            return True
        anywhere = any(term.key in self.nodes[where].labels for where in chosen for term in terms)
        return not anywhere and all(self.selects(term.pods, pod) for term in terms)

    def counted(self, pod: PodFacts, rule: SpreadRule, rules: list[SpreadRule], node: NodeFacts) -> bool:
        if any(one.key not in node.labels for one in rules):
            return False
        if rule.honour_affinity and any(node.labels.get(k) != v for k, v in pod.node_selector.items()):
            return False
        hard = [taint for taint in node.taints if taint.effect in ("NoSchedule", "NoExecute")]
        known = {wish.key for wish in pod.tolerations}
        return not rule.honour_taints or all(taint.key in known for taint in hard)

    def pods_on(self, rule: SpreadRule, node: str) -> int:
        return sum(
            where == node and uid not in self.leaving and self.selects(rule.pods, other)
            for uid, (other, where) in self.placed.items()
        )

    def too_uneven(self, pod: PodFacts, rule: SpreadRule, rules: list[SpreadRule], node: str) -> bool:
        domains: dict[str, int] = {}
        for one in self.nodes.values():
            if self.counted(pod, rule, rules, one):
                value = one.labels[rule.key]
                domains[value] = domains.get(value, 0) + self.pods_on(rule, one.name)
        least = min(domains.values()) if len(domains) >= rule.min_domains else 0
        here = domains.get(self.nodes[node].labels[rule.key], 0)
        return here + self.selects(rule.pods, pod) - least > rule.skew

    def spread_points(self, pod: PodFacts, feasible: list[str]) -> dict[str, int]:
        rules = [rule for rule in pod.rules.spread if not rule.required] if pod.rules is not None else []
        rated = [node for node in feasible if all(rule.key in self.nodes[node].labels for rule in rules)]
        costs: dict[str, int] = {}
        for node in rated if rules else ():
            cost = 0.0
            for rule in rules:
                value = self.nodes[node].labels[rule.key]
                if rule.key == "kubernetes.io/hostname":
                    size, here = len(rated), self.pods_on(rule, node)
                else:
                    size = len({self.nodes[one].labels[rule.key] for one in rated})
                    here = sum(
                        self.pods_on(rule, one.name)
                        for one in self.nodes.values()
                        if one.labels.get(rule.key) == value and self.counted(pod, rule, rules, one)
                    )
                cost += here * math.log(size + 2) + rule.skew - 1
            costs[node] = math.floor(cost + 0.5)
        if not costs:
            return dict.fromkeys(feasible, 0)
        worst, best = max(costs.values()), min(costs.values())
        points = {node: 100 if worst == 0 else 100 * (worst + best - cost) // worst for node, cost in costs.items()}
        return {node: points.get(node, 0) for node in feasible}

    def affinity_points(self, pod: PodFacts, feasible: list[str]) -> dict[str, int]:
        raw = dict.fromkeys(feasible, 0)
        for node in feasible:
            for other, where in self.placed.values():
                for weight, term in pod.rules.preferred if pod.rules is not None else ():
                    raw[node] += weight * self.near(term, other, node)
                if other.rules is None:
                    continue
                about = [*other.rules.preferred, *((1, term) for term in other.rules.affinity)]
                for weight, term in about:
                    raw[node] += weight * (self.selects(term.pods, pod) and self.same_domain(where, node, term.key))
        least, most = min(raw.values()), max(raw.values())
        return {node: 100 * (value - least) // (most - least) if most > least else 0 for node, value in raw.items()}
