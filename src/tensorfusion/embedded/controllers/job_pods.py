"""The pods of a Job: which are too many, which indexes are missing, and what a new one looks like. Pure."""

from collections.abc import Collection, Mapping

from tensorfusion.embedded.controllers.job_objects import COMPLETION_INDEX, TRACKING, Job, completion_index
from tensorfusion.embedded.controllers.job_survey import Survey
from tensorfusion.embedded.controllers.pods import pod_from
from tensorfusion.model.core import Pod
from tensorfusion.model.meta import Raw
from tensorfusion.model.resources import JOBS
from tensorfusion.policy.ranking import deletion_order

_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_LONGEST_PREFIX = 58
"""Characters of a generateName that are kept: five more make 63, the limit of a host name."""


def extra_pods(job: Job, found: Survey, wanted: int) -> list[Pod]:
    """The active pods to delete: those that work for an index in vain, then the least useful ones."""
    order = deletion_order(found.active)
    if not job.indexed:
        return order[: max(0, len(order) - wanted)]
    useful: dict[int, Pod] = {}
    vain = []
    for pod in reversed(order):  # the more useful one keeps its index
        index = completion_index(pod)
        if index is None or index >= (job.spec.completions or 0) or index in useful or index in found.completed:
            vain.append(pod)
        else:
            useful[index] = pod
    highest_first = [useful[index] for index in sorted(useful, reverse=True)]
    return vain + highest_first[: max(0, len(highest_first) - wanted)]


def pending_indexes(job: Job, taken: Collection[int | None], count: int) -> list[int]:
    """The lowest indexes that nobody works for and that have not succeeded."""
    free = (index for index in range(job.spec.completions or 0) if index not in taken)
    return [index for index, _ in zip(free, range(count), strict=False)]


def creation_prefix(job: Job, index: int | None) -> str:
    """What a new pod's name starts with."""
    if index is None:
        return f"{job.metadata.name[: _LONGEST_PREFIX - 1]}-"
    tail = f"-{index}-"
    return f"{job.metadata.name[: _LONGEST_PREFIX - len(tail)]}{tail}"


def pod_of_job(job: Job, name: str, index: int | None, annotations: Mapping[str, str]) -> Raw:
    """A new pod, held by the finalizer; one of an Indexed Job knows its index in every way that Kubernetes tells it."""
    body = pod_from(JOBS, job.metadata, job.spec.template, name, prefix=creation_prefix(job, index))
    metadata = body["metadata"]
    finalizers = [found for found in metadata.get("finalizers") or () if found != TRACKING]
    metadata["finalizers"] = [*finalizers, TRACKING]
    if index is None:
        return body
    metadata["annotations"] = {**(metadata.get("annotations") or {}), COMPLETION_INDEX: str(index), **annotations}
    metadata["labels"] = {**(metadata.get("labels") or {}), COMPLETION_INDEX: str(index)}
    spec = {**body["spec"], "hostname": f"{job.metadata.name}-{index}"}
    for group in ("initContainers", "containers"):
        if spec.get(group):
            spec[group] = [_with_index(container) for container in spec[group]]
    body["spec"] = spec
    return body


def _with_index(container: Raw) -> Raw:
    variables = container.get("env") or []
    if any(variable.get("name") == _INDEX_VARIABLE for variable in variables):
        return container
    field = {"fieldRef": {"fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}}
    return {**container, "env": [*variables, {"name": _INDEX_VARIABLE, "valueFrom": field}]}
