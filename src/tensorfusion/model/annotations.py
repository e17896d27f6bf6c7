"""The annotations of a pod, parsed once into integers: the only place that reads what users write on pods.

Two readers. ``parse_wishes`` reads a pod template as a user wrote it, for admission. ``request_of`` reads an admitted
pod, whose annotations are complete, for everyone else; ``annotations_of`` is its inverse. A value that cannot be
understood is always refused with its annotation's name: a wish that is silently ignored becomes a pod that runs
with something else than its owner believes.

Rounding: requests and limits up to the next whole GFLOPS or byte, percentages down to thousandths.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from tensorfusion.errors import InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.autoscaling import AutoscaleTarget
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.gpu_topology import TIER_WORDS, Tier, TopologySource
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.model.workload import GangMode, GangTopology
from tensorfusion.units import Rounding, format_bytes, format_gflops, format_milli, to_bytes, to_gflops, to_milli

MAX_GPU_COUNT = 128
_WHOLE_PERCENT = 100_000
_LONGEST_NUMBER = 64
_INTEGER = re.compile(r"[0-9]{1,9}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_CAPACITY = re.compile(r"[0-9]{1,18}")
_E = TypeVar("_E", bound=StrEnum)
REQUEST_KEYS = (
    keys.GPU_POOL,
    keys.TFLOPS_REQUEST,
    keys.TFLOPS_LIMIT,
    keys.COMPUTE_PERCENT_REQUEST,
    keys.COMPUTE_PERCENT_LIMIT,
    keys.VRAM_REQUEST,
    keys.VRAM_LIMIT,
    keys.GPU_COUNT,
    keys.GPU_INDICES,
    keys.GPU_MODEL,
    keys.VENDOR,
    keys.ISOLATION,
    keys.PARTITION_ID,
    keys.QOS,
)
"""Everything that ``read_request`` reads: what differs in none of them asks for the same."""
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 1024
"""Letters of all these annotations up to which a request is remembered."""


class Feature(StrEnum):
    """Parts of the client that ``disable-features`` turns off."""

    GPU_OPT = "gpu-opt"
    GPU_LIMITER = "gpu-limiter"
    MEM_MANAGER = "mem-manager"
    START_WORKER = "start-worker"


@dataclass(frozen=True, slots=True)
class PodWishes:
    """Every annotation that a user may set; None means not set.

    Units: compute GFLOPS, VRAM bytes, percent in thousandths, durations in nanoseconds. All amounts are per device.
    """

    compute_request: int | None = None
    compute_limit: int | None = None
    percent_request: int | None = None
    percent_limit: int | None = None
    vram_request: int | None = None
    vram_limit: int | None = None
    gpu_count: int | None = None
    gpu_indices: tuple[int, ...] | None = None
    gpu_model: str | None = None
    vendor: str | None = None
    pool: str | None = None
    qos: QoS | None = None
    isolation: Isolation | None = None
    partition: str | None = None
    dedicated_gpu: bool | None = None
    workload_profile: str | None = None
    inject_containers: tuple[str, ...] | None = None
    is_local_gpu: bool | None = None
    sidecar_worker: bool | None = None
    worker_pod_template: str | None = None
    disabled_features: tuple[Feature, ...] | None = None
    autoscale: bool | None = None
    autoscale_target: AutoscaleTarget | None = None
    enabled_replicas: int | None = None
    eviction_protection: int | None = None
    gang_enabled: bool | None = None
    gang_min_members: int | None = None
    gang_timeout: int | None = None
    gang_mode: GangMode | None = None
    gang_topology: GangTopology | None = None
    gang_topology_key: str | None = None
    require_gpu_topology: bool | None = None
    gpu_topology_max_tier: int | None = None
    gpu_topology_source: TopologySource | None = None
    dra_enabled: bool | None = None
    dra_cel_expression: str | None = None


def parse_wishes(annotations: Mapping[str, str]) -> PodWishes:
    """What the user of a pod asks for.

    Older names of the autoscale annotations count where the current one is not set.

    Raises:
        InvalidRequest: a value cannot be understood; the message names the annotation, what it takes and what it has.
    """
    return PodWishes(
        compute_request=_gflops(annotations, keys.TFLOPS_REQUEST),
        compute_limit=_gflops(annotations, keys.TFLOPS_LIMIT),
        percent_request=_percent(annotations, keys.COMPUTE_PERCENT_REQUEST),
        percent_limit=_percent(annotations, keys.COMPUTE_PERCENT_LIMIT),
        vram_request=_vram(annotations, keys.VRAM_REQUEST),
        vram_limit=_vram(annotations, keys.VRAM_LIMIT),
        gpu_count=_gpu_count(annotations),
        gpu_indices=_gpu_indices(annotations),
        gpu_model=_text(annotations, keys.GPU_MODEL),
        vendor=_text(annotations, keys.VENDOR),
        pool=_text(annotations, keys.GPU_POOL),
        qos=_enum(annotations, keys.QOS, QoS),
        isolation=_enum(annotations, keys.ISOLATION, Isolation),
        partition=_text(annotations, keys.PARTITION_ID),
        dedicated_gpu=_boolean(annotations, keys.DEDICATED_GPU),
        workload_profile=_text(annotations, keys.WORKLOAD_PROFILE),
        inject_containers=_names(annotations, keys.INJECT_CONTAINER),
        is_local_gpu=_boolean(annotations, keys.IS_LOCAL_GPU),
        sidecar_worker=_boolean(annotations, keys.SIDECAR_WORKER),
        worker_pod_template=_text(annotations, keys.WORKER_POD_TEMPLATE),
        disabled_features=_features(annotations),
        autoscale=_boolean(annotations, _first(annotations, keys.AUTOSCALE, keys.OLDER_AUTOSCALE)),
        autoscale_target=_enum(
            annotations,
            _first(annotations, keys.AUTOSCALE_TARGET, keys.OLDER_AUTOSCALE_TARGET),
            AutoscaleTarget,
        ),
        enabled_replicas=_integer(annotations, keys.ENABLED_REPLICAS, "a whole number from 0"),
        eviction_protection=_duration(annotations, keys.EVICTION_PROTECTION),
        gang_enabled=_boolean(annotations, keys.GANG_ENABLED),
        gang_min_members=_gang_members(annotations),
        gang_timeout=_duration(annotations, keys.GANG_TIMEOUT, empty=0),
        gang_mode=_enum(annotations, keys.GANG_MODE, GangMode),
        gang_topology=_enum(annotations, keys.GANG_TOPOLOGY, GangTopology),
        gang_topology_key=_text(annotations, keys.GANG_TOPOLOGY_KEY),
        require_gpu_topology=_boolean(annotations, keys.REQUIRE_GPU_TOPOLOGY),
        gpu_topology_max_tier=_tier(annotations),
        gpu_topology_source=_enum(annotations, keys.GPU_TOPOLOGY_SOURCE, TopologySource),
        dra_enabled=_boolean(annotations, keys.DRA_ENABLED),
        dra_cel_expression=_text(annotations, keys.DRA_CEL_EXPRESSION),
    )


def request_of(annotations: Mapping[str, str], labels: Mapping[str, str]) -> GpuRequest | None:
    """What an admitted pod asks of its devices; None for a pod that takes none (component is not worker).

    A missing request is the limit. Percent counts only where no TFLOPS are given.

    Raises:
        InvalidRequest: a value cannot be understood, or the pool is missing.
    """
    if labels.get(keys.COMPONENT) != "worker":
        return None
    said = tuple([annotations.get(key) for key in REQUEST_KEYS])
    if sum(map(len, filter(None, said))) <= _LONGEST_REMEMBERED:
        return _remembered_request(said, labels.get(keys.GPU_POOL, ""))
    return read_request(annotations, labels.get(keys.GPU_POOL, ""))


@lru_cache(maxsize=_REMEMBERED)
def _remembered_request(said: tuple[str | None, ...], pool: str) -> GpuRequest:
    """Each pod is read by scheduler, node and operator, and many pods say the same. What is refused is read again."""
    return read_request({key: text for key, text in zip(REQUEST_KEYS, said, strict=True) if text is not None}, pool)


def read_request(annotations: Mapping[str, str], pool: str = "") -> GpuRequest:
    """``request_of`` for a worker, without remembering; ``pool`` is that of its label.

    Raises:
        InvalidRequest: a value cannot be understood, or the pool is missing.
    """
    pool = annotations.get(keys.GPU_POOL) or pool
    if not pool:
        raise InvalidRequest(f"annotation {keys.GPU_POOL} is missing: name the GPUPool of the pod")
    compute_limit = _gflops(annotations, keys.TFLOPS_LIMIT) or 0
    compute = _gflops(annotations, keys.TFLOPS_REQUEST)
    compute = compute_limit if compute is None else compute
    percent_limit = 0 if compute_limit else _percent(annotations, keys.COMPUTE_PERCENT_LIMIT) or 0
    percent = None if compute else _percent(annotations, keys.COMPUTE_PERCENT_REQUEST)
    if percent is None:
        percent = 0 if compute else percent_limit
    vram_limit = _vram(annotations, keys.VRAM_LIMIT) or 0
    vram = _vram(annotations, keys.VRAM_REQUEST)
    indices = _gpu_indices(annotations) or ()
    return GpuRequest(
        pool=pool,
        count=len(indices) or _gpu_count(annotations) or 1,
        compute=compute,
        compute_limit=compute_limit,
        percent=percent,
        percent_limit=percent_limit,
        vram=vram_limit if vram is None else vram,
        vram_limit=vram_limit,
        model=annotations.get(keys.GPU_MODEL, ""),
        vendor=annotations.get(keys.VENDOR, ""),
        indices=indices,
        isolation=_enum(annotations, keys.ISOLATION, Isolation) or Isolation.SOFT,
        partition=annotations.get(keys.PARTITION_ID, ""),
        qos=_enum(annotations, keys.QOS, QoS) or QoS.MEDIUM,
    )


def annotations_of(request: GpuRequest) -> dict[str, str]:
    """The annotations from which ``request_of`` reads this request back (with the label component=worker).

    Amounts that mean nothing (a percentage beside TFLOPS) are left out, and requests are always written, so that a
    zero never turns into the limit.
    """
    written = {
        keys.GPU_POOL: request.pool,
        keys.GPU_COUNT: str(len(request.indices) or request.count),
        keys.VRAM_REQUEST: format_bytes(request.vram),
        keys.QOS: request.qos.value,
        keys.ISOLATION: request.isolation.value,
    }
    if request.compute or request.compute_limit or not request.percent:
        written[keys.TFLOPS_REQUEST] = format_gflops(request.compute)
    if not request.compute and (request.percent or request.percent_limit):
        written[keys.COMPUTE_PERCENT_REQUEST] = format_milli(request.percent)
    if request.compute_limit:
        written[keys.TFLOPS_LIMIT] = format_gflops(request.compute_limit)
    elif request.percent_limit:
        written[keys.COMPUTE_PERCENT_LIMIT] = format_milli(request.percent_limit)
    if request.vram_limit:
        written[keys.VRAM_LIMIT] = format_bytes(request.vram_limit)
    if request.indices:
        written[keys.GPU_INDICES] = ",".join(map(str, request.indices))
    names = {keys.GPU_MODEL: request.model, keys.VENDOR: request.vendor, keys.PARTITION_ID: request.partition}
    return written | {key: name for key, name in names.items() if name}


def gpu_ids(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The GPU objects whose shares the pod holds, in order; empty before placement.

    Raises:
        InvalidRequest: the list is malformed or names a device twice.
    """
    text = annotations.get(keys.GPU_IDS, "")
    if not text:
        return ()
    names = tuple(text.split(","))
    if len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise _refused(keys.GPU_IDS, "a comma list of distinct GPU names", text)
    return names


