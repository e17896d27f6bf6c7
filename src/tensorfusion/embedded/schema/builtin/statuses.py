"""Rules of the statuses of built-in kinds, for writes of the status alone.

What a controller says of an object has to make sense too: numbers that are none of negative, parts that are not more
than their whole, counters that do not run backwards.

Source: kubernetes pkg/apis/{apps,batch,core,policy,networking}/validation, texts seen through a real server.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from tensorfusion.embedded.schema.builtin.budgets import check_hard
from tensorfusion.embedded.schema.names import qualified_name, subdomain
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    duplicate,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw
from tensorfusion.units import parse_quantity

_STATUS: Path = (None, "status")
_NEGATIVE = "must be greater than or equal to 0"
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_LONGEST_ADDRESS = 45
_TRUTHS = ("False", "True", "Unknown")


def check_deployment_status(deployment: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(deployment)
    fields = "observedGeneration replicas updatedReplicas readyReplicas availableReplicas unavailableReplicas"
    _check_counts(status, (*fields.split(), "collisionCount"), problems)
    _check_parts(status, ("updatedReplicas", "readyReplicas", "availableReplicas"), problems)
    _check_available(status, "readyReplicas", problems)
    _check_collisions(status, _status(old), problems)


def check_replica_set_status(replica_set: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(replica_set)
    fields = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    _check_counts(status, fields, problems)
    _check_parts(status, ("fullyLabeledReplicas", "readyReplicas", "availableReplicas"), problems)
    _check_available(status, "readyReplicas", problems)


def check_stateful_set_status(stateful_set: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(stateful_set)
    parts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    _check_counts(status, ("replicas", *parts, "observedGeneration", "collisionCount"), problems)
    _check_parts(status, parts, problems)
    _check_available(status, "status.readyReplicas", problems)
    _check_collisions(status, _status(old), problems)


def check_daemon_set_status(daemon_set: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(daemon_set)
    fields = "currentNumberScheduled numberMisscheduled desiredNumberScheduled numberReady observedGeneration"
    more = "updatedNumberScheduled numberAvailable numberUnavailable collisionCount"
    _check_counts(status, (*fields.split(), *more.split()), problems)
    _check_collisions(status, _status(old), problems)


def check_job_status(job: Raw, old: Raw, problems: list[Problem]) -> None:
    status, before = _status(job), _status(old)
    _check_counts(status, ("active", "succeeded", "failed", "ready"), problems)
    _check_uncounted(status.get("uncountedTerminatedPods") or {}, problems)
    for counter in ("succeeded", "failed"):
        if _count(status, counter) < _count(before, counter):
            why = f"cannot decrease the {counter} counter"
            complain(problems, (_STATUS, counter), _count(status, counter), [why])
    if _count(status, "ready") > _count(status, "active"):
        why = "cannot set more ready pods than active"
        complain(problems, (_STATUS, "ready"), _count(status, "ready"), [why])
    _check_completion(status, before, problems)


def _check_uncounted(uncounted: Raw, problems: list[Problem]) -> None:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for index, uid in enumerate(uncounted.get(field) or ()):
            if uid in seen:
                at = (((_STATUS, "uncountedTerminatedPods"), field), index)
                problems.append(Problem(at, duplicate(uid), DUPLICATE))
            seen.add(uid)


def _check_completion(status: Raw, before: Raw, problems: list[Problem]) -> None:
    """A job is complete, and has a time at which it was, or it is and has not. What was so already may stay."""
    complete, was_complete = _is_true(status, "Complete"), _is_true(before, "Complete")
    finished, had_finished = status.get("completionTime"), before.get("completionTime")
    if finished is not None and not complete and (had_finished is None or was_complete):
        why = "cannot set completionTime when there is no Complete=True condition"
        complain(problems, (_STATUS, "completionTime"), finished, [why])
    if not complete or was_complete:
        return
    if finished is None:
        text = required("completionTime is required for Complete jobs")
        problems.append(Problem((_STATUS, "completionTime"), text, REQUIRED))
    if not _is_true(status, "SuccessCriteriaMet"):
        text = "Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"
        problems.append(Problem((_STATUS, "conditions"), text))


def check_autoscaler_status(autoscaler: Raw, old: Raw, problems: list[Problem]) -> None:
    _check_counts(_status(autoscaler), ("currentReplicas", "desiredReplicas"), problems)


def check_budget_status(budget: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(budget)
    fields = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    _check_counts(status, fields, problems)
    for index, condition in enumerate(status.get("conditions") or ()):
        _check_condition(condition, ((_STATUS, "conditions"), index), problems)


def _check_condition(condition: Raw, at: Path, problems: list[Problem]) -> None:
    kind, reason = condition.get("type", ""), condition.get("reason", "")
    complain(problems, (at, "type"), kind, qualified_name(kind))
    if condition.get("status") not in _TRUTHS:
        text = unsupported(condition.get("status", ""), _TRUTHS)
        problems.append(Problem((at, "status"), text, NOT_SUPPORTED))
    if not condition.get("lastTransitionTime"):
        problems.append(Problem((at, "lastTransitionTime"), required(), REQUIRED))
    if not reason:
        problems.append(Problem((at, "reason"), required(), REQUIRED))
    elif not _REASON.fullmatch(reason):
        why = (
            "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
            "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  "
            "or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is "
            "'[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
        )
        complain(problems, (at, "reason"), reason, [why])


def check_service_status(service: Raw, old: Raw, problems: list[Problem]) -> None:
    ingress = _ingress(service)
    at = ((_STATUS, "loadBalancer"), "ingress")
    if ingress and (service.get("spec") or {}).get("type") != "LoadBalancer" and ingress != _ingress(old):
        text = forbidden("may only be used when `spec.type` is 'LoadBalancer'")
        problems.append(Problem(at, text, FORBIDDEN))
    else:
        _check_ingress(ingress, at, problems)


def check_ingress_status(ingress: Raw, old: Raw, problems: list[Problem]) -> None:
    _check_ingress(_ingress(ingress), ((_STATUS, "loadBalancer"), "ingress"), problems)


def _ingress(obj: Raw) -> Sequence[Raw]:
    found: Sequence[Raw] = (_status(obj).get("loadBalancer") or {}).get("ingress") or ()
    return found


def _check_ingress(ingress: Sequence[Raw], at: Path, problems: list[Problem]) -> None:
    for index, point in enumerate(ingress):
        address, host = point.get("ip"), point.get("hostname")
        if address and _family(address) == 0:
            complain(problems, ((at, index), "ip"), address, [_IP_TEXT])
        if host:
            if _family(host):
                complain(problems, ((at, index), "hostname"), host, ["must be a DNS name, not an IP address"])
            complain(problems, ((at, index), "hostname"), host, subdomain(host))


def check_quota_status(quota: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(quota)
    for field in ("hard", "used"):
        check_hard(status.get(field) or {}, (_STATUS, field), problems)


def check_claim_status(claim: Raw, old: Raw, problems: list[Problem]) -> None:
    for name, amount in (_status(claim).get("capacity") or {}).items():
        if parse_quantity(amount) < 0:
            text = f"Invalid value: {amount}: must be a valid resource quantity"
            problems.append(Problem(((_STATUS, "capacity"), Member(name)), text))


def check_node_status(node: Raw, old: Raw, problems: list[Problem]) -> None:
    status = _status(node)
    for field in ("capacity", "allocatable"):
        for name, amount in (status.get(field) or {}).items():
            if parse_quantity(amount) < 0:
                complain(problems, ((_STATUS, field), name), amount, [_NEGATIVE])
    seen: set[tuple[object, object]] = set()
    for index, address in enumerate(status.get("addresses") or ()):
        found = (address.get("type"), address.get("address"))
        if found in seen:
            shown = duplicate({"Type": found[0], "Address": found[1]})
            problems.append(Problem(((_STATUS, "addresses"), index), shown, DUPLICATE))
        seen.add(found)


def check_namespace_status(namespace: Raw, old: Raw, problems: list[Problem]) -> None:
    phase = _status(namespace).get("phase", "")
    ends = bool(namespace["metadata"].get("deletionTimestamp"))
    if phase != ("Terminating" if ends else "Active"):
        why = (
            "may only be 'Terminating' if `deletionTimestamp` is not empty"
            if ends
            else "may only be 'Active' if `deletionTimestamp` is empty"
        )
        complain(problems, (_STATUS, "Phase"), phase, [why])


def check_pod_status(pod: Raw, old: Raw, problems: list[Problem]) -> None:
    status, before = _status(pod), _status(old)
    for index, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type", "")
        complain(problems, (((_STATUS, "conditions"), index), "Type"), kind, qualified_name(kind))
    _check_addresses(status, problems)
    nominated = status.get("nominatedNodeName")
    if nominated:
        complain(problems, (_STATUS, "nominatedNodeName"), nominated, subdomain(nominated))
    if (status.get("observedGeneration") or 0) < 0:
        why = "must be a non-negative integer"
        complain(problems, (_STATUS, "observedGeneration"), status["observedGeneration"], [why])
    if status.get("qosClass") != before.get("qosClass") and before.get("qosClass"):
        complain(problems, (_STATUS, "qosClass"), status.get("qosClass", ""), [IMMUTABLE])
    policy = (old.get("spec") or {}).get("restartPolicy")
    if policy in ("Never", "OnFailure"):
        always = _always_restarted(old)
        for field in ("containerStatuses", "initContainerStatuses"):
            _check_ends(status.get(field) or (), before.get(field) or (), policy, always, field, problems)


def _check_addresses(status: Raw, problems: list[Problem]) -> None:
    """At most one address of each family; ``podIP`` is the first of them."""
    listed = [item.get("ip", "") for item in status.get("podIPs") or ()]
    first = status.get("podIP")
    addresses = listed if listed or not first else [first]
    families = []
    for index, address in enumerate(addresses):
        families.append(_family(address))
        if not families[-1]:
            complain(problems, ((_STATUS, "podIPs"), index), address, [_IP_TEXT])
    if len(families) > 1 and (len(families) > 2 or families[0] == families[1]):
        shown = [{"IP": address} for address in addresses]
        why = "may specify no more than one IP for each IP family"
        complain(problems, (_STATUS, "podIPs"), shown, [why])


def _always_restarted(pod: Raw) -> frozenset[str]:
    """Init containers that run beside the others."""
    found = (pod.get("spec") or {}).get("initContainers") or ()
    return frozenset(container["name"] for container in found if container.get("restartPolicy") == "Always")


def _check_ends(
    new: Sequence[Raw],
    old: Sequence[Raw],
    policy: str,
    always: frozenset[str],
    field: str,
    problems: list[Problem],
) -> None:
    """A container that has ended for good does not run again."""
    ended = {}
    for container in old:
        end = (container.get("state") or {}).get("terminated")
        if end is not None and not (policy == "OnFailure" and end.get("exitCode", 0) != 0):
            ended[container.get("name", "")] = end
    for index, container in enumerate(new):
        name = container.get("name", "")
        if name in ended and name not in always and (container.get("state") or {}).get("terminated") is None:
            text = forbidden("may not be transitioned to non-terminated state")
            problems.append(Problem((((_STATUS, field), index), "state"), text, FORBIDDEN))


def _status(obj: Raw) -> Raw:
    return obj.get("status") or {}


def _count(status: Raw, field: str) -> int:
    found: int = status.get(field) or 0
    return found


def _is_true(status: Raw, kind: str) -> bool:
    return any(
        condition.get("type") == kind and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )


def _check_counts(status: Raw, fields: Iterable[str], problems: list[Problem]) -> None:
    for field in fields:
        if _count(status, field) < 0:
            complain(problems, (_STATUS, field), status[field], [_NEGATIVE])


def _check_parts(status: Raw, fields: Iterable[str], problems: list[Problem]) -> None:
    whole = _count(status, "replicas")
    for field in fields:
        if _count(status, field) > whole:
            complain(problems, (_STATUS, field), _count(status, field), ["cannot be greater than status.replicas"])


def _check_available(status: Raw, shown: str, problems: list[Problem]) -> None:
    available = _count(status, "availableReplicas")
    if available > _count(status, "readyReplicas"):
        complain(problems, (_STATUS, "availableReplicas"), available, [f"cannot be greater than {shown}"])


def _check_collisions(status: Raw, before: Raw, problems: list[Problem]) -> None:
    old, new = before.get("collisionCount"), status.get("collisionCount")
    if old is not None and (new is None or new < old):
        complain(problems, (_STATUS, "collisionCount"), new, ["cannot be decremented"])


def _family(address: str) -> int:
    """4 or 6, 0 when it is no address."""
    return _known_family(address) if len(address) <= _LONGEST_ADDRESS else _parsed_family(address)


def _parsed_family(address: str) -> int:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0


_known_family = lru_cache(maxsize=4096)(_parsed_family)
"""A pod's status has each of its addresses twice, and its node's in every status of the node's pods."""
