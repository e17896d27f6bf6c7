"""What a recording calls things whose names it does not tell: the same word for the same thing, in every segment.

Apart from the scribe because it is the promise of privacy: what leaves here says nothing that somebody typed, but what
placement cannot do without. Replaced are the names of namespaces, pods, nodes, devices and gangs, and the values of
labels, taints and selectors. Kept are keys, numbers and booleans, names of pools, models, resources and schedulers, and
the values of the labels below, by which machines are chosen.

A word is a keyed hash; the key is the cluster's own identity (the uid of namespace ``kube-system``), which is not in
the recording: several schedulers, and one that starts again, say the same words. Who has both the recording and that
uid can test a guess.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import msgspec

from tensorfusion.model.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm, PreferredTerm
from tensorfusion.model.meta import SelectorRequirement
from tensorfusion.scheduling.facts import DeviceFacts, NodeFacts, PodFacts
from tensorfusion.scheduling.pod_rules import Labels, PodRules, PodSelector, PodTerm, SpreadRule

CAPACITY_LABELS: Final[Mapping[str, str]] = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "node.kubernetes.io/lifecycle": "spot",
}
"""Labels by which machines are known that may be taken away, and their value then."""
_KEPT = frozenset(
    {
        *CAPACITY_LABELS,
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "nvidia.com/gpu.product",
    }
)
_PLAIN_WORDS = frozenset({"", "true", "false"})
_MOST_KNOWN = 65_536
_BYTES = 5


class Pseudonyms:
    """Words for one cluster; ``shown`` leaves every name as it is."""

    def __init__(self, key: bytes, *, shown: bool = False) -> None:
        self._key = key[:64]
        self.shown = shown
        self._known: dict[str, str] = {}

    @property
    def cluster(self) -> str:
        """A word for the cluster itself."""
        return blake2b(b"cluster", key=self._key, digest_size=_BYTES).hexdigest()

    def pod(self, uid: str) -> int:
        """A number of 64 bits, also where names are shown: uids are long."""
        return int.from_bytes(blake2b(uid.encode(), key=self._key, digest_size=8).digest(), "big")

    def namespace(self, name: str) -> str:
        return self._word("ns-", name)

    def node(self, name: str) -> str:
        return self._word("node-", name)

    def cohort(self, name: str) -> str:
        return self._word("cohort-", name)

    def gang(self, key: str) -> str:
        return self._word("gang-", key)

    def device(self, name: str) -> str:
        return self._word("gpu-", name.lower())

    def label(self, key: str, value: str) -> str:
        """The value of a label, a taint or a selector."""
        if key in _KEPT or value in _PLAIN_WORDS or value.isdigit():
            return value
        return self._word("v-", value)

    def labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {key: self.label(key, value) for key, value in labels.items()}

    def _word(self, kind: str, name: str) -> str:
        if self.shown or not name:
            return name
        said = kind + name
        word = self._known.get(said)
        if word is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            word = self._known[said] = kind + blake2b(said.encode(), key=self._key, digest_size=_BYTES).hexdigest()
        return word

    def node_facts(self, facts: NodeFacts) -> NodeFacts:
        if self.shown:
            return facts
        taints = tuple(msgspec.structs.replace(one, value=self.label(one.key, one.value)) for one in facts.taints)
        return replace(facts, name=self.node(facts.name), labels=self.labels(facts.labels), taints=taints)

    def device_facts(self, facts: DeviceFacts) -> DeviceFacts:
        if self.shown:
            return facts
        peers = tuple((self.device(name), tier, rate) for name, tier, rate in facts.peers)
        return replace(facts, name=self.device(facts.name), node=self.node(facts.node), peers=peers)

    def pod_facts(self, facts: PodFacts) -> PodFacts:
        """The facts of a shape: what is a single pod's own is blank already."""
        if self.shown:
            return facts
        return replace(
            facts,
            node_selector=self.labels(facts.node_selector),
            affinity=None if facts.affinity is None else self._affinity(facts.affinity),
            tolerations=tuple(
                msgspec.structs.replace(one, value=self.label(one.key, one.value)) for one in facts.tolerations
            ),
            within=tuple((key, self.label(key, value)) for key, value in facts.within),
            labels=self.labels(facts.labels),
            rules=None if facts.rules is None else self._rules(facts.rules),
        )

    def _affinity(self, affinity: Affinity) -> Affinity:
        """What is said of nodes; what is said of pods is in the rules already."""
        nodes = affinity.node_affinity
        if nodes is None:
            return Affinity()
        required = nodes.required
        return Affinity(
            node_affinity=NodeAffinity(
                required=None if required is None else NodeSelector(tuple(map(self._term, required.terms))),
                preferred=tuple(PreferredTerm(one.weight, self._term(one.preference)) for one in nodes.preferred),
            )
        )

    def _term(self, term: NodeSelectorTerm) -> NodeSelectorTerm:
        names = tuple(
            SelectorRequirement(one.key, one.operator, tuple(map(self.node, one.values))) for one in term.match_fields
        )
        return NodeSelectorTerm(self._requirements(term.match_expressions), names)

    def _requirements(self, wishes: Labels) -> Labels:
        return tuple(
            SelectorRequirement(one.key, one.operator, tuple(self.label(one.key, value) for value in one.values))
            for one in wishes
        )

    def _rules(self, rules: PodRules) -> PodRules:
        return PodRules(
            ports=rules.ports,
            spread=tuple(self._spread(one) for one in rules.spread),
            affinity=tuple(map(self._pod_term, rules.affinity)),
            anti_affinity=tuple(map(self._pod_term, rules.anti_affinity)),
            preferred=tuple((weight, self._pod_term(one)) for weight, one in rules.preferred),
        )

    def _spread(self, rule: SpreadRule) -> SpreadRule:
        return replace(rule, pods=self._selector(rule.pods))

    def _pod_term(self, term: PodTerm) -> PodTerm:
        return replace(term, pods=self._selector(term.pods))

    def _selector(self, pods: PodSelector) -> PodSelector:
        return PodSelector(
            labels=None if pods.labels is None else self._requirements(pods.labels),
            namespaces=tuple(map(self.namespace, pods.namespaces)),
            namespace_labels=None if pods.namespace_labels is None else self._requirements(pods.namespace_labels),
        )
