"""The rows of workloads in tables, and of what scales, budgets and versions them.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from datetime import datetime

from tensorfusion.embedded.ages import age, human_duration, parse_time
from tensorfusion.embedded.cell_parts import (
    UNKNOWN,
    UNSET,
    age_of,
    containers_of,
    labels_text,
    name_of,
    selector_text,
    spec_and_status,
)
from tensorfusion.embedded.pod_cells import NONE
from tensorfusion.model.meta import Raw

_JOB_STATES = ("FailureTarget", "SuccessCriteriaMet")


def deployment_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    return [
        name_of(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age_of(obj, now),
        *containers_of(spec.get("template")),
        selector_text(spec.get("selector")),
    ]


def replica_set_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    counts = [spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    template = containers_of(spec.get("template"))
    return [name_of(obj), *counts, age_of(obj, now), *template, selector_text(spec.get("selector"))]


def stateful_set_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}"
    return [name_of(obj), ready, age_of(obj, now), *containers_of(spec.get("template"))]


def daemon_set_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    template = spec.get("template") or {}
    return [
        name_of(obj),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        labels_text((template.get("spec") or {}).get("nodeSelector") or {}),
        age_of(obj, now),
        *containers_of(template),
        selector_text(spec.get("selector")),
    ]


def job_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    done, parallelism = status.get("succeeded", 0), spec.get("parallelism", 0)
    wanted = spec.get("completions", f"1 of {parallelism}" if parallelism > 1 else 1)
    return [
        name_of(obj),
        _job_state(obj, status),
        f"{done}/{wanted}",
        _job_duration(status, now),
        age_of(obj, now),
        *containers_of(spec.get("template")),
        selector_text(spec.get("selector")),
    ]


def _job_state(job: Raw, status: Raw) -> str:
    first: dict[str, str] = {}
    for condition in status.get("conditions") or ():
        first.setdefault(condition.get("type", ""), condition.get("status", ""))
    holds = {type_ for type_, value in first.items() if value == "True"}
    for type_ in ("Complete", "Failed"):
        if type_ in holds:
            return type_
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((type_ for type_ in ("Suspended", *_JOB_STATES) if type_ in holds), "Running")


def _job_duration(status: Raw, now: datetime) -> str:
    start = parse_time(status.get("startTime"))
    if start is None:
        return ""
    end = parse_time(status.get("completionTime")) or now
    return human_duration(int((end - start).total_seconds()))


def cron_job_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    last, job = status.get("lastScheduleTime"), (spec.get("jobTemplate") or {}).get("spec") or {}
    suspend = spec.get("suspend")
    return [
        name_of(obj),
        spec.get("schedule", ""),
        spec.get("timeZone", NONE),
        UNSET if suspend is None else str(bool(suspend)),
        len(status.get("active") or ()),
        age(last, now) if last else NONE,
        age_of(obj, now),
        *containers_of(job.get("template")),
        selector_text(job.get("selector")),
    ]


def controller_revision_cells(obj: Raw, now: datetime) -> list[object]:
    owners = obj["metadata"].get("ownerReferences") or ()
    owner = next((reference for reference in owners if reference.get("controller")), None)
    shown = NONE
    if owner is not None:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = f"{owner.get('kind', '')}.{group}" if group else owner.get("kind", "")
        shown = f"{kind.lower()}/{owner.get('name', '')}"
    return [name_of(obj), shown, obj.get("revision", 0), age_of(obj, now)]


def pod_template_cells(obj: Raw, now: datetime) -> list[object]:
    template = obj.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    return [name_of(obj), *containers_of(template), labels_text(labels)]


def disruption_budget_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    bounds = [str(spec.get(field, "N/A")) for field in ("minAvailable", "maxUnavailable")]
    return [name_of(obj), *bounds, status.get("disruptionsAllowed", 0), age_of(obj, now)]


def autoscaler_cells(obj: Raw, now: datetime) -> list[object]:
    spec, status = spec_and_status(obj)
    target = spec.get("scaleTargetRef") or {}
    return [
        name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec.get("metrics") or [], status.get("currentMetrics") or []),
        str(spec.get("minReplicas", UNSET)),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age_of(obj, now),
    ]


_SHOWN_METRICS = 2
_MEMBERS = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _metrics(specs: list[Raw], statuses: list[Raw]) -> str:
    shown = [_metric(spec, statuses[index] if index < len(statuses) else {}) for index, spec in enumerate(specs)]
    more = f" + {len(shown) - _SHOWN_METRICS} more..." if len(shown) > _SHOWN_METRICS else ""
    return (", ".join(shown[:_SHOWN_METRICS]) + more) or NONE


def _metric(spec: Raw, status: Raw) -> str:
    """Now and wanted: ``cpu: 10%/50%``, ``3/5``, ``3/5 (avg)``."""
    kind = spec.get("type", "")
    member = _MEMBERS.get(kind)
    if member is None:
        return "<unknown type>"
    metric, measured = spec.get(member) or {}, status.get(member)
    target, current = metric.get("target") or {}, (measured or {}).get("current") or {}
    average = target.get("averageValue")
    if kind in ("Resource", "ContainerResource"):
        name = metric.get("name", "")
        if average is not None:
            return f"{name}: {current.get('averageValue', '<nil>') if measured else UNKNOWN}/{average}"
        found, wanted = current.get("averageUtilization"), target.get("averageUtilization")
        return f"{name}: {UNKNOWN if found is None else f'{found}%'}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if kind == "Pods":
        return f"{current.get('averageValue', '<nil>') if measured else UNKNOWN}/{average}"
    if average is not None:
        return f"{current.get('averageValue', UNKNOWN)}/{average} (avg)"
    return f"{current.get('value', '<nil>') if measured else UNKNOWN}/{target.get('value', '<nil>')}"
