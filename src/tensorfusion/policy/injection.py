"""What the soft limiter needs in a pod: one init container, two volumes, and mounts and environment per container.

The limiter library is copied from the pool's middleware image into an empty volume and preloaded into the user's
process; it finds the page with its limits under the pod's own name in the node's shared folder.

Left out on purpose: the ``tensor-fusion.ai/index_N`` limits. They tie a pod to the node's device plugin, and no node of
this version advertises them, so a pod that carried one could never start. The device plugin brings them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tensorfusion.model import keys
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.providers import NO_PROVIDERS, Providers
from tensorfusion.policy.names import template_hash
from tensorfusion.policy.patches import Json, Op, Patch

DEFAULT_MIDDLEWARE_IMAGE = "tensorfusion/vgpu-provider-nvidia:1.3.9"
"""Carries the limiter library; used where the pool's ``componentConfig.hypervisor.image`` is unset."""

DEFAULT_HYPERVISOR_PORT = 8001
"""Port of the node agent where the pool says nothing about the agent at all."""

INIT_CONTAINER = "init-soft-limiter"
LIMITER_VOLUME = "tf-soft-limiter"
SHARED_VOLUME = "tf-data"
USED_BY_TOLERATION: Op = {
    "key": f"{keys.DOMAIN}/used-by",
    "operator": "Equal",
    "value": "tensor-fusion",
    "effect": "PreferNoSchedule",
}

_LIMITER_FOLDER = "/tensor-fusion-limiter"
_SHARED_FOLDER = "/run/tensor-fusion/shm"
_NVIDIA_SMI = "/usr/local/bin/nvidia-smi"
_LIBRARIES = {
    "": "libcuda_limiter.so",
    "NVIDIA": "libcuda_limiter.so",
    "Ascend": "libascend_limiter.so",
    "MooreThreads": "libmusa_limiter.so",
    "PPU": "libppu_limiter.so",
}
_WITHOUT_LIMITER = frozenset({"AMD", "Hygon", "MetaX"})
_FEATURE_SWITCHES = {
    "gpu-limiter": {"name": "DISABLE_GPU_LIMITER", "value": "true"},
    "gpu-opt": {"name": "TF_ENABLE_DISPATCH_FORWARD", "value": "1"},
    "mem-manager": {"name": "TF_DISABLE_MEMORY_MANAGER", "value": "1"},
}


def has_soft_limiter(vendor: str) -> bool:
    """Whether soft isolation exists for a vendor; vendors that nobody listed are given the benefit of the doubt."""
    return vendor not in _WITHOUT_LIMITER


@dataclass(frozen=True, slots=True)
class SoftLimiter:
    """Everything of one pool and vendor that injection puts into a pod."""

    image: str
    port: int
    vendor: str
    switches: tuple[str, ...] = ()
    container_patch: str = ""

    @property
    def hash(self) -> str:
        """Changes when a pod made now would differ from one made before."""
        parts = [self.image, str(self.port), self.vendor, ",".join(self.switches)]
        return template_hash("|".join([*parts, self.container_patch] if self.container_patch else parts))


def soft_limiter(
    pool: GPUPool, vendor: str, *, switches: Sequence[str] = (), providers: Providers = NO_PROVIDERS
) -> SoftLimiter:
    """The limiter of a pool's pods: the vendor's image, else the pool's, else the documented default."""
    components = pool.spec.component_config
    agent = components.hypervisor if components is not None else None
    images = providers.images(vendor)
    wanted = container_patch_of(pool)
    return SoftLimiter(
        image=(images.middleware if images is not None else "")
        or (agent.image if agent is not None else "")
        or DEFAULT_MIDDLEWARE_IMAGE,
        port=agent.port_number if agent is not None else DEFAULT_HYPERVISOR_PORT,
        vendor=vendor,
        switches=tuple(switch for switch in switches if switch in _FEATURE_SWITCHES),
        container_patch=msgspec.json.encode(wanted, order="sorted").decode() if wanted else "",
    )


def container_patch_of(pool: GPUPool) -> Mapping[str, Json]:
    """What a pool adds to each container that uses its devices; empty where it adds nothing."""
    client = pool.spec.component_config.client if pool.spec.component_config is not None else None
    return client.patch_to_container if client is not None else {}


def inject(patch: Patch, spec: Mapping[str, Json], *, limiter: SoftLimiter, containers: frozenset[str]) -> list[str]:
    """Add the limiter to a pod spec. Returns warnings about variables of the user that had to give way."""
    patch.merge_named("/spec/initContainers", spec.get("initContainers"), values=[_init_container(limiter)])
    patch.merge_named("/spec/volumes", spec.get("volumes"), values=_VOLUMES)
    warnings: list[str] = []
    for position, container in enumerate(spec["containers"]):
        name = container.get("name", "")
        if name not in containers:
            continue
        path = f"/spec/containers/{position}"
        mounts = [_LIMITER_MOUNT, _SMI_MOUNT, _SHARED_MOUNT] if limiter.vendor in ("", "NVIDIA") else _PLAIN_MOUNTS
        patch.merge_named(f"{path}/volumeMounts", container.get("volumeMounts"), values=mounts, key="mountPath")
        found = container.get("env") or ()
        wanted = _environment(name, limiter, _preload_of(found))
        warnings += overridden(name, found, wanted)
        patch.merge_named(f"{path}/env", found, values=wanted)
    return warnings


