"""Limit ranges: what containers get that ask for nothing, and what containers, pods and volume claims may ask for.

Follows the limit ranges of one store. A namespace without any costs one look into a dict.

Source: the admission plugin LimitRanger, by behaviour.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from tensorfusion.embedded.calls import Asked, Operation
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.pod_amounts import Amount, Amounts, amounts_of, limits_of, requests_of
from tensorfusion.embedded.statuses import forbidden
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent
from tensorfusion.model.resources import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS, PODS

_ANNOTATION = "kubernetes.io/limit-ranger"
_NOTHING: dict[str, JsonObject] = {}


class Limits:
    """Completes and checks pods and volume claims."""

    def __init__(self, store: Store) -> None:
        self._ranges: dict[str, dict[str, JsonObject]] = {}
        for record in store.scan(LIMIT_RANGES.id):
            self._put(record)
        store.on_commit(self._follow)

    def complete(self, asked: Asked) -> None:
        """Give a new pod's containers what they leave out. ``asked`` is of a pod."""
        ranges = self._ranges.get(asked.namespace)
        if ranges is None or asked.operation is not Operation.CREATE or asked.subresource or asked.obj is None:
            return
        for name in sorted(ranges):
            _complete_pod(asked.obj, ranges[name])

    def check(self, asked: Asked) -> None:
        """Raises:
        Forbidden: a limit range of the namespace does not let the object through; the message says all that is wrong.
        """
        ranges = self._ranges.get(asked.namespace)
        if ranges is None or asked.subresource or asked.obj is None:
            return
        if asked.old is not None and asked.old["metadata"].get("deletionTimestamp"):
            return
        resource = asked.kind.resource.id
        problems: Callable[[JsonObject, JsonObject], Iterator[str]]
        if resource == PODS.id and asked.operation is Operation.CREATE:
            problems = _pod_problems
        elif resource == PERSISTENT_VOLUME_CLAIMS.id:
            problems = _claim_problems
        else:
            return
        for name in sorted(ranges):
            found = list(dict.fromkeys(problems(asked.obj, ranges[name])))
            if found:
                why = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
                raise forbidden(asked.kind.resource, asked.name, why)

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            if event.record.key.resource != LIMIT_RANGES.id:
                continue
            if event.kind is not EventKind.DELETED:
                self._put(event.record)
                continue
            namespace, name = event.record.key.namespace, event.record.key.name
            ranges = self._ranges.get(namespace, {})
            ranges.pop(name, None)
            if not ranges:
                self._ranges.pop(namespace, None)

    def _put(self, record: Record) -> None:
        self._ranges.setdefault(record.key.namespace, {})[record.key.name] = decode_object(record.data)


def _items(limit_range: JsonObject, *kinds: str) -> Iterator[JsonObject]:
    for item in (limit_range.get("spec") or {}).get("limits") or ():
        if item.get("type") in kinds:
            yield item


def _complete_pod(pod: JsonObject, limit_range: JsonObject) -> None:
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        return
    defaults: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for item in _items(limit_range, "Container"):
        defaults["requests"] |= item.get("defaultRequest") or {}
        defaults["limits"] |= item.get("default") or {}
    said: list[str] = []
    for field, named in (("containers", "container"), ("initContainers", "init container")):
        for container in spec.get(field) or ():
            said += _complete_container(container, defaults, named)
    if said:
        metadata = pod["metadata"]
        text = "LimitRanger plugin set: " + "; ".join(said)
        metadata["annotations"] = {**(metadata.get("annotations") or {}), _ANNOTATION: text}


def _complete_container(container: JsonObject, defaults: dict[str, dict[str, str]], named: str) -> Iterator[str]:
    resources = container.setdefault("resources", {})
    for field, word in (("requests", "request"), ("limits", "limit")):
        stated = resources.get(field) or {}
        missing = {name: amount for name, amount in defaults[field].items() if name not in stated}
        if missing:
            resources[field] = {**stated, **missing}
            yield f"{', '.join(sorted(missing))} {word} for {named} {container.get('name', '')}"


def _pod_problems(pod: JsonObject, limit_range: JsonObject) -> Iterator[str]:
    spec = pod.get("spec") or {}
    for item in _items(limit_range, "Container"):
        for field in ("containers", "initContainers"):
            for container in spec.get(field) or ():
                resources = container.get("resources")
                yield from _problems(item, amounts_of(resources, "requests"), amounts_of(resources, "limits"))
    for item in _items(limit_range, "Pod"):
        yield from _problems(item, requests_of(pod), limits_of(pod))


def _claim_problems(claim: JsonObject, limit_range: JsonObject) -> Iterator[str]:
    requests = amounts_of((claim.get("spec") or {}).get("resources"), "requests")
    for item in _items(limit_range, "PersistentVolumeClaim"):
        for name, text in (item.get("min") or {}).items():
            yield from _too_little(item["type"], name, text, requests, {})
        for name, text in (item.get("max") or {}).items():
            request, start = requests.get(name), f"maximum {name} usage per {item['type']} is {text}"
            if request is None:
                yield f"{start}.  No request is specified"
            elif request.value > Amount.parse(text).value:
                yield f"{start}, but request is {request}"


def _problems(item: JsonObject, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for field, check in _CHECKS:
        for name, text in (item.get(field) or {}).items():
            yield from check(item["type"], name, text, requests, limits)


def _too_little(kind: str, name: str, text: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit, least = requests.get(name), limits.get(name), Amount.parse(text)
    start = f"minimum {name} usage per {kind} is {text}"
    if request is None:
        yield f"{start}.  No request is specified"
    elif request.value < least.value:
        yield f"{start}, but request is {request}"
    elif limit is not None and limit.value < least.value:
        yield f"{start}, but limit is {limit}"


def _too_much(kind: str, name: str, text: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit, most = requests.get(name), limits.get(name), Amount.parse(text)
    start = f"maximum {name} usage per {kind} is {text}"
    if limit is None:
        yield f"{start}.  No limit is specified"
    elif limit.value > most.value:
        yield f"{start}, but limit is {limit}"
    elif request is not None and request.value > most.value:
        yield f"{start}, but request is {request}"


def _too_far(kind: str, name: str, text: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = requests.get(name), limits.get(name)
    start = f"{name} max limit to request ratio per {kind} is {text}"
    if request is None or not request.value:
        yield f"{start}, but no request is specified or request is 0"
    elif limit is None or not limit.value:
        yield f"{start}, but no limit is specified or limit is 0"
    else:
        ratio: Fraction = limit.value / request.value
        if ratio > Amount.parse(text).value:
            yield f"{start}, but provided ratio is {float(ratio):f}"


_Check = Callable[[str, str, str, Amounts, Amounts], Iterator[str]]
_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("min", _too_little),
    ("max", _too_much),
    ("maxLimitRequestRatio", _too_far),
)
