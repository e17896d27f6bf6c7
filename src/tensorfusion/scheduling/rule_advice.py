"""What to change where rules between pods leave no node: sentences that name the rule, asked for after a failure only.

Apart from the rules because a decision that succeeds never needs them.
"""

from collections.abc import Collection, Iterator, Sequence

from tensorfusion.scheduling import pod_affinity
from tensorfusion.scheduling.facts import PodFacts
from tensorfusion.scheduling.fleet import Fleet
from tensorfusion.scheduling.neighbours import Selection, Terms
from tensorfusion.scheduling.pod_rules import PodRules
from tensorfusion.scheduling.reasons import NodeReason
from tensorfusion.suggestions import did_you_mean


def advice(fleet: Fleet, pod: PodFacts, reasons: Collection[NodeReason], about: Sequence[Selection]) -> Iterator[str]:
    """A sentence without its full stop for each rule that stands in the way."""
    rules = pod.rules or PodRules()
    if NodeReason.PORTS in reasons:
        ports = ", ".join(map(str, rules.ports))
        yield f"Host port {ports}: wait for the pod that has it, ask for another port, or leave out hostPort"
    if NodeReason.UNLABELLED in reasons:
        keys = dict.fromkeys(rule.key for rule in rules.spread if rule.required)
        yield from (_unlabelled(fleet, key, "topologySpreadConstraints") for key in keys if not _any(fleet, key))
        if all(_any(fleet, key) for key in keys):
            yield f"Topology spread: label every node that may take the pod with {' and '.join(keys)}"
    if NodeReason.SPREAD in reasons:
        yield from _spread(rules)
    if NodeReason.POD_AFFINITY in reasons:
        yield from _affinity(fleet, pod, rules)
    if NodeReason.POD_ANTI_AFFINITY in reasons:
        for term in rules.anti_affinity:
            yield f"Pod anti-affinity: {term.pods} are in every {term.key} that is left: add nodes, or prefer it only"
    if NodeReason.KEPT_OFF in reasons:
        keys = dict.fromkeys(
            f"{key} ({one.wishes[0]})"
            for one in about
            for (kind, key), column in one.terms.items()
            if kind is Terms.KEEP_OFF and column.any()
        )
        yield f"Placed pods keep this one away by {', '.join(keys)}: change its labels, or their anti-affinity"


def _spread(rules: PodRules) -> Iterator[str]:
    for rule in rules.spread:
        if rule.required:
            least = f" with minDomains {rule.min_domains}" if rule.min_domains > 1 else ""
            yield (
                f"Topology spread over {rule.key}: maxSkew {rule.skew}{least} leaves no node: add room where there are "
                "fewest of the pods, raise maxSkew, or set whenUnsatisfiable to ScheduleAnyway"
            )


def _affinity(fleet: Fleet, pod: PodFacts, rules: PodRules) -> Iterator[str]:
    for term in rules.affinity:
        if not _any(fleet, term.key):
            yield _unlabelled(fleet, term.key, "podAffinity")
    if not pod_affinity.is_first(fleet, pod, rules.affinity):
        return
    for term in rules.affinity:
        if term.pods.labels is None:
            yield f"Pod affinity over {term.key}: it selects no pod: state a labelSelector"
        elif not fleet.neighbours.matches((term.pods,), pod):
            yield (
                f"Pod affinity over {term.key}: none of {term.pods} is placed: place one first; two pods that require "
                "each other wait for ever, unless one of them has the labels that it asks for itself"
            )


def _any(fleet: Fleet, key: str) -> bool:
    return bool((fleet.neighbours.domains.of(key, fleet.nodes).ids >= 0).any())


def _unlabelled(fleet: Fleet, key: str, field: str) -> str:
    keys = sorted({label for node in fleet.nodes.with_facts if node is not None for label in node.labels})
    near = did_you_mean(key, keys, listed=False) or ": label the nodes, or change the key"
    return f"No node has the label {key} that {field} names as topologyKey{near}".rstrip("?")