def gpu_capacities(annotations: Mapping[str, str], count: int) -> tuple[int, ...]:
    """GFLOPS of each of the ``count`` devices when the pod got them; empty where nobody wrote that down.

    What cannot be read is as if it were not there: the devices themselves say it, unless they are gone.
    """
    parts = annotations.get(keys.GPU_CAPACITIES, "").split(",")
    if len(parts) != count or not all(_CAPACITY.fullmatch(part) for part in parts):
        return ()
    return tuple(map(int, parts))


def _refused(key: str, wanted: str, found: str) -> InvalidRequest:
    shown = found if len(found) <= _LONGEST_NUMBER else found[:_LONGEST_NUMBER] + "..."
    return InvalidRequest(f"annotation {key}: wanted {wanted}, found {shown!r}")


def _first(annotations: Mapping[str, str], *names: str) -> str:
    return next((name for name in names if name in annotations), names[0])


def _text(annotations: Mapping[str, str], key: str) -> str | None:
    """A name or free text; an empty value counts as not set."""
    return annotations.get(key) or None


def _boolean(annotations: Mapping[str, str], key: str) -> bool | None:
    text = annotations.get(key)
    if text is None:
        return None
    if text not in ("true", "false"):
        raise _refused(key, '"true" or "false"', text)
    return text == "true"


