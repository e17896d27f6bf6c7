"""Records for tests of the store and of what stands on it, without the API's rules around them."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from tensorfusion.embedded.store import ObjectKey, Record


def pod(name: str, namespace: str = "default") -> ObjectKey:
    """The key of a pod."""
    return ObjectKey("pods", namespace, name)


def record_maker(
    key: ObjectKey,
    value: str = "",
    *,
    labels: Mapping[str, str] | None = None,
    owners: Sequence[str] = (),
    uid: str = "",
) -> Callable[[int], Record]:
    """What ``Store.put`` wants: builds the record at the revision it is given. ``value`` is found in ``data``."""

    def make(revision: int) -> Record:
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": str(revision)}
        data = msgspec.json.encode({"metadata": metadata, "value": value})
        return Record(key, revision, uid or f"uid-of-{key.name}", data, labels or {}, {}, tuple(owners))

    return make


def value_of(record: Record | None) -> str | None:
    """The ``value`` that ``record_maker`` put in, None for no record."""
    return None if record is None else msgspec.json.decode(record.data)["value"]
