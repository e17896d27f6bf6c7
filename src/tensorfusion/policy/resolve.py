"""Turn what a pod says, its profile, its pool and its namespace's quota into one request in integers.

The order of precedence is the whole content: annotation, then profile, then native GPU limits, then the quota's
defaults; a missing request is the limit. Everything that cannot be meant is refused with the name of what to change.

Source: TensorFusion's admission contract (value resolution, parse errors, quality of service). Two readings are ours:
a quota's default never contradicts a value that the pod states, and native GPU limits count as stated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tensorfusion.errors import InvalidQuantity, InvalidRequest
from tensorfusion.model import keys
from tensorfusion.model.annotations import MAX_GPU_COUNT, PodWishes
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.providers import NO_PROVIDERS, Providers
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.request import GpuRequest, Isolation, QoS
from tensorfusion.model.workload import WorkloadProfile
from tensorfusion.policy.injection import has_soft_limiter
from tensorfusion.policy.patches import Json
from tensorfusion.units import Rounding, format_bytes, format_gflops, format_milli, to_units

_HARD_VENDOR = "NVIDIA"
_WHOLE_DEVICE = 100_000  # milli-percent


@dataclass(frozen=True, slots=True)
class DeviceCapacity:
    """What one model of device holds. GFLOPS and bytes."""

    model: str
    compute: int
    vram: int


class Capacities(Protocol):
    """Which devices a model name stands for, by capacity: one entry per distinct model."""

    def capacities_of(self, model: str) -> Sequence[DeviceCapacity]: ...


@dataclass(frozen=True, slots=True)
class NativeGpus:
    """The vendors' own GPU resources in a pod: devices by container, and the vendor of the first one."""

    by_container: Mapping[str, int]
    vendor: str = ""

    @property
    def total(self) -> int:
        return sum(self.by_container.values())


def native_gpus(containers: Sequence[Mapping[str, Json]], providers: Providers = NO_PROVIDERS) -> NativeGpus:
    """What the containers claim through a vendor's device plugin; limits first, requests where there are none.

    Raises:
        InvalidRequest: an amount is not a whole number of devices.
    """
    counts: dict[str, int] = {}
    vendor = ""
    for container in containers:
        resources = container.get("resources")
        if not resources:
            continue
        claimed: dict[str, Json] = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
        for resource, amount in claimed.items():
            found = providers.native_vendor(resource)
            if found is None:
                continue
            name = str(container.get("name", ""))
            try:
                devices = to_units(str(amount), 1)
            except InvalidQuantity as error:
                raise InvalidRequest(
                    f"container {name}: {resource}: wanted a whole number of devices, found {str(amount)!r}"
                ) from error
            if devices:
                counts[name] = counts.get(name, 0) + devices
                vendor = vendor or found
    return NativeGpus(counts, vendor)


@dataclass(slots=True)
class _Amounts:
    """Requests and limits while they are being resolved. None is unset."""

    compute: int | None = None
    compute_limit: int | None = None
    percent: int | None = None
    percent_limit: int | None = None
    vram: int | None = None
    vram_limit: int | None = None

    def asks_compute(self) -> bool:
        return any(value is not None for value in (self.compute, self.compute_limit, self.percent, self.percent_limit))


def resolve(
    wishes: PodWishes,
    *,
    pool: GPUPool,
    profile: WorkloadProfile | None,
    quota: GPUResourceQuota | None,
    native: NativeGpus,
    capacities: Capacities,
    providers: Providers = NO_PROVIDERS,
) -> GpuRequest:
    """The request of a pod that is not refused.

    Raises:
        InvalidRequest: the pod, its profile or the quota's defaults say something that cannot be carried out.
    """
    spec = profile.spec if profile is not None else None
    isolation = wishes.isolation or Isolation.SOFT
    indices = wishes.gpu_indices or (spec.gpu_indices if spec is not None else ())
    count, from_native = _count(wishes, profile, native, indices)
    vendor = wishes.vendor or (spec.vendor if spec is not None else "") or native.vendor
    model = providers.device_name(wishes.gpu_model or (spec.gpu_model if spec is not None else ""))
    amounts = _base(profile)
    _apply_annotations(amounts, wishes)
    if from_native and isolation is not Isolation.SHARED and not amounts.asks_compute():
        amounts.percent_limit = _WHOLE_DEVICE
    _apply_quota_defaults(amounts, quota)
    _missing_requests(amounts)
    if wishes.dedicated_gpu:
        amounts = _whole_device(model, capacities)
    _check(amounts, profile)
    if isolation is Isolation.SOFT and not has_soft_limiter(vendor):
        raise InvalidRequest(
            f"annotation {keys.ISOLATION}: wanted shared for vendor {vendor}, which has no soft limiter, found soft"
        )
    if isolation is Isolation.HARD and vendor not in ("", _HARD_VENDOR):
        raise InvalidRequest(
            f"annotation {keys.ISOLATION}: wanted soft or shared for vendor {vendor}, found hard: "
            f"only {_HARD_VENDOR} devices can be shared that way"
        )
    request = GpuRequest(
        pool=pool.metadata.name,
        count=count,
        compute=amounts.compute or 0,
        compute_limit=amounts.compute_limit or 0,
        percent=amounts.percent or 0,
        percent_limit=amounts.percent_limit or 0,
        vram=amounts.vram or 0,
        vram_limit=amounts.vram_limit or 0,
        model=model,
        vendor=vendor,
        indices=indices,
        isolation=isolation,
        partition=(wishes.partition or "") if isolation is Isolation.PARTITIONED else "",
        qos=wishes.qos or (spec.qos if spec is not None else None) or _implied_qos(amounts, pool),
    )
    if request.partition:
        _check_template(request, providers)
    elif isolation is not Isolation.SHARED and not (request.compute or request.percent or request.vram):
        raise InvalidRequest(
            f"tflops request is not set: wanted an amount above 0 in one of the annotations {keys.TFLOPS_REQUEST}, "
            f"{keys.COMPUTE_PERCENT_REQUEST} and {keys.VRAM_REQUEST} (or their limits), found none"
        )
    return request


