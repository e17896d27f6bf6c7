"""What hard isolation puts into a pod: a worker beside the user's containers, and the client library in them.

With ``hard`` the user's process never touches the device: its calls go through shared memory to the worker, which runs
under a fixed share of the device's processors and a cap on memory. Pod-wide are an init container with the client
library, the worker, and three volumes; each container that uses the device gets the library, the preload file and the
shared memory.

The share of the processors is a number only for a share in percent; of TFLOPS it depends on the device, so the worker
reads it from the annotation that the scheduler writes when it binds.

Source: TensorFusion's injection contract, local and hard. The worker's and the client's images are the originals'.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.model import keys
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.providers import NO_PROVIDERS, Providers
from tensorfusion.model.request import GpuRequest
from tensorfusion.policy.injection import DEFAULT_HYPERVISOR_PORT, SHARED_VOLUME, overridden
from tensorfusion.policy.names import template_hash
from tensorfusion.policy.patches import Json, Op, Patch
from tensorfusion.units import MI

DEFAULT_CLIENT_IMAGE = "tensorfusion/tensor-fusion-client:v2.15.0"
DEFAULT_WORKER_IMAGE = "tensorfusion/tensor-fusion-worker:v2.15.0"
INIT_CONTAINER = "inject-lib"
WORKER = "tensorfusion-worker"

_LIBRARIES = "tf-libs"
_TRANSPORT = "tf-transport-shm"
_FOLDER = "/tensor-fusion"
_SHARED_FOLDER = "/run/tensor-fusion/shm"
_SEGMENT, _MEBIBYTES = "tf_shm", "1024"
_WHOLE = 1000
"""Milli-percent of one percent."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Everything of one pod, pool and vendor that hard isolation puts into a pod. ``vram`` MiB."""

    client_image: str
    worker_image: str
    port: int
    vram: int
    percent: int
    """Of the device's processors; 0 where it depends on the device."""
    worker: Mapping[str, Json]
    """The first container of the pool's worker template: environment and resources to start from."""

    @property
    def hash(self) -> str:
        """Changes when a pod made now would differ from one made before, whatever it asks for."""
        return template_hash(f"hard|{self.client_image}|{self.worker_image}|{self.port}|{sorted(self.worker)}")