def _enum(annotations: Mapping[str, str], key: str, values: type[_E]) -> _E | None:
    text = annotations.get(key)
    if text is None:
        return None
    try:
        return values(text)
    except ValueError:
        raise _refused(key, f"one of {', '.join(values)}", text) from None


def _number(text: str) -> bool:
    """Short, plain ASCII: whatever else is wrong with it, the quantity parser says."""
    return len(text) <= _LONGEST_NUMBER and text.isascii() and text.isprintable()


def _gflops(annotations: Mapping[str, str], key: str) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    wanted = "a number of TFLOPS from 0, such as 312 or 149.7"
    if not _number(text):
        raise _refused(key, wanted, text)
    try:
        return to_gflops(text)
    except InvalidRequest as error:
        raise _refused(key, wanted, text) from error


def _vram(annotations: Mapping[str, str], key: str) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    wanted = "an amount of memory from 0, such as 16Gi"
    if not _number(text):
        raise _refused(key, wanted, text)
    try:
        return to_bytes(text)
    except InvalidRequest as error:
        raise _refused(key, wanted, text) from error


def _percent(annotations: Mapping[str, str], key: str) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    wanted = "a percentage from 0 to 100"
    if not _number(text):
        raise _refused(key, wanted, text)
    try:
        value = to_milli(text, Rounding.DOWN)
    except InvalidRequest as error:
        raise _refused(key, wanted, text) from error
    if value > _WHOLE_PERCENT:
        raise _refused(key, wanted, text)
    return value


