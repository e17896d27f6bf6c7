"""What tenants may not write: the annotations and labels of a pod are the truth of its placement.

Two borders. On a pod that takes a share, the keys that the system writes, the request and the labels by which others
find the pod change only by the hand of our own accounts. On ``pods/binding``, a pod of ours is bound by our scheduler
alone, and only by its current leader: a Binding carries the leader's epoch (the transitions of its Lease), and one
from an older epoch is refused, which fences a leader that was stalled between deciding and binding.

The request is fixed from creation on, not only once the pod is bound: the scheduler charges what it read when it
decided, and a change between that moment and the Binding would become a share nobody paid for. Of a bound pod, other
amounts may be wished for (``policy.resize``), and the scheduler's answer to a wish is fenced like its Bindings.

Source: the architecture's security posture ("Truth must not be writable by tenants").
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.policy.resize import resize_of, wish_of
from tensorfusion.policy.verdict import BAD_REQUEST, Denial, one_line

FORBIDDEN = 403
CONFLICT = 409

_FIXED_ANNOTATIONS = keys.SYSTEM_WRITTEN | keys.ADMISSION_WRITTEN | keys.REQUEST_KEYS
_FIXED_LABELS = (
    keys.HOST_PORT,
    keys.COMPONENT,
    keys.WORKLOAD,
    keys.GPU_POOL,
    keys.POD_TEMPLATE_HASH,
    keys.DEFRAG_EVICTED,
)


def service_account(namespace: str, name: str) -> str:
    """The user name of a service account."""
    return f"system:serviceaccount:{namespace}:{name}"


@dataclass(frozen=True, slots=True)
class Accounts:
    """User names that may write what the system writes, and those that may bind pods of ours."""

    system: frozenset[str] = frozenset(
        service_account(keys.SYSTEM_NAMESPACE, account)
        for account in (keys.CONTROLLER_ACCOUNT, keys.HYPERVISOR_ACCOUNT)
    )
    scheduler: frozenset[str] = frozenset((service_account(keys.SYSTEM_NAMESPACE, keys.CONTROLLER_ACCOUNT),))


@dataclass(frozen=True, slots=True)
class PodTruth:
    """The part of a pod that a guard reads."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    scheduler_name: str = ""

    @property
    def takes_share(self) -> bool:
        return self.labels.get(keys.COMPONENT) == "worker"


@dataclass(frozen=True, slots=True)
class BindingTruth:
    """The part of a Binding that a guard reads."""

    pod: str
    node: str
    annotations: Mapping[str, str]


def review_update(old: PodTruth, new: PodTruth, *, user: str, accounts: Accounts) -> Denial | None:
    """Refuse a change of what only the system may change on an existing pod; None allows it."""
    if user in accounts.system:
        return None
    fixed = _FIXED_ANNOTATIONS if old.takes_share else keys.SYSTEM_WRITTEN
    for key in sorted(fixed):
        before, after = old.annotations.get(key), new.annotations.get(key)
        if before != after:
            why = (
                "a pod's GPU request is fixed; create a new pod"
                if key in keys.REQUEST_KEYS
                else "only the system writes it"
            )
            return Denial(FORBIDDEN, f"annotation {key}: wanted {_shown(before)}, found {_shown(after)}: {why}")
    wish = new.annotations.get(keys.RESIZE)
    if wish is not None and wish != old.annotations.get(keys.RESIZE):
        try:
            resize_of(old.annotations, old.labels, wish_of(new.annotations))
        except InvalidRequest as error:
            return Denial(BAD_REQUEST, one_line(str(error)))
    labels = _FIXED_LABELS if old.takes_share else (keys.COMPONENT,)
    for key in labels:
        before, after = old.labels.get(key), new.labels.get(key)
        if before != after and (old.takes_share or after == "worker"):
            return Denial(
                FORBIDDEN,
                f"label {key}: wanted {_shown(before)}, found {_shown(after)}: only the system writes it",
            )
    return None


