"""Rules of Jobs and CronJobs: how they count, what their pods are selected by, and what of them never changes.

Source: kubernetes pkg/apis/batch/validation, texts seen through a real server.
"""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tensorfusion.embedded.schema.builtin.job_policies import check_failure_policy, check_success_policy
from tensorfusion.embedded.schema.builtin.selectors import check_label_selector, selects
from tensorfusion.embedded.schema.builtin.workloads import check_template
from tensorfusion.embedded.schema.names import label
from tensorfusion.embedded.schema.path import Member, Path, Problem
from tensorfusion.embedded.schema.words import (
    IMMUTABLE,
    NOT_SUPPORTED,
    REQUIRED,
    complain,
    invalid_value,
    required,
    unsupported,
)
from tensorfusion.model.meta import Raw
from tensorfusion.policy.cron_grammar import explain_schedule

NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")

_SPEC: Path = (None, "spec")
_MOST_INDEXED = 100_000
_MANY_COMPLETIONS = 100_000
_FEW_FAILED = 10_000
_FEW_PARALLEL = 10_000
_LONGEST_CRON_NAME = 52
_FROZEN = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_RELEASABLE = ("nodeSelector", "tolerations", "schedulingGates")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")


def check_job(job: Raw, old: Raw | None, problems: list[Problem]) -> None:
    metadata, spec = job.get("metadata") or {}, job.get("spec") or {}
    if old is None:
        _check_generated(metadata, spec, problems)
    _check_job_spec(spec, _SPEC, problems)
    if spec.get("managedBy") is not None:
        complain(problems, (_SPEC, "managedBy"), spec["managedBy"], _not_prefixed(spec["managedBy"]))
    selector = spec.get("selector")
    if selector is None:
        problems.append(Problem((_SPEC, "selector"), required(), REQUIRED))
    else:
        check_label_selector(selector, (_SPEC, "selector"), problems)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if selector is None or not selects(selector, labels):
        at: Path = (((_SPEC, "template"), "metadata"), "labels")
        complain(problems, at, labels, ["`selector` does not match template `labels`"])
    if old is None:
        _check_pod_names(metadata.get("name", ""), spec, problems)
    else:
        _check_change(spec, old.get("spec") or {}, (old.get("status") or {}).get("startTime"), problems)


def check_cron_job(cron_job: Raw, old: Raw | None, problems: list[Problem]) -> None:
    spec, before = cron_job.get("spec") or {}, (old or {}).get("spec") or {}
    name = (cron_job.get("metadata") or {}).get("name", "")
    if old is None and len(name) > _LONGEST_CRON_NAME:
        text = f"must be no more than {_LONGEST_CRON_NAME} characters"
        complain(problems, ((None, "metadata"), "name"), name, [text])
    schedule = spec.get("schedule", "")
    if schedule:
        complain(problems, (_SPEC, "schedule"), schedule, explain_schedule(schedule))
        if "TZ" in schedule:
            text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            if "TZ" in before.get("schedule", ""):
                text = "cannot use both timeZone field and TZ or CRON_TZ in schedule" if "timeZone" in spec else ""
            complain(problems, (_SPEC, "schedule"), schedule, [text] if text else [])
    if spec.get("timeZone") != before.get("timeZone"):
        zone = spec.get("timeZone")
        complain(problems, (_SPEC, "timeZone"), zone, explain_zone(zone) if zone is not None else ())
    inner = (spec.get("jobTemplate") or {}).get("spec") or {}
    at: Path = ((_SPEC, "jobTemplate"), "spec")
    _check_job_spec(inner, at, problems)
    if inner.get("selector") is not None:
        complain(problems, (at, "selector"), inner["selector"], ["`selector` will be auto-generated"])
    if inner.get("manualSelector"):
        problems.append(Problem((at, "manualSelector"), unsupported(True, ("nil", "false")), NOT_SUPPORTED))


def _not_prefixed(name: str) -> list[str]:
    """Why a name is no path behind a domain."""
    domain, _, path = name.partition("/")
    return [] if domain and path else ['must be a domain-prefixed path (such as "acme.io/foo")']


def _check_generated(metadata: Raw, spec: Raw, problems: list[Problem]) -> None:
    """Labels and selector of a job whose author leaves them to the server."""
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    at: Path = ((_SPEC, "template"), "metadata")
    wanted = {
        **dict.fromkeys(UID_LABELS[:1], metadata.get("uid")),
        **dict.fromkeys(NAME_LABELS[:1], metadata.get("name", "")),
        **dict.fromkeys(UID_LABELS[1:], metadata.get("uid")),
        **dict.fromkeys(NAME_LABELS[1:], metadata.get("name", "")),
    }
    for key, value in wanted.items():
        found = labels.get(key)
        if found is None:
            problems.append(Problem(((at, "labels"), Member(key)), required(f"must be '{value}'"), REQUIRED))
        elif found != value:
            problems.append(Problem(((at, "labels"), Member(key)), invalid_value(labels, f"must be '{value}'")))
    if not selects(spec["selector"], wanted):
        complain(problems, (_SPEC, "selector"), spec["selector"], ["`selector` not auto-generated"])


