"""Why a device or a node is left out: the stable short names, their order, and the words users read.

The one place for all three. Filters run in the order of the members; what is left out is counted under the first filter
that removed it.
"""

from enum import StrEnum


class DeviceReason(StrEnum):
    """A device of the fleet that cannot take the request."""

    POOL = "pool"
    PHASE = "phase"
    USED_BY = "used-by"
    INDEX = "index"
    ISOLATION = "isolation"
    VENDOR = "vendor"
    MODEL = "model"
    OTHER_MODE = "other-mode"
    IN_USE = "in-use"
    TEMPLATE = "partition-template"
    PARTITION = "partition"
    COMPUTE = "compute"
    VRAM = "vram"
    QUOTA = "quota"
    COUNT = "count"


class NodeReason(StrEnum):
    """A node with enough fitting devices (for a plain pod: any node) that cannot take the pod."""

    ABSENT = "absent"
    NOT_READY = "not-ready"
    CORDONED = "unschedulable"
    TAINT = "taint"
    SELECTOR = "node-selector"
    AFFINITY = "node-affinity"
    CPU = "cpu"
    MEMORY = "memory"
    PODS = "pods"
    EXTENDED = "resources"
    WORKERS = "workers"
    SHARED = "shares"
    NATIVE = "native"
    FAR_APART = "gpu-topology"
    PORTS = "host-ports"
    UNLABELLED = "topology-label"
    SPREAD = "topology-spread"
    POD_AFFINITY = "pod-affinity"
    POD_ANTI_AFFINITY = "pod-anti-affinity"
    KEPT_OFF = "anti-affinity-of-others"
    OTHER_OWNER = "other-owner"
    KEPT_WHOLE = "kept-whole"


WORDS: dict[DeviceReason | NodeReason, str] = {
    DeviceReason.POOL: "in another pool",
    DeviceReason.PHASE: "not running",
    DeviceReason.USED_BY: "handed out by another system",
    DeviceReason.INDEX: "another index than asked for",
    DeviceReason.ISOLATION: "not offering the isolation mode",
    DeviceReason.VENDOR: "of another vendor",
    DeviceReason.MODEL: "of another model",
    DeviceReason.OTHER_MODE: "held in another isolation mode",
    DeviceReason.IN_USE: "not wholly free",
    DeviceReason.TEMPLATE: "without a partition template that covers the request",
    DeviceReason.PARTITION: "without a free place for the partition",
    DeviceReason.COMPUTE: "not enough compute",
    DeviceReason.VRAM: "not enough vram",
    DeviceReason.QUOTA: "share larger than the quota's room",
    DeviceReason.COUNT: "too few fitting devices on the node",
    NodeReason.ABSENT: "not registered",
    NodeReason.NOT_READY: "not ready",
    NodeReason.CORDONED: "cordoned",
    NodeReason.TAINT: "untolerated taint",
    NodeReason.SELECTOR: "not matching the node selector",
    NodeReason.AFFINITY: "not matching the node affinity",
    NodeReason.CPU: "not enough cpu",
    NodeReason.MEMORY: "not enough memory",
    NodeReason.PODS: "too many pods",
    NodeReason.EXTENDED: "not enough of an extended resource",
    NodeReason.WORKERS: "at the pool's maximum of workers per node",
    NodeReason.SHARED: "holding shares of devices, and the pod asks for devices of the device plugin",
    NodeReason.NATIVE: "with a pod whose devices the device plugin has not chosen yet",
    NodeReason.FAR_APART: "with devices too far apart for the pod's GPU topology",
    NodeReason.PORTS: "with a pod that has the host port already",
    NodeReason.UNLABELLED: "without the node label of a topology spread constraint",
    NodeReason.SPREAD: "where the pods would be spread too unevenly",
    NodeReason.POD_AFFINITY: "without the pods that the pod affinity asks for",
    NodeReason.POD_ANTI_AFFINITY: "near a pod that the pod anti-affinity rules out",
    NodeReason.KEPT_OFF: "near a pod whose anti-affinity rules this pod out",
    NodeReason.OTHER_OWNER: "placed on by another scheduler",
    NodeReason.KEPT_WHOLE: "kept for jobs that want whole nodes",
}

DEVICE_REASONS: tuple[DeviceReason, ...] = tuple(DeviceReason)
NODE_REASONS: tuple[NodeReason, ...] = tuple(NodeReason)
DEVICE_ORDER: dict[DeviceReason, int] = {reason: place for place, reason in enumerate(DEVICE_REASONS)}
NODE_ORDER: dict[NodeReason, int] = {reason: place for place, reason in enumerate(NODE_REASONS)}