def _integer(annotations: Mapping[str, str], key: str, wanted: str) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text):
        raise _refused(key, wanted, text)
    return int(text)


def _gpu_count(annotations: Mapping[str, str]) -> int | None:
    wanted = f"a whole number from 1 to {MAX_GPU_COUNT}"
    count = _integer(annotations, keys.GPU_COUNT, wanted)
    if count is not None and not 1 <= count <= MAX_GPU_COUNT:
        raise _refused(keys.GPU_COUNT, wanted, annotations[keys.GPU_COUNT])
    return count


def _tier(annotations: Mapping[str, str]) -> int | None:
    text = annotations.get(keys.GPU_TOPOLOGY_MAX_TIER)
    if text is None:
        return None
    tiers = {str(int(tier)): int(tier) for tier in Tier}
    if text not in tiers:
        named = ", ".join(f"{int(tier)} ({TIER_WORDS[tier]})" for tier in Tier)
        raise _refused(keys.GPU_TOPOLOGY_MAX_TIER, f"one of {named}", text)
    return tiers[text]


def _gpu_indices(annotations: Mapping[str, str]) -> tuple[int, ...] | None:
    text = annotations.get(keys.GPU_INDICES)
    if not text:
        return None
    parts = [part.strip(" ") for part in text.split(",")]
    wanted = f"a comma list of at most {MAX_GPU_COUNT} distinct device indices from 0, such as 0,1"
    if not all(_INTEGER.fullmatch(part) for part in parts):
        raise _refused(keys.GPU_INDICES, wanted, text)
    indices = tuple(int(part) for part in parts)
    if len(indices) > MAX_GPU_COUNT or len(set(indices)) != len(indices):
        raise _refused(keys.GPU_INDICES, wanted, text)
    return indices


def _names(annotations: Mapping[str, str], key: str) -> tuple[str, ...] | None:
    text = annotations.get(key)
    if not text:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise _refused(key, "a comma list of container names", text)
    return names


def _features(annotations: Mapping[str, str]) -> tuple[Feature, ...] | None:
    names = _names(annotations, keys.DISABLE_FEATURES)
    if names is None:
        return None
    try:
        return tuple(Feature(name) for name in names)
    except ValueError:
        raise _refused(
            keys.DISABLE_FEATURES, f"a comma list of {', '.join(Feature)}", annotations[keys.DISABLE_FEATURES]
        ) from None


def _gang_members(annotations: Mapping[str, str]) -> int | None:
    wanted = "0 (all) or a whole number from 2"
    members = _integer(annotations, keys.GANG_MIN_MEMBERS, wanted)
    if members == 1:
        raise _refused(keys.GANG_MIN_MEMBERS, wanted, "1")
    return members


def _duration(annotations: Mapping[str, str], key: str, *, empty: int | None = None) -> int | None:
    text = annotations.get(key)
    if text is None:
        return None
    if text == "" and empty is not None:
        return empty
    try:
        return parse_duration(text)
    except InvalidRequest as error:
        raise _refused(key, "a duration such as 90s, 5m or 1h30m", text) from error