def strip_native(
    patch: Patch,
    containers: Sequence[Mapping[str, Json]],
    *,
    names: frozenset[str],
    providers: Providers = NO_PROVIDERS,
) -> None:
    """Remove the vendors' own GPU resources from the named containers: the share replaces them."""
    for position, container in enumerate(containers):
        if container.get("name") not in names:
            continue
        for kind, amounts in (container.get("resources") or {}).items():
            if kind not in ("limits", "requests"):
                continue
            for resource in amounts or ():
                if providers.native_vendor(resource) is not None:
                    escaped = resource.replace("~", "~0").replace("/", "~1")
                    patch.remove(f"/spec/containers/{position}/resources/{kind}/{escaped}")


def _init_container(limiter: SoftLimiter) -> Op:
    # Requests equal limits, so that a pod of the Guaranteed class stays in it.
    amounts = {"cpu": "20m", "memory": "256Mi"}
    return {
        "name": INIT_CONTAINER,
        "image": limiter.image,
        "command": ["sh", "-c", f"cp -r /build/* {_LIMITER_FOLDER}/"],
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": [{"name": LIMITER_VOLUME, "mountPath": _LIMITER_FOLDER}],
    }


_VOLUMES: list[Op] = [
    {"name": LIMITER_VOLUME, "emptyDir": {}},
    {"name": SHARED_VOLUME, "hostPath": {"path": "/run/tensor-fusion", "type": "DirectoryOrCreate"}},
]
_LIMITER_MOUNT: Op = {"name": LIMITER_VOLUME, "mountPath": _LIMITER_FOLDER, "readOnly": True}
_SMI_MOUNT: Op = {"name": LIMITER_VOLUME, "mountPath": _NVIDIA_SMI, "subPath": "nvidia-smi", "readOnly": True}
_SHARED_MOUNT: Op = {
    "name": SHARED_VOLUME,
    "mountPath": _SHARED_FOLDER,
    "subPathExpr": "shm/$(POD_NAMESPACE)/$(POD_NAME)",
    "mountPropagation": "HostToContainer",
}
_PLAIN_MOUNTS = [_LIMITER_MOUNT, _SHARED_MOUNT]


def _field(name: str, path: str) -> Op:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


_FIXED_ENVIRONMENT: list[Op] = [
    {"name": "TF_ISOLATION_MODE", "value": "soft"},
    {"name": "TF_SHM_PATH", "value": f"{_SHARED_FOLDER}/shm"},
    _field("POD_NAME", "metadata.name"),
    _field("POD_NAMESPACE", "metadata.namespace"),
    _field("HYPERVISOR_IP", "status.hostIP"),
]


def _environment(container: str, limiter: SoftLimiter, preload: str) -> list[Op]:
    library = f"{_LIMITER_FOLDER}/{_LIBRARIES.get(limiter.vendor, _LIBRARIES[''])}"
    rest = ":".join(part for part in preload.split(":") if part and part != library)
    return [
        {"name": "LD_PRELOAD", "value": f"{library}:{rest}" if rest else library},
        *_FIXED_ENVIRONMENT,
        {"name": "CONTAINER_NAME", "value": container},
        {"name": "HYPERVISOR_PORT", "value": str(limiter.port)},
        *(_FEATURE_SWITCHES[switch] for switch in limiter.switches),
    ]


def _preload_of(environment: Sequence[Mapping[str, Json]]) -> str:
    """What the user preloads: it stays, behind the limiter."""
    for entry in environment:
        if entry.get("name") == "LD_PRELOAD":
            return str(entry.get("value") or "").replace(" ", ":")
    return ""


def overridden(container: str, found: Sequence[Mapping[str, Json]], wanted: Sequence[Op]) -> list[str]:
    """Warnings about variables that the user set to something else."""
    ours = {entry["name"]: entry for entry in wanted if entry["name"] != "LD_PRELOAD"}
    return [
        f"container {container}: env {entry['name']} is set by TensorFusion; the pod's own value is replaced"
        for entry in found
        if (mine := ours.get(str(entry.get("name", "")))) is not None
        and not all(key in entry and _same(entry[key], value) for key, value in mine.items())
    ]


def _same(found: Json, wanted: Json) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and _same(found[key], value) for key, value in wanted.items())
    return bool(found == wanted)
