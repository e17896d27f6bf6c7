"""A pod's rules about other pods, read from its spec.

Apart from the other feeds because nearly every pod has none: the answer is None after a glance. What an API server
would have refused is refused here too, with the field, so that a rule is never left out in silence.

Source: Kubernetes' PodTopologySpread, InterPodAffinity and NodePorts plugins.
"""

from collections.abc import Iterable, Mapping

from tensorfusion.errors import InvalidRequest
from tensorfusion.model.core import Affinity, Container, PodAffinity, PodAffinityTerm, PodSpec, TopologySpreadConstraint
from tensorfusion.model.meta import LabelSelector, Meta, SelectorRequirement
from tensorfusion.scheduling.pod_rules import (
    EVERY_ADDRESS,
    HostPort,
    Labels,
    PodRules,
    PodSelector,
    PodTerm,
    SpreadRule,
)
from tensorfusion.suggestions import did_you_mean

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_INT32 = (1 << 31) - 1
_SPREAD = "spec.topologySpreadConstraints"


def rules_of(meta: Meta, spec: PodSpec) -> PodRules | None:
    """What the pod asks of the pods beside it; None where it asks for nothing.

    Raises:
        InvalidRequest: a rule cannot be understood.
    """
    ports = _host_ports(spec)
    affinity = spec.affinity
    near = affinity.pod_affinity if affinity is not None else None
    away = affinity.pod_anti_affinity if affinity is not None else None
    if not (ports or spec.spread or near is not None or away is not None):
        return None
    at = "spec.affinity.podAffinity", "spec.affinity.podAntiAffinity"
    rules = PodRules(
        ports=ports,
        spread=tuple(_spread(meta, rule, f"{_SPREAD}[{place}]") for place, rule in enumerate(spec.spread)),
        affinity=_required(meta, near, at[0]),
        anti_affinity=_required(meta, away, at[1]),
        preferred=(*_preferred(meta, near, at[0], sign=1), *_preferred(meta, away, at[1], sign=-1)),
    )
    return rules if rules.ports or rules.counted else None


def node_affinity(spec: PodSpec) -> Affinity | None:
    """The pod's affinity to nodes alone: the key of its shape among the node rules.

    Raises:
        InvalidRequest: a weight is none.
    """
    affinity = spec.affinity
    if affinity is not None and affinity.node_affinity is not None:
        field = "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
        for place, wish in enumerate(affinity.node_affinity.preferred):
            _require(1 <= wish.weight <= 100, f"{field}[{place}].weight", "1 to 100", wish.weight)
    if affinity is None or (affinity.pod_affinity is None and affinity.pod_anti_affinity is None):
        return affinity
    return None if affinity.node_affinity is None else Affinity(node_affinity=affinity.node_affinity)


def _host_ports(spec: PodSpec) -> tuple[HostPort, ...]:
    """The ports that the pod takes of its node: those of containers, and of init containers that stay.

    On the node's own network a container's port is the node's, whether the pod says so or not.
    """
    found: dict[HostPort, None] = {}
    for container in spec.containers:
        if container.ports:
            _add_ports(found, spec, container)
    for container in spec.init_containers:
        if container.ports and container.restart_policy == "Always":
            _add_ports(found, spec, container)
    return tuple(found)


def _add_ports(found: dict[HostPort, None], spec: PodSpec, container: Container) -> None:
    for port in container.ports:
        number = port.host_port or (port.container_port if spec.host_network else 0)
        if number > 0:
            found[HostPort(number, port.protocol or "TCP", port.host_ip or EVERY_ADDRESS)] = None