def _check_template(request: GpuRequest, providers: Providers) -> None:
    """Of a model that is named and known, the template must be one; of others only the devices tell."""
    known = providers.templates(request.model) if request.model else ()
    if known and providers.template(request.model, request.partition) is None:
        names = ", ".join(one.name for one in known)
        raise InvalidRequest(
            f"annotation {keys.PARTITION_ID}: wanted a partition template of {request.model} ({names}), "
            f"found {request.partition!r}"
        )


def _count(
    wishes: PodWishes, profile: WorkloadProfile | None, native: NativeGpus, indices: tuple[int, ...]
) -> tuple[int, bool]:
    """Devices per pod, and whether the number came from native GPU limits."""
    if indices:
        return len(indices), False
    if wishes.gpu_count is not None:
        return wishes.gpu_count, False
    if profile is not None and profile.spec.gpu_count:
        count, source, from_native = profile.spec.gpu_count, f"WorkloadProfile {profile.key}: gpuCount", False
    elif native.total:
        count, source, from_native = native.total, "native GPU limits of the containers", True
    else:
        return 1, False
    if not 1 <= count <= MAX_GPU_COUNT:
        raise InvalidRequest(f"{source}: wanted 1 to {MAX_GPU_COUNT} devices, found {count}")
    return count, from_native


def _base(profile: WorkloadProfile | None) -> _Amounts:
    """The profile's amounts; there a zero means unset, because its schema makes people write one."""
    resources = profile.spec.resources if profile is not None else None
    if profile is None or resources is None:
        return _Amounts()
    requests, limits = resources.requests or ComputeResource(), resources.limits or ComputeResource()
    try:
        return _Amounts(
            compute=requests.gflops() or None,
            compute_limit=limits.gflops() or None,
            percent=requests.milli_percent() or None,
            percent_limit=limits.milli_percent() or None,
            vram=requests.vram_bytes() or None,
            vram_limit=limits.vram_bytes() or None,
        )
    except InvalidQuantity as error:
        raise InvalidRequest(f"WorkloadProfile {profile.key}: resources: {error}") from error


def _apply_annotations(amounts: _Amounts, wishes: PodWishes) -> None:
    """Annotations win; TFLOPS above zero make the percentage of the same side count for nothing."""
    if wishes.compute_limit is not None:
        amounts.compute_limit = wishes.compute_limit
        amounts.percent_limit = None if wishes.compute_limit else wishes.percent_limit
    elif wishes.percent_limit is not None:
        amounts.percent_limit = wishes.percent_limit
    if wishes.compute_request is not None:
        amounts.compute = wishes.compute_request
        amounts.percent = None if wishes.compute_request else wishes.percent_request
    elif wishes.compute_limit:
        amounts.percent = None
    elif wishes.percent_request is not None:
        amounts.percent = wishes.percent_request
    if wishes.vram_request is not None:
        amounts.vram = wishes.vram_request
    if wishes.vram_limit is not None:
        amounts.vram_limit = wishes.vram_limit


def _apply_quota_defaults(amounts: _Amounts, quota: GPUResourceQuota | None) -> None:
    """Fill what nobody stated. A default request stays under a stated limit, a default limit over a stated request."""
    single = quota.spec.single if quota is not None else None
    if quota is None or single is None:
        return
    requests, limits = single.default_requests or ComputeResource(), single.default_limits or ComputeResource()
    try:
        if amounts.percent is None and amounts.percent_limit is None:
            amounts.compute, amounts.compute_limit = _filled(
                amounts.compute, amounts.compute_limit, requests.gflops(), limits.gflops()
            )
        if amounts.compute is None and amounts.compute_limit is None:
            amounts.percent, amounts.percent_limit = _filled(
                amounts.percent, amounts.percent_limit, requests.milli_percent(), limits.milli_percent()
            )
        amounts.vram, amounts.vram_limit = _filled(
            amounts.vram, amounts.vram_limit, requests.vram_bytes(), limits.vram_bytes()
        )
    except InvalidQuantity as error:
        raise InvalidRequest(f"GPUResourceQuota {quota.key}: default amounts: {error}") from error


