"""An owner's edit of a running pod's amounts: refused with the reason, or made a wish that the scheduler answers.

Apart from the service because it looks at two versions of a pod and at nothing else, but for one question: the
``judge``, who has the scheduler's ledger in this process, says whether there is room now. Its word makes most refusals
immediate; it is not the decision, which is the leader's alone.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.meta import Raw
from tensorfusion.model.request import GpuRequest
from tensorfusion.policy.resize import edited, in_words, resize_of, turned_back, wish_of
from tensorfusion.policy.verdict import BAD_REQUEST, FORBIDDEN, one_line
from tensorfusion.runtime.admission import AdmissionRequest, AdmissionResponse

Judge: TypeAlias = Callable[[str, GpuRequest], str | None]
"""Pod uid and wanted request: why there is no room for it, or None where there is or nobody knows."""

_ALLOWED = AdmissionResponse(allowed=True)


def unjudged(uid: str, request: GpuRequest) -> str | None:
    """For a process without a scheduler: whoever leads decides."""
    return None


class Resizing:
    """The route for updates of pods that change amounts."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def review(self, request: AdmissionRequest) -> AdmissionResponse:
        """Decide about an update of a pod."""
        old, new = request.old_object or {}, request.object or {}
        metadata = _mapping(old.get("metadata"))
        labels, before = _mapping(metadata.get("labels")), _mapping(metadata.get("annotations"))
        after = _mapping(_mapping(new.get("metadata")).get("annotations"))
        changes = edited(before, after)
        if not changes or labels.get(keys.COMPONENT) != "worker" or not _mapping(old.get("spec")).get("nodeName"):
            return _ALLOWED  # nobody's amounts change, or a guard refuses it
        name = f"pod {request.namespace}/{request.name or metadata.get('name', '')}"
        if metadata.get("deletionTimestamp") or _mapping(old.get("status")).get("phase") in ("Succeeded", "Failed"):
            return _denied(FORBIDDEN, f"{name}: its amounts are fixed: the pod is over")
        try:
            resize = resize_of(before, labels, {**_pending(before), **changes})
        except InvalidRequest as error:
            return _denied(BAD_REQUEST, str(error))
        words = in_words(resize)
        if not words:
            return AdmissionResponse(allowed=True, patch=turned_back(before, after, {}))
        why = self._judge(str(metadata.get("uid", "")), resize.after)
        if why is not None:
            return _denied(FORBIDDEN, f"{name}: {words}: {why}")
        asked = one_line(f"{name}: {words}: asked of {keys.SCHEDULER_NAME}; condition {keys.RESOURCE_UPDATE} answers")
        return AdmissionResponse(allowed=True, patch=turned_back(before, after, resize.values), warnings=(asked,))


def _pending(annotations: Mapping[str, str]) -> Mapping[str, str | None]:
    """An earlier wish that is not answered yet; what cannot be read of it counts for nothing."""
    try:
        return wish_of(annotations)
    except InvalidRequest:
        return {}


def _denied(code: int, message: str) -> AdmissionResponse:
    return AdmissionResponse(allowed=False, code=code, message=one_line(message))


def _mapping(value: object) -> Raw:
    return value if isinstance(value, dict) else {}
