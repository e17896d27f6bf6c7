"""What the store holds of one object, and where."""

from collections.abc import Mapping
from typing import NamedTuple


class ObjectKey(NamedTuple):
    """Where an object is. ``resource`` is ``Resource.id``, such as ``pods`` or ``gpus.tensor-fusion.ai``."""

    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.resource} {self.namespace}/{self.name}" if self.namespace else f"{self.resource} {self.name}"


class Record(NamedTuple):
    """One object at one revision. ``data`` is its whole JSON; the rest is what lists and watches select by."""

    key: ObjectKey
    revision: int
    uid: str
    data: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    owners: tuple[str, ...]