def _check_job_spec(spec: Raw, path: Path, problems: list[Problem]) -> None:
    indexed = spec.get("completionMode") == "Indexed"
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        text = required("when maxFailedIndexes is specified")
        problems.append(Problem((path, "backoffLimitPerIndex"), text, REQUIRED))
    if indexed:
        _check_indexed(spec, path, problems)
    else:
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if field in spec:
                complain(problems, (path, field), spec[field], ["requires indexed completion mode"])
    check_failure_policy(spec, path, problems)
    check_success_policy(spec, path, problems, indexed=indexed)
    replacement = spec.get("podReplacementPolicy")
    allowed = _REPLACEMENTS[:1] if "podFailurePolicy" in spec else _REPLACEMENTS
    if replacement is not None and replacement not in allowed:
        problems.append(Problem((path, "podReplacementPolicy"), unsupported(replacement, allowed), NOT_SUPPORTED))
    template = spec.get("template") or {}
    check_template(template, (path, "template"), problems)
    _check_restarts(spec, template.get("spec") or {}, (((path, "template"), "spec"), "restartPolicy"), problems)


def _check_restarts(spec: Raw, template: Raw, path: Path, problems: list[Problem]) -> None:
    policy = template.get("restartPolicy") or ""
    if policy in ("", "Always"):
        problems.append(Problem(path, required('valid values: "OnFailure", "Never"'), REQUIRED))
    elif policy not in ("OnFailure", "Never"):
        problems.append(Problem(path, unsupported(policy, ("OnFailure", "Never")), NOT_SUPPORTED))
    elif "podFailurePolicy" in spec and policy != "Never":
        complain(problems, path, policy, ['only "Never" is supported when podFailurePolicy is specified'])


def _check_indexed(spec: Raw, path: Path, problems: list[Problem]) -> None:
    completions, parallelism, failed = (spec.get(field) for field in ("completions", "parallelism", "maxFailedIndexes"))
    if completions is None:
        text = required("when completion mode is Indexed")
        problems.append(Problem((path, "completions"), text, REQUIRED))
    if (parallelism or 0) > _MOST_INDEXED:
        text = f"must be less than or equal to {_MOST_INDEXED} when completion mode is Indexed"
        complain(problems, (path, "parallelism"), parallelism, [text])
    if failed is not None and completions is not None and failed > completions:
        complain(problems, (path, "maxFailedIndexes"), failed, ["must be less than or equal to completions"])
    if (failed or 0) > _MOST_INDEXED:
        complain(problems, (path, "maxFailedIndexes"), failed, [f"must be less than or equal to {_MOST_INDEXED}"])
    if (completions or 0) <= _MANY_COMPLETIONS or "backoffLimitPerIndex" not in spec:
        return
    many = f"when completions are above {_MANY_COMPLETIONS} and used with backoff limit per index"
    if failed is None:
        text = required(f"must be specified when completions is above {_MANY_COMPLETIONS}")
        problems.append(Problem((path, "maxFailedIndexes"), text, REQUIRED))
    if (parallelism or 0) > _FEW_PARALLEL:
        text = f"must be less than or equal to {_FEW_PARALLEL} {many}"
        complain(problems, (path, "parallelism"), parallelism, [text])
    if (failed or 0) > _FEW_FAILED:
        complain(problems, (path, "maxFailedIndexes"), failed, [f"must be less than or equal to {_FEW_FAILED} {many}"])


def _check_pod_names(name: str, spec: Raw, problems: list[Problem]) -> None:
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        last = f"{name}-{completions - 1}"
        if label(last):
            text = f"will not able to create pod with invalid DNS label: {last}"
            complain(problems, ((None, "metadata"), "name"), name, [text])


def _check_change(spec: Raw, old: Raw, started: str | None, problems: list[Problem]) -> None:
    completions, before = spec.get("completions"), old.get("completions")
    at: Path = (_SPEC, "completions")
    if completions != before:
        if spec.get("completionMode") != "Indexed":
            complain(problems, at, completions, [IMMUTABLE])
        elif completions is not None and completions != spec.get("parallelism"):
            complain(problems, at, completions, ["can only be modified in tandem with spec.parallelism"])
    for field in _FROZEN:
        if spec.get(field) != old.get(field):
            complain(problems, (_SPEC, field), spec.get(field), [IMMUTABLE])
    template, was = spec.get("template") or {}, old.get("template") or {}
    if old.get("suspend") and started is None:
        template, was = _unreleased(template), _unreleased(was)
    if template != was:
        complain(problems, (_SPEC, "template"), spec.get("template"), [IMMUTABLE])


def _unreleased(template: Raw) -> Raw:
    """A template without what may still change while its job waits to start: where pods may run, and their labels."""
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in _RELEASABLE}
    affinity = {key: value for key, value in (spec.pop("affinity", None) or {}).items() if key != "nodeAffinity"}
    metadata = {
        key: value for key, value in (template.get("metadata") or {}).items() if key not in ("labels", "annotations")
    }
    return {**template, "metadata": metadata, "spec": {**spec, "affinity": affinity}}


def explain_zone(zone: str) -> list[str]:
    """What is wrong with a time zone, which the machine has to know."""
    if not zone:
        return ["timeZone must be nil or non-empty string"]
    for part in zone.split("/"):
        plain = part.replace("_", "").replace("-", "").replace("+", "").replace(".", "")
        if part in (".", "..") or part.startswith("-") or not (plain.isascii() and plain.isalnum()):
            return [f"unknown time zone {zone}"]
    if zone.lower() == "local":
        return ["timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"]
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return [f"unknown time zone {zone}"]
    return []
