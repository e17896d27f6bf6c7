"""Rules of Deployments, ReplicaSets, StatefulSets and DaemonSets: selectors match their template and never change,
strategies make sense, what a set has made cannot be declared otherwise.

Source: kubernetes pkg/apis/apps/validation, texts seen through a real server.
"""

from collections.abc import Sequence

from tensorfusion.embedded.schema.builtin.amounts import check_amount, is_some
from tensorfusion.embedded.schema.builtin.pods import check_pod_spec
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector, selects
from tensorfusion.embedded.schema.builtin.storage import check_claim_spec
from tensorfusion.embedded.schema.metadata import check_annotations, check_labels
from tensorfusion.embedded.schema.path import Path, Problem
from tensorfusion.embedded.schema.words import (
    FORBIDDEN,
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    forbidden,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw

_STRATEGIES = ("Recreate", "RollingUpdate")
_UPDATES = ("RollingUpdate", "OnDelete")
_ORDERS = ("OrderedReady", "Parallel")
_SPEC: Path = (None, "spec")
_SET_MAY_CHANGE = frozenset(
    (
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    )
)
_SET_FROZEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def check_deployment(deployment: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_workload(deployment, old, "deployment", problems)
    spec = deployment.get("spec") or {}
    _check_strategy(spec.get("strategy") or {}, problems)
    deadline, at = spec.get("progressDeadlineSeconds"), (_SPEC, "progressDeadlineSeconds")
    if deadline is not None and 0 <= deadline <= spec.get("minReadySeconds", 0):
        problems[:] = [problem for problem in problems if problem.path != at]
        complain(problems, at, deadline, ["must be greater than minReadySeconds"])


def check_replica_set(replica_set: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_workload(replica_set, old, "deployment", problems)  # a real server says so, too


def check_daemon_set(daemon_set: Raw, old: Raw | None, problems: list[Problem]) -> None:
    _check_workload(daemon_set, old, "daemonset", problems, kind="DaemonSet")
    strategy = (daemon_set.get("spec") or {}).get("updateStrategy") or {}
    at: Path = (_SPEC, "updateStrategy")
    if strategy.get("type") not in _UPDATES:
        problems.append(Problem(at, unsupported(strategy, _UPDATES), NOT_SUPPORTED))
        return
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] != "RollingUpdate" or rolling is None:
        return
    at_rolling: Path = (at, "rollingUpdate")
    missing, surge = (rolling.get(field, 0) for field in _ROLLING)
    for field, amount in zip(_ROLLING, (missing, surge), strict=True):
        check_amount(amount, (at_rolling, field), problems, most_all=True)
    if is_some(missing) and is_some(surge):
        complain(problems, (at_rolling, "maxSurge"), surge, ["may not be set when maxUnavailable is non-zero"])
    elif not is_some(missing) and not is_some(surge):
        text = required("cannot be 0 when maxSurge is 0")
        problems.append(Problem((at_rolling, "maxUnavailable"), text, REQUIRED))


def check_stateful_set(stateful_set: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec = stateful_set.get("spec") or {}
    order = spec.get("podManagementPolicy")
    if order not in _ORDERS:
        text = f"must be '{_ORDERS[0]}' or '{_ORDERS[1]}'"
        complain(problems, (_SPEC, "podManagementPolicy"), order, [text])
    strategy = spec.get("updateStrategy") or {}
    at: Path = (_SPEC, "updateStrategy")
    if strategy.get("type") not in _UPDATES:
        complain(problems, at, strategy, ["must be 'RollingUpdate' or 'OnDelete'"])
    elif strategy["type"] == "OnDelete" and strategy.get("rollingUpdate") is not None:
        text = "only allowed for updateStrategy 'RollingUpdate'"
        complain(problems, (at, "rollingUpdate"), strategy["rollingUpdate"], [text])
    if old is None:
        for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
            check_claim_spec(claim.get("spec") or {}, (((_SPEC, "volumeClaimTemplates"), index), "spec"), problems)
    claims = [(claim.get("metadata") or {}).get("name", "") for claim in spec.get("volumeClaimTemplates") or ()]
    _check_workload(stateful_set, old, "statefulset", problems, kind="StatefulSet", volumes=claims)
    if old is not None:
        before = old.get("spec") or {}
        if any(spec.get(field) != before.get(field) for field in (spec.keys() | before.keys()) - _SET_MAY_CHANGE):
            problems.append(Problem(_SPEC, forbidden(_SET_FROZEN), FORBIDDEN))


def _check_workload(
    workload: Raw,
    old: Raw | None,
    named: str,
    problems: list[Problem],
    *,
    kind: str = "ReplicaSet",
    volumes: Sequence[str] = (),
) -> None:
    """``volumes`` are those that every pod gets beside the ones in its template."""
    spec = workload.get("spec") or {}
    selector = spec.get("selector")
    at_selector: Path = (_SPEC, "selector")
    template = spec.get("template") or {}
    before = len(problems)
    check_label_selector(selector, at_selector, problems)
    if selector is not None and not (selector.get("matchLabels") or selector.get("matchExpressions")):
        complain(problems, at_selector, selector, [f"empty selector is invalid for {named}"])
    elif selector is not None and len(problems) > before and named == "deployment":
        complain(problems, at_selector, _without_empty(selector), ["invalid label selector"])
    elif len(problems) == before:
        labels = (template.get("metadata") or {}).get("labels")
        if selector is None or not selects(selector, labels or {}):
            at: Path = (((_SPEC, "template"), "metadata"), "labels")
            complain(problems, at, labels, ["`selector` does not match template `labels`"])
    if old is not None and kind != "StatefulSet" and selector != (old.get("spec") or {}).get("selector"):
        complain(problems, at_selector, selector, [IMMUTABLE])
    spec = check_template(template, (_SPEC, "template"), problems, volumes=volumes)
    if spec is None:
        return
    at_spec: Path = ((_SPEC, "template"), "spec")
    policy = spec.get("restartPolicy", "Always")
    if policy in ("OnFailure", "Never"):
        problems.append(Problem((at_spec, "restartPolicy"), unsupported(policy, ("Always",)), NOT_SUPPORTED))
    if spec.get("activeDeadlineSeconds") is not None:
        text = forbidden(f"activeDeadlineSeconds in {kind} is not Supported")
        problems.append(Problem((at_spec, "activeDeadlineSeconds"), text, FORBIDDEN))


def check_template(template: Raw, path: Path, problems: list[Problem], *, volumes: Sequence[str] = ()) -> Raw | None:
    """The rules of a pod template; returns its spec, None when it holds no containers (which is said).

    ``volumes`` names those that pods get besides.
    """
    metadata = template.get("metadata") or {}
    check_labels(metadata.get("labels") or {}, (path, "labels"), problems)
    check_annotations(metadata.get("annotations") or {}, (path, "annotations"), problems)
    spec = template.get("spec")
    at_spec: Path = (path, "spec")
    if not spec or not spec.get("containers"):
        problems[:] = [problem for problem in problems if problem.path != (at_spec, "containers")]
        problems.append(Problem((at_spec, "containers"), required(), REQUIRED))
        return None
    found: Raw = spec
    if volumes:
        own = [volume for volume in spec.get("volumes") or () if volume.get("name") not in volumes]
        found = {**spec, "volumes": [*own, *({"name": name, "persistentVolumeClaim": {}} for name in volumes)]}
    check_pod_spec(found, at_spec, problems)
    if spec.get("ephemeralContainers"):
        text = forbidden("ephemeral containers not allowed in pod template")
        problems.append(Problem((at_spec, "ephemeralContainers"), text, FORBIDDEN))
    return found


def _without_empty(selector: Raw) -> Raw:
    """A selector as it is quoted."""
    stated = [
        {field: value for field, value in one.items() if value not in ([], None)}
        for one in selector.get("matchExpressions") or ()
    ]
    return {**selector, **({"matchExpressions": stated} if stated else {})}


def _check_strategy(strategy: Raw, problems: list[Problem]) -> None:
    at: Path = (_SPEC, "strategy")
    kind = strategy.get("type")
    if kind not in _STRATEGIES:
        problems.append(Problem(at, unsupported(strategy, _STRATEGIES), NOT_SUPPORTED))
    rolling = strategy.get("rollingUpdate")
    at_rolling: Path = (at, "rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        text = forbidden("may not be specified when strategy `type` is 'Recreate'")
        problems.append(Problem(at_rolling, text, FORBIDDEN))
    elif kind == "RollingUpdate" and rolling is not None:
        fine = [
            check_amount(rolling.get(field, 0), (at_rolling, field), problems, most_all=field == "maxUnavailable")
            for field in _ROLLING
        ]
        if all(fine) and not any(is_some(rolling.get(field, 0)) for field in _ROLLING):
            complain(problems, (at_rolling, "maxUnavailable"), rolling.get("maxUnavailable", 0), [_BOTH_ZERO])


_ROLLING = ("maxUnavailable", "maxSurge")
_BOTH_ZERO = "may not be 0 when `maxSurge` is 0"
