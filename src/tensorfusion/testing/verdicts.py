"""What the embedded API says of manifests of our kinds, without a server: its schemas, strict, in one process."""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.schema.schema import FieldValidation
from tensorfusion.errors import ApiError
from tensorfusion.model.crd import KINDS, crd


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status code and, for a refusal, its words and the broken fields with theirs."""

    code: int
    message: str = ""
    causes: tuple[tuple[str, str], ...] = ()

    @property
    def fields(self) -> list[str]:
        """The broken fields, sorted."""
        return sorted(field for field, _ in self.causes)


@cache
def our_kinds() -> Kinds:
    """The built-in kinds and ours, as a server serves them."""
    kinds = Kinds.builtin()
    for name in KINDS:
        kinds.install_crd(crd(name))
    return kinds


def verdict(document: Any, *, part: str = "spec", namespace: str = "team") -> Verdict:
    """The verdict about a new object, or (``part`` status) about writing the status of one that has none."""
    kind = our_kinds().by_id(KINDS[document["kind"]].resource.id)
    obj = deepcopy(document)
    if kind.namespaced:
        obj["metadata"]["namespace"] = namespace
    try:
        kind.schema.prepare(obj, strict=FieldValidation.STRICT)
        if part == "status":
            old = {key: value for key, value in obj.items() if key != "status"}
            kind.schema.validate(obj, old, subresource="status")
        else:
            kind.schema.validate(obj)
    except ApiError as error:
        causes = tuple((cause.field, cause.message) for cause in error.causes)
        return Verdict(error.status_code, str(error), causes)
    return Verdict(200 if part == "status" else 201)