def review_binding(binding: BindingTruth, *, user: str, accounts: Accounts, epoch: int | None) -> Denial | None:
    """Refuse a Binding that its sender may not make, as far as the Binding itself tells; None allows it.

    ``epoch`` is the highest one known: the Lease's, or that of a Binding seen before; None where there is no Lease.
    The bound pod matters only for senders other than our scheduler: see ``review_foreign_binding``.
    """
    text = binding.annotations.get(keys.SCHEDULER_EPOCH)
    if user not in accounts.scheduler:
        forged = keys.SYSTEM_WRITTEN.intersection(binding.annotations)
        if forged:
            key = min(forged)
            return Denial(
                FORBIDDEN,
                f"binding of pod {binding.pod}: annotation {key}: wanted it unset, found "
                f"{_shown(binding.annotations[key])}: only {keys.SCHEDULER_NAME} gives devices to pods",
            )
        return None
    if text is None:
        if keys.GPU_IDS in binding.annotations:
            return Denial(
                FORBIDDEN,
                f"binding of pod {binding.pod}: annotation {keys.SCHEDULER_EPOCH}: wanted the leader's epoch, "
                "found none: a Binding that gives devices must carry it",
            )
        return None
    found = epoch_of(binding.annotations)
    if found is None:
        return Denial(
            FORBIDDEN,
            f"binding of pod {binding.pod}: annotation {keys.SCHEDULER_EPOCH}: wanted a whole number, found {text!r}",
        )
    if epoch is not None and found < epoch:
        return Denial(
            CONFLICT,
            f"binding of pod {binding.pod} to node {binding.node}: wanted epoch {epoch} or later, found {found}: "
            "the sender is no longer the leader; decide again",
        )
    return None


def review_term(annotations: Mapping[str, str], *, pod: str, epoch: int | None) -> Denial | None:
    """Refuse what was decided in a term that is over, where several schedulers share the pools; None allows it.

    ``epoch`` is the highest one known of the Lease of the shard that the annotation names.
    """
    text = annotations.get(keys.SCHEDULER_SHARD)
    if text is None:
        return None
    term = term_of(annotations)
    if term is None:
        return Denial(
            FORBIDDEN, f"pod {pod}: annotation {keys.SCHEDULER_SHARD}: wanted EPOCH/POOL, found {_shown(text)}"
        )
    shard, found = term
    if epoch is not None and found < epoch:
        return Denial(
            CONFLICT,
            f"pod {pod}: wanted epoch {epoch} or later of {f'pool {shard}' if shard else 'the common shard'}, "
            f"found {found}: the sender is no longer the leader there; decide again",
        )
    return None


def term_of(annotations: Mapping[str, str]) -> tuple[str, int] | None:
    """The shard (a pool, or the common one) in whose name something was decided, and the epoch; None without any."""
    epoch, slash, shard = annotations.get(keys.SCHEDULER_SHARD, "").partition("/")
    number = epoch.isascii() and epoch.isdigit() and len(epoch) < 19
    return (shard, int(epoch)) if slash and number else None


def review_decision(annotations: Mapping[str, str], *, pod: str, epoch: int | None) -> Denial | None:
    """Refuse what a scheduler decided about a pod's wish for other amounts, if it no longer leads; None allows it."""
    found = epoch_of(annotations)
    if found is None:
        return Denial(
            FORBIDDEN,
            f"pod {pod}: annotation {keys.SCHEDULER_EPOCH}: wanted the leader's epoch, found "
            f"{_shown(annotations.get(keys.SCHEDULER_EPOCH))}: who decides about annotation {keys.RESIZE} must say it",
        )
    if epoch is not None and found < epoch:
        return Denial(
            CONFLICT,
            f"pod {pod}: wanted epoch {epoch} or later, found {found}: the sender is no longer the leader",
        )
    return None


def review_foreign_binding(binding: BindingTruth, pod: PodTruth, *, user: str) -> Denial | None:
    """Refuse anyone but our scheduler to bind a pod that is ours to place; None allows it."""
    if pod.takes_share or pod.scheduler_name == keys.SCHEDULER_NAME:
        return Denial(
            FORBIDDEN,
            f"binding of pod {binding.pod} to node {binding.node}: wanted user {keys.SCHEDULER_NAME}'s account, "
            f"found {_shown(user)}: the pod is placed by {keys.SCHEDULER_NAME}",
        )
    return None


def epoch_of(annotations: Mapping[str, str]) -> int | None:
    """The epoch that a Binding carries; None where it carries none or no number."""
    text = annotations.get(keys.SCHEDULER_EPOCH, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _shown(value: str | None) -> str:
    if value is None:
        return "none"
    return repr(value if len(value) <= 64 else value[:64] + "...")
