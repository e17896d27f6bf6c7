"""Other amounts for a pod that runs: an edit of its owner becomes a wish, and a wish names a new request.

The amounts in a bound pod's annotations are what it holds; only the scheduler writes them, because only its ledger
knows what its devices and its namespace have left. So admission turns an edit of them back and keeps it beside them, in
the annotation ``resize``; the scheduler carries it out or refuses it. What can be judged from the pod alone is judged
here, for both.

Rejected: to let edits through and to keep what is granted elsewhere. Every reader of a pod would have to know of two
truths, and a pod whose edit was refused would say what it does not have.

Source: TensorFusion's rules for adjusting a live allocation. Ours: compute keeps its unit, a dedicated device its size,
and a hard share its caps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import parse_wishes, request_of
from tensorfusion.model.request import GpuRequest, Isolation
from tensorfusion.policy.patches import Op, escape
from tensorfusion.units import format_bytes, format_gflops, format_milli

_PREFIX = f"{keys.DOMAIN}/"
_decode = msgspec.json.Decoder(dict[str, str | None]).decode
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Resize:
    """A wish that makes sense: ``before`` and ``after`` differ in amounts only."""

    values: Mapping[str, str | None]
    """Annotations and their wanted texts; None removes one."""
    before: GpuRequest
    after: GpuRequest


def edited(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str | None]:
    """The amounts that an edit of annotations changes, by annotation."""
    return {key: new.get(key) for key in sorted(keys.RESIZABLE_KEYS) if old.get(key) != new.get(key)}


def wish_of(annotations: Mapping[str, str]) -> dict[str, str | None]:
    """The pod's wish, by annotation; empty where it has none.

    Raises:
        InvalidRequest: it cannot be read, or names something else than an amount.
    """
    text = annotations.get(keys.RESIZE)
    if not text:
        return {}
    wanted = f"annotation {keys.RESIZE}: wanted JSON such as " + '{"tflops-request": "20"}'
    try:
        found = _decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"{wanted}, found {text[:64]!r}") from error
    values = {f"{_PREFIX}{name}": value for name, value in found.items()}
    odd = min(values.keys() - keys.RESIZABLE_KEYS, default=None)
    if odd is not None:
        known = ", ".join(sorted(key.removeprefix(_PREFIX) for key in keys.RESIZABLE_KEYS))
        raise InvalidRequest(f"{wanted} of {known}, found {odd.removeprefix(_PREFIX)[:64]!r}")
    return values


def text_of(values: Mapping[str, str | None]) -> str:
    """The annotation that ``wish_of`` reads back."""
    return _encode({key.removeprefix(_PREFIX): value for key, value in values.items()}).decode()


def resize_of(annotations: Mapping[str, str], labels: Mapping[str, str], values: Mapping[str, str | None]) -> Resize:
    """What the wish makes of a pod's request.

    Raises:
        InvalidRequest: a value cannot be understood, contradicts another, or cannot change while the pod runs.
    """
    before = request_of(annotations, labels)
    if before is None:
        raise InvalidRequest(f"label {keys.COMPONENT}: wanted worker: the pod holds no share that could be changed")
    overlaid = {key: value for key, value in {**annotations, **values}.items() if value is not None}
    after = request_of(overlaid, labels)
    if after is None:
        raise InvalidRequest(f"label {keys.COMPONENT}: wanted worker")
    _refuse_fixed(annotations, before)
    _refuse_contradictions(overlaid, after)
    _refuse_other_units(before, after)
    return Resize(values, before, after)


def turned_back(old: Mapping[str, str], new: Mapping[str, str], values: Mapping[str, str | None]) -> list[Op]:
    """The JSON patch that undoes an edit of amounts in ``new`` and notes the wish, where there is one, instead."""
    ops: list[Op] = []
    for key in edited(old, new):
        path, before = f"/metadata/annotations/{escape(key)}", old.get(key)
        if before is None:
            ops.append({"op": "remove", "path": path})
        else:
            ops.append({"op": "add", "path": path, "value": before})
    if values:
        ops.append({"op": "add", "path": f"/metadata/annotations/{escape(keys.RESIZE)}", "value": text_of(values)})
    if ops and not new:  # every annotation was removed, and perhaps the map with them
        ops.insert(0, {"op": "add", "path": "/metadata/annotations", "value": {}})
    return ops


def in_words(resize: Resize) -> str:
    """What changes: ``tflops-request 10 -> 20, vram-limit 4Gi -> 8Gi``; empty where nothing does."""
    before, after = resize.before, resize.after
    changes = []
    for key, was, now, show in (
        (keys.TFLOPS_REQUEST, before.compute, after.compute, format_gflops),
        (keys.TFLOPS_LIMIT, before.compute_limit, after.compute_limit, format_gflops),
        (keys.COMPUTE_PERCENT_REQUEST, before.percent, after.percent, format_milli),
        (keys.COMPUTE_PERCENT_LIMIT, before.percent_limit, after.percent_limit, format_milli),
        (keys.VRAM_REQUEST, before.vram, after.vram, format_bytes),
        (keys.VRAM_LIMIT, before.vram_limit, after.vram_limit, format_bytes),
    ):
        if was != now:
            name = key.removeprefix(_PREFIX)
            changes.append(f"{name} {show(was) if was else 'none'} -> {show(now) if now else 'none'}")
    return ", ".join(changes)


def _refuse_fixed(annotations: Mapping[str, str], before: GpuRequest) -> None:
    if before.isolation is Isolation.PARTITIONED:
        raise InvalidRequest(
            f"annotation {keys.ISOLATION}: a partitioned pod's amounts are fixed: its hardware partition has the size "
            "of its template; create a new pod"
        )
    if before.isolation is Isolation.HARD:
        raise InvalidRequest(
            f"annotation {keys.ISOLATION}: a hard pod's amounts are fixed: its worker got its caps when it started "
            "and would keep them; create a new pod"
        )
    if annotations.get(keys.DEDICATED_GPU) == "true":
        raise InvalidRequest(
            f"annotation {keys.DEDICATED_GPU}: the pod's amounts are fixed: it holds whole devices; create a new pod"
        )


def _refuse_contradictions(overlaid: Mapping[str, str], after: GpuRequest) -> None:
    wishes = parse_wishes(overlaid)
    for tflops, percent, tflops_key, percent_key in (
        (wishes.compute_request, wishes.percent_request, keys.TFLOPS_REQUEST, keys.COMPUTE_PERCENT_REQUEST),
        (wishes.compute_limit, wishes.percent_limit, keys.TFLOPS_LIMIT, keys.COMPUTE_PERCENT_LIMIT),
    ):
        if tflops and percent:
            raise InvalidRequest(
                f"wanted only one of {tflops_key} and {percent_key}, found {format_gflops(tflops)} TFLOPS "
                f"and {format_milli(percent)} percent"
            )
    for request, limit, key, limit_key, show in (
        (after.compute, after.compute_limit, keys.TFLOPS_REQUEST, keys.TFLOPS_LIMIT, format_gflops),
        (after.percent, after.percent_limit, keys.COMPUTE_PERCENT_REQUEST, keys.COMPUTE_PERCENT_LIMIT, format_milli),
        (after.vram, after.vram_limit, keys.VRAM_REQUEST, keys.VRAM_LIMIT, format_bytes),
    ):
        if request and limit and request > limit:
            raise InvalidRequest(
                f"{key}: wanted at most {limit_key} {show(limit)}, found {show(request)}: change both together"
            )
    if after.isolation is not Isolation.SHARED and not (after.compute or after.percent or after.vram):
        raise InvalidRequest(
            f"wanted an amount above 0 in one of {keys.TFLOPS_REQUEST}, {keys.COMPUTE_PERCENT_REQUEST} and "
            f"{keys.VRAM_REQUEST}, found none"
        )


def _refuse_other_units(before: GpuRequest, after: GpuRequest) -> None:
    """While a change is decided the larger of both amounts is held: that needs one unit."""
    for was_tflops, was_percent, tflops, percent, tflops_key, percent_key in (
        (
            before.compute,
            before.percent,
            after.compute,
            after.percent,
            keys.TFLOPS_REQUEST,
            keys.COMPUTE_PERCENT_REQUEST,
        ),
        (
            before.compute_limit,
            before.percent_limit,
            after.compute_limit,
            after.percent_limit,
            keys.TFLOPS_LIMIT,
            keys.COMPUTE_PERCENT_LIMIT,
        ),
    ):
        if was_tflops and percent:
            raise InvalidRequest(f"annotation {percent_key}: wanted {tflops_key}: the pod's compute keeps its unit")
        if was_percent and tflops:
            raise InvalidRequest(f"annotation {tflops_key}: wanted {percent_key}: the pod's compute keeps its unit")