def _filled(
    request: int | None, limit: int | None, default_request: int | None, default_limit: int | None
) -> tuple[int | None, int | None]:
    stated_request, stated_limit = request, limit
    if stated_request is None and default_request:
        request = default_request if stated_limit is None else min(default_request, stated_limit)
    if stated_limit is None and default_limit:
        limit = default_limit if request is None else max(default_limit, request)
    return request, limit


def _missing_requests(amounts: _Amounts) -> None:
    if amounts.compute is None and amounts.percent is None:
        if amounts.compute_limit:
            amounts.compute = amounts.compute_limit
        else:
            amounts.percent = amounts.percent_limit
    if amounts.vram is None:
        amounts.vram = amounts.vram_limit


def _whole_device(model: str, capacities: Capacities) -> _Amounts:
    """All of one device of a model, as request and limit."""
    if not model:
        raise InvalidRequest(
            f"annotation {keys.DEDICATED_GPU}: wanted annotation {keys.GPU_MODEL} beside it, found none: name the model"
        )
    known = capacities.capacities_of(model)
    if not known:
        raise InvalidRequest(
            f"annotation {keys.DEDICATED_GPU}: wanted a {keys.GPU_MODEL} of known capacity, found {model!r}: "
            "name a model that `kubectl get gpus` shows"
        )
    if len({(one.compute, one.vram) for one in known}) > 1:
        names = ", ".join(sorted(one.model for one in known))
        raise InvalidRequest(
            f"annotation {keys.DEDICATED_GPU}: wanted a {keys.GPU_MODEL} of one capacity, found {model!r}, "
            f"which is any of {names}: name one of them"
        )
    whole = known[0]
    return _Amounts(compute=whole.compute, compute_limit=whole.compute, vram=whole.vram, vram_limit=whole.vram)


def _check(amounts: _Amounts, profile: WorkloadProfile | None) -> None:
    where = f" (WorkloadProfile {profile.key} counts too)" if profile is not None else ""
    for tflops, percent, tflops_key, percent_key in (
        (amounts.compute, amounts.percent, keys.TFLOPS_REQUEST, keys.COMPUTE_PERCENT_REQUEST),
        (amounts.compute_limit, amounts.percent_limit, keys.TFLOPS_LIMIT, keys.COMPUTE_PERCENT_LIMIT),
    ):
        if tflops and percent:
            raise InvalidRequest(
                f"wanted only one of {tflops_key} and {percent_key}, found {format_gflops(tflops)} TFLOPS "
                f"and {format_milli(percent)} percent{where}"
            )
    for request, limit, key, limit_key, show in (
        (amounts.compute, amounts.compute_limit, keys.TFLOPS_REQUEST, keys.TFLOPS_LIMIT, format_gflops),
        (
            amounts.percent,
            amounts.percent_limit,
            keys.COMPUTE_PERCENT_REQUEST,
            keys.COMPUTE_PERCENT_LIMIT,
            format_milli,
        ),
        (amounts.vram, amounts.vram_limit, keys.VRAM_REQUEST, keys.VRAM_LIMIT, format_bytes),
    ):
        if request and limit and request > limit:
            raise InvalidRequest(
                f"{key}: wanted at most {limit_key} {show(limit)}, found {show(request)}{where}: "
                "lower the request or raise the limit"
            )


def _implied_qos(amounts: _Amounts, pool: GPUPool) -> QoS:
    """High where everything is guaranteed, else the pool's default, else medium. Critical is never implied."""
    if (
        amounts.compute
        and amounts.vram
        and amounts.compute == amounts.compute_limit
        and amounts.vram == amounts.vram_limit
    ):
        return QoS.HIGH
    config = pool.spec.qos_config
    return (config.default_qos if config is not None else None) or QoS.MEDIUM


def canonical(wishes: PodWishes) -> dict[str, str]:
    """The amounts a user wrote, in the form ``annotations_of`` writes them: equal text means equal meaning."""
    written: dict[str, str] = {}
    for key, value, show in (
        (keys.TFLOPS_REQUEST, wishes.compute_request, format_gflops),
        (keys.TFLOPS_LIMIT, wishes.compute_limit, format_gflops),
        (keys.COMPUTE_PERCENT_REQUEST, wishes.percent_request, format_milli),
        (keys.COMPUTE_PERCENT_LIMIT, wishes.percent_limit, format_milli),
        (keys.VRAM_REQUEST, wishes.vram_request, format_bytes),
        (keys.VRAM_LIMIT, wishes.vram_limit, format_bytes),
        (keys.GPU_COUNT, wishes.gpu_count, str),
    ):
        if value is not None:
            written[key] = show(value)
    if wishes.gpu_indices is not None:
        written[keys.GPU_INDICES] = ",".join(map(str, wishes.gpu_indices))
    return written


def capacity_of(resource: ComputeResource | None) -> tuple[int, int]:
    """GFLOPS and bytes of a device, rounded down; zero where unset."""
    if resource is None:
        return 0, 0
    return resource.gflops(Rounding.DOWN) or 0, resource.vram_bytes(Rounding.DOWN) or 0