def _spread(meta: Meta, rule: TopologySpreadConstraint, at: str) -> SpreadRule:
    _require(rule.topology_key != "", f"{at}.topologyKey", "the name of a node label", rule.topology_key)
    _require(rule.max_skew > 0, f"{at}.maxSkew", "1 or more", rule.max_skew)
    _require(rule.min_domains is None or rule.min_domains > 0, f"{at}.minDomains", "1 or more", rule.min_domains)
    for field, number in (("maxSkew", rule.max_skew), ("minDomains", rule.min_domains or 0)):
        _require(number <= _INT32, f"{at}.{field}", f"at most {_INT32}", number)
    _one_of(f"{at}.whenUnsatisfiable", rule.when_unsatisfiable, ("DoNotSchedule", "ScheduleAnyway"))
    for field, policy in (
        ("nodeAffinityPolicy", rule.node_affinity_policy),
        ("nodeTaintsPolicy", rule.node_taints_policy),
    ):
        _one_of(f"{at}.{field}", policy, ("Honor", "Ignore"))
    labels = _labels(rule.label_selector, f"{at}.labelSelector")
    if labels is not None:
        labels = _ordered((*labels, *_same(meta.labels, rule.match_label_keys, "In")))
    labels = (
        labels or None
    )  # an empty selector counts no pods in a spread: kube-scheduler's answer, not that of affinity
    return SpreadRule(
        key=rule.topology_key,
        skew=rule.max_skew,
        pods=PodSelector(labels, (meta.namespace,)),
        required=rule.when_unsatisfiable == "DoNotSchedule",
        min_domains=rule.min_domains or 1,
        honour_affinity=rule.node_affinity_policy == "Honor",
        honour_taints=rule.node_taints_policy == "Honor",
    )


def _required(meta: Meta, affinity: PodAffinity | None, at: str) -> tuple[PodTerm, ...]:
    if affinity is None:
        return ()
    field = f"{at}.requiredDuringSchedulingIgnoredDuringExecution"
    return tuple(_term(meta, term, f"{field}[{place}]") for place, term in enumerate(affinity.required))


def _preferred(meta: Meta, affinity: PodAffinity | None, at: str, *, sign: int) -> tuple[tuple[int, PodTerm], ...]:
    if affinity is None:
        return ()
    field = f"{at}.preferredDuringSchedulingIgnoredDuringExecution"
    terms = []
    for place, wish in enumerate(affinity.preferred):
        _require(1 <= wish.weight <= 100, f"{field}[{place}].weight", "1 to 100", wish.weight)
        terms.append((sign * wish.weight, _term(meta, wish.term, f"{field}[{place}].podAffinityTerm")))
    return tuple(terms)


def _term(meta: Meta, term: PodAffinityTerm, at: str) -> PodTerm:
    _require(term.topology_key != "", f"{at}.topologyKey", "the name of a node label", term.topology_key)
    labels = _labels(term.label_selector, f"{at}.labelSelector")
    if labels is not None:
        same = _same(meta.labels, term.match_label_keys, "In")
        labels = _ordered((*labels, *same, *_same(meta.labels, term.mismatch_label_keys, "NotIn")))
    named = tuple(sorted(set(term.namespaces)))
    namespaces = _labels(term.namespace_selector, f"{at}.namespaceSelector")
    if not named and namespaces is None:
        named = (meta.namespace,)
    return PodTerm(term.topology_key, PodSelector(labels, named, namespaces))


def _labels(selector: LabelSelector | None, at: str) -> Labels | None:
    """A label selector in its fixed form; None where there is none."""
    if selector is None:
        return None
    for place, wish in enumerate(selector.match_expressions):
        _one_of(f"{at}.matchExpressions[{place}].operator", wish.operator, _OPERATORS)
    pairs = (SelectorRequirement(key, "In", (value,)) for key, value in selector.match_labels.items())
    return _ordered((*pairs, *selector.match_expressions))


def _same(labels: Mapping[str, str], keys: Iterable[str], operator: str) -> Iterable[SelectorRequirement]:
    """The pod's own values of these labels as expressions; of labels that it has not, none."""
    return (SelectorRequirement(key, operator, (labels[key],)) for key in keys if key in labels)


def _ordered(wishes: Iterable[SelectorRequirement]) -> Labels:
    """Every expression once, in one order for all who mean the same."""
    return tuple(sorted(set(wishes), key=lambda wish: (wish.key, wish.operator, wish.values)))


def _one_of(field: str, found: str, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        raise InvalidRequest(
            f"{field}: wanted one of {', '.join(wanted)}, found {found!r}{did_you_mean(found, wanted, listed=False)}"
        )


def _require(holds: bool, field: str, wanted: str, found: object) -> None:
    if not holds:
        raise InvalidRequest(f"{field}: wanted {wanted}, found {found!r}")