def sidecar(pool: GPUPool, request: GpuRequest, *, providers: Providers = NO_PROVIDERS) -> Sidecar:
    """The sidecar of a pod: the vendor's images, else the pool's, else the documented ones."""
    components = pool.spec.component_config
    client = components.client.image if components is not None and components.client is not None else ""
    worker = components.worker if components is not None else None
    agent = components.hypervisor if components is not None else None
    images = providers.images(request.vendor or "NVIDIA")
    limit = request.percent_limit or request.percent
    return Sidecar(
        client_image=(images.remote_client if images is not None else "") or client or DEFAULT_CLIENT_IMAGE,
        worker_image=(images.remote_worker if images is not None else "")
        or (worker.image if worker is not None else "")
        or DEFAULT_WORKER_IMAGE,
        port=agent.port_number if agent is not None else DEFAULT_HYPERVISOR_PORT,
        vram=-(-(request.vram_limit or request.vram) // MI),
        percent=0 if request.compute or request.compute_limit else max(1, -(-limit // _WHOLE)) if limit else 0,
        worker=_first_container(worker.pod_template if worker is not None else {}),
    )


def inject_sidecar(
    patch: Patch, spec: Mapping[str, Json], *, sidecar: Sidecar, containers: frozenset[str]
) -> list[str]:
    """Add the sidecar to a pod spec. Returns warnings about variables of the user that had to give way."""
    patch.merge_named("/spec/initContainers", spec.get("initContainers"), values=[_init_container(sidecar)])
    patch.merge_named("/spec/volumes", spec.get("volumes"), values=_VOLUMES)
    warnings: list[str] = []
    for position, container in enumerate(spec["containers"]):
        name = container.get("name", "")
        if name not in containers:
            continue
        path = f"/spec/containers/{position}"
        patch.merge_named(f"{path}/volumeMounts", container.get("volumeMounts"), values=_MOUNTS, key="mountPath")
        found, wanted = container.get("env") or (), _client_environment(name, sidecar)
        warnings += overridden(name, found, wanted)
        patch.merge_named(f"{path}/env", found, values=wanted)
    patch.merge_named("/spec/containers", spec["containers"], values=[_worker(sidecar)])
    return warnings


def _field(name: str, path: str) -> Op:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _identity(container: str, sidecar: Sidecar) -> list[Op]:
    return [
        _field("POD_NAME", "metadata.name"),
        _field("POD_NAMESPACE", "metadata.namespace"),
        {"name": "CONTAINER_NAME", "value": container},
        _field("HYPERVISOR_IP", "status.hostIP"),
        {"name": "HYPERVISOR_PORT", "value": str(sidecar.port)},
    ]


def _client_environment(container: str, sidecar: Sidecar) -> list[Op]:
    return [
        {"name": "TF_USE_IVSHMEM", "value": "0"},
        {"name": "TF_PREPEND_PATH", "value": _FOLDER},
        {"name": "TF_LD_LIBRARY_PATH", "value": _FOLDER},
        {"name": "ENABLE_CUDA_HOOKS", "value": "false"},
        {"name": "TENSOR_FUSION_OPERATOR_CONNECTION_INFO", "value": f"shmem+{_SEGMENT}+{_MEBIBYTES}+1"},
        *_identity(container, sidecar),
    ]


def _worker_environment(sidecar: Sidecar) -> list[Op]:
    percent = "TF_CUDA_SM_PERCENT_LIMIT"
    compute: Op = {"name": percent, "value": str(sidecar.percent)}
    if not sidecar.percent:
        compute = _field(percent, f"metadata.annotations['{keys.EFFECTIVE_HARD_SM_PERCENT}']")
    ours: list[Op] = [{"name": "LD_PRELOAD", "value": "/home/app/libcuda_limiter.so"}, compute]
    if sidecar.vram:
        ours += [
            {"name": "TF_GPU_MEMORY_LIMIT", "value": str(sidecar.vram)},
            {"name": "TF_CUDA_MEMORY_LIMIT", "value": str(sidecar.vram)},
        ]
    ours += _identity(WORKER, sidecar)
    names = {entry["name"] for entry in ours}
    return [*(entry for entry in sidecar.worker.get("env") or () if entry.get("name") not in names), *ours]


def _worker(sidecar: Sidecar) -> Op:
    made: Op = {
        "name": WORKER,
        "image": sidecar.worker_image,
        "command": ["/bin/bash", "-c", f"exec ./tensor-fusion-worker -n shmem -m {_SEGMENT} -M {_MEBIBYTES}"],
        "env": _worker_environment(sidecar),
        "volumeMounts": [_SHARED_MEMORY_MOUNT, _SHARED_MOUNT],
    }
    resources = sidecar.worker.get("resources")
    return made | ({"resources": resources} if resources else {})


def _init_container(sidecar: Sidecar) -> Op:
    amounts = {"cpu": "20m", "memory": "256Mi"}
    return {
        "name": INIT_CONTAINER,
        "image": sidecar.client_image,
        "command": ["sh", "-c", f"cp -r /build/* {_FOLDER}/"],
        "env": [{"name": "RUN_INSIDE_GPU_NODE", "value": "true"}],
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": [{"name": _LIBRARIES, "mountPath": _FOLDER}],
    }


_VOLUMES: list[Op] = [
    {"name": _LIBRARIES, "emptyDir": {}},
    {"name": SHARED_VOLUME, "hostPath": {"path": "/run/tensor-fusion", "type": "DirectoryOrCreate"}},
    {"name": _TRANSPORT, "emptyDir": {"medium": "Memory"}},
]
_SHARED_MEMORY_MOUNT: Op = {"name": _TRANSPORT, "mountPath": "/dev/shm"}  # noqa: S108 - a mount in the container
_SHARED_MOUNT: Op = {
    "name": SHARED_VOLUME,
    "mountPath": _SHARED_FOLDER,
    "subPathExpr": "shm/$(POD_NAMESPACE)/$(POD_NAME)",
    "mountPropagation": "HostToContainer",
}
_MOUNTS: list[Op] = [
    {"name": _LIBRARIES, "mountPath": _FOLDER, "readOnly": True},
    {"name": _LIBRARIES, "mountPath": "/etc/ld.so.preload", "subPath": "ld.so.preload", "readOnly": True},
    {"name": _LIBRARIES, "mountPath": "/usr/local/bin/nvidia-smi", "subPath": "nvidia-smi", "readOnly": True},
    _SHARED_MEMORY_MOUNT,
]


def _first_container(template: Mapping[str, Json]) -> Mapping[str, Json]:
    """The worker's container in the pool's pod template; empty where there is none."""
    found: Json = template
    for field in ("template", "spec", "containers"):
        found = found.get(field) if isinstance(found, Mapping) else None
    return found[0] if isinstance(found, list) and found and isinstance(found[0], Mapping) else {}
