"""Every label, annotation, finalizer and fixed name of the ``tensor-fusion.ai`` domain, spelled once.

Source: TensorFusion's public label and annotation reference.
"""

DOMAIN = "tensor-fusion.ai"
FINALIZER = f"{DOMAIN}/finalizer"

SCHEDULER_NAME = "tensor-fusion-scheduler"
DEFAULT_SCHEDULER_NAME = "default-scheduler"
SYSTEM_NAMESPACE = "tensor-fusion-sys"
LEADER_LEASE = "85104305.tensor-fusion.ai"
GATEWAY_LEASE = f"gateway.{LEADER_LEASE}"
SHARDED_HOLDER = "schedulers-by-pool"
"""The holder of the leader's Lease while several schedulers share the pools."""

CONTROLLER_ACCOUNT = "tensor-fusion-controller"
HYPERVISOR_ACCOUNT = "tensor-fusion-hypervisor-sa"
PROCESS_NODE_ACCOUNT = "tensor-fusion-process-node"
GATEWAY_ACCOUNT = "tensor-fusion-gateway"

# --- annotations a user sets on a pod (template) ---
TFLOPS_REQUEST = f"{DOMAIN}/tflops-request"
TFLOPS_LIMIT = f"{DOMAIN}/tflops-limit"
VRAM_REQUEST = f"{DOMAIN}/vram-request"
VRAM_LIMIT = f"{DOMAIN}/vram-limit"
COMPUTE_PERCENT_REQUEST = f"{DOMAIN}/compute-percent-request"
COMPUTE_PERCENT_LIMIT = f"{DOMAIN}/compute-percent-limit"
GPU_COUNT = f"{DOMAIN}/gpu-count"
GPU_INDICES = f"{DOMAIN}/gpu-indices"
GPU_MODEL = f"{DOMAIN}/gpu-model"
VENDOR = f"{DOMAIN}/vendor"
GPU_POOL = f"{DOMAIN}/gpupool"  # also a label
QOS = f"{DOMAIN}/qos"
WORKLOAD_PROFILE = f"{DOMAIN}/workload-profile"
INJECT_CONTAINER = f"{DOMAIN}/inject-container"
IS_LOCAL_GPU = f"{DOMAIN}/is-local-gpu"
SIDECAR_WORKER = f"{DOMAIN}/sidecar-worker"
ISOLATION = f"{DOMAIN}/isolation"
PARTITION_ID = f"{DOMAIN}/partition-id"
DEDICATED_GPU = f"{DOMAIN}/dedicated-gpu"
WORKER_POD_TEMPLATE = f"{DOMAIN}/worker-pod-template"
DISABLE_FEATURES = f"{DOMAIN}/disable-features"
AUTOSCALE = f"{DOMAIN}/autoscale"
AUTOSCALE_TARGET = f"{DOMAIN}/autoscale-target"
OLDER_AUTOSCALE = f"{DOMAIN}/auto-resources"
OLDER_AUTOSCALE_TARGET = f"{DOMAIN}/auto-scale-target-resource"
LLM_ROUTE = f"{DOMAIN}/llm-route"
LLM_KEY_SECRET = f"{DOMAIN}/llm-key-secret"
ENABLED_REPLICAS = f"{DOMAIN}/enabled-replicas"
EVICTION_PROTECTION = f"{DOMAIN}/eviction-protection"
GANG_ENABLED = f"{DOMAIN}/gang-enabled"
GANG_MIN_MEMBERS = f"{DOMAIN}/gang-min-members"
GANG_TIMEOUT = f"{DOMAIN}/gang-timeout"
GANG_MODE = f"{DOMAIN}/gang-mode"
GANG_TOPOLOGY = f"{DOMAIN}/gang-topology"
GANG_TOPOLOGY_KEY = f"{DOMAIN}/gang-topology-key"
REQUIRE_GPU_TOPOLOGY = f"{DOMAIN}/require-gpu-topology"
GPU_TOPOLOGY_MAX_TIER = f"{DOMAIN}/gpu-topology-max-tier"
GPU_TOPOLOGY_SOURCE = f"{DOMAIN}/gpu-topology-source"
DRA_ENABLED = f"{DOMAIN}/dra-enabled"
DRA_CEL_EXPRESSION = f"{DOMAIN}/dra-cel-expression"

# --- an administrator sets on a namespace ---
ALLOWED_POOLS = f"{DOMAIN}/allowed-pools"
TENANT = f"{DOMAIN}/tenant"  # a label

# --- labels ---
ENABLED = f"{DOMAIN}/enabled"
COMPONENT = f"{DOMAIN}/component"
WORKLOAD = f"{DOMAIN}/workload"
WORKER_NAME = f"{DOMAIN}/worker-name"
HOST_PORT = f"{DOMAIN}/host-port"
PORT_NAME = f"{DOMAIN}/port-name"
MANAGED_BY = f"{DOMAIN}/managed-by"
POD_TEMPLATE_HASH = f"{DOMAIN}/pod-template-hash"
HARDWARE_VENDOR = f"{DOMAIN}/hardware-vendor"
POOL_LABEL_PREFIX = f"{DOMAIN}/pool-"

# --- annotations the system writes on pods ---
GPU_IDS = f"{DOMAIN}/gpu-ids"
CONTAINER_GPU_COUNT = f"{DOMAIN}/container-gpu-count"
CONTAINER_GPUS = f"{DOMAIN}/container-gpus"
INDEX = f"{DOMAIN}/index"
EFFECTIVE_HARD_SM_PERCENT = f"{DOMAIN}/effective-hard-sm-percent"
PARTITION_UUIDS = f"{DOMAIN}/partition-uuids"
EMBEDDED_WORKER = f"{DOMAIN}/embedded-worker"
DEDICATED_WORKER = f"{DOMAIN}/dedicated-worker"
SELECTED_WORKLOAD = f"{DOMAIN}/selected-workload"
PENDING_OWNED_WORKLOAD = f"{DOMAIN}/pending-owned-workload"
POD_COUNTER_KEY = f"{DOMAIN}/pod-counter-key"
POD_COUNTER_ID = f"{DOMAIN}/pod-counter-id"
"""The reservation with which the pod was counted. Ours: a recount tells seen pods from expected ones by it."""
COUNTER_PREFIX = f"{DOMAIN}/tf-counter-"  # on the pod's controller, followed by the template's hash
PORT_NUMBER = f"{DOMAIN}/port-number"
GANG_DESIRED_MEMBERS = f"{DOMAIN}/gang-desired-members"
GANG_REQUIRED_MEMBERS = f"{DOMAIN}/gang-required-members"
GANG_GROUP_KEY = f"{DOMAIN}/gang-group-key"
SCHEDULER_EPOCH = f"{DOMAIN}/scheduler-epoch"
"""The epoch (Lease transitions) of the leader that bound the pod. Ours: fencing of stalled leaders."""
SCHEDULER_SHARD = f"{DOMAIN}/scheduler-shard"
"""Where several schedulers share the pools: ``EPOCH/POOL``, the epoch of the pool's own Lease. On such a Lease: POOL.
Ours: fencing, too."""
SHARD_COMPONENT = "scheduler"
SHARD_LEASES = f"{COMPONENT}={SHARD_COMPONENT}"
"""Selector of the Leases of pools, and of the schedulers that share them."""

GPU_CAPACITIES = f"{DOMAIN}/gpu-capacities"
"""GFLOPS of each of a pod's devices, in their order: what its share in percent is a part of. Ours: a quota counts the
share by it while the device is gone, also by a scheduler that never saw the device."""
PARTITIONS = f"{DOMAIN}/partitions"
"""Template, size, slots and group of each hardware partition that the pod holds, as JSON. Ours: the slots survive."""
RESIZE = f"{DOMAIN}/resize"
"""What the owner of a bound pod wants its amounts to be: JSON of annotation names (without the domain) and values.
Admission writes it from an edit, the scheduler carries it out or refuses it and takes it away. Ours."""

# --- what defragmentation writes: labels are "true", the rest are annotations ---
DEFRAG_EVICTED = f"{DOMAIN}/defrag-evicted"
"""Label of a pod that is moved: evicted, or its successor that has no place yet."""
DEFRAG_EVICTED_SINCE = f"{DEFRAG_EVICTED}-since"
DEFRAG_EVICTED_POOL = f"{DEFRAG_EVICTED}-pool"
DEFRAG_SOURCE = f"{DOMAIN}/defrag-source"
"""Label of a node that is being emptied."""
DEFRAG_SOURCE_SINCE = f"{DEFRAG_SOURCE}-since"
DEFRAG_SOURCE_POOL = f"{DEFRAG_SOURCE}-pool"
DEFRAG_SKIP = f"{DOMAIN}/defrag-evict-skip"
"""Label of a node that is left alone until the campaign ends."""
DEFRAG_SKIP_SINCE = f"{DEFRAG_SKIP}-since"
DEFRAG_SKIP_POOL = f"{DEFRAG_SKIP}-pool"
DEFRAG_SKIP_REASON = f"{DEFRAG_SKIP}-reason"
DO_NOT_DISRUPT = f"{DOMAIN}/do-not-disrupt"
"""Label of a GPUNode that is neither removed nor emptied; on a Node or a pod it means the same. Of a pod an annotation,
too."""
SHOULD_DELETE = f"{DOMAIN}/should-delete"
"""Label of a node that is to be removed."""

# --- other objects ---
IS_DEFAULT_POOL = f"{DOMAIN}/is-default-pool"
LAST_SYNC = f"{DOMAIN}/last-sync"
GPU_MISSING_SINCE = f"{DOMAIN}/gpu-missing-since"
NATIVE_POD = f"{DOMAIN}/native-pod"
"""On a GPU: uid of the pod that the maker's own device plugin gave it to. Ours: a restarted agent knows it by this."""
VIRTUALIZATION_CAPABILITIES = f"{DOMAIN}/virtualization-capabilities"
WORKLOAD_MODE = f"{DOMAIN}/workload-mode"

PRIORITY_CLASS_CRITICAL = "tensor-fusion-critical"
PRIORITY_CLASS_HIGH = "tensor-fusion-high"
PRIORITY_CLASS_MEDIUM = "tensor-fusion-medium"
PRIORITY_VALUES = {PRIORITY_CLASS_CRITICAL: 100_000, PRIORITY_CLASS_HIGH: 10_000, PRIORITY_CLASS_MEDIUM: 0}

GANG_DOMAINS = ("topology.kubernetes.io/rack", "topology.kubernetes.io/zone")
"""Node labels that say which nodes are close to each other, narrowest first."""
GANG_PATIENCE = 300.0
"""Seconds for which pods are placed past a gang that waits for room."""
HOSTNAME_LABEL = "kubernetes.io/hostname"
RUN = f"{DOMAIN}/run"
RUN_PROCESS = "process"
"""Label of the node that really runs programs."""
SIMULATED_TAINT = f"{DOMAIN}/simulated"
"""Taint of simulated nodes beside one that really runs programs."""

SYSTEM_WRITTEN = frozenset(
    {
        GPU_IDS,
        CONTAINER_GPUS,
        INDEX,
        EFFECTIVE_HARD_SM_PERCENT,
        PARTITION_UUIDS,
        PARTITIONS,
        GPU_CAPACITIES,
        DEDICATED_WORKER,
        POD_COUNTER_KEY,
        POD_COUNTER_ID,
        PORT_NUMBER,
        SCHEDULER_EPOCH,
        SCHEDULER_SHARD,
        DEFRAG_EVICTED_SINCE,
        DEFRAG_EVICTED_POOL,
    }
)
"""Annotations that tenants may neither set on CREATE nor change later."""

ADMISSION_WRITTEN = frozenset(
    {
        CONTAINER_GPU_COUNT,
        INJECT_CONTAINER,
        IS_LOCAL_GPU,
        EMBEDDED_WORKER,
        SELECTED_WORKLOAD,
        PENDING_OWNED_WORKLOAD,
        GANG_DESIRED_MEMBERS,
        GANG_REQUIRED_MEMBERS,
        GANG_GROUP_KEY,
        GANG_TIMEOUT,
        GANG_MODE,
        GANG_TOPOLOGY,
        GANG_TOPOLOGY_KEY,
    }
)
"""Annotations that admission writes, or checks where a user set them: fixed for tenants on a pod that takes a share."""

REQUEST_KEYS = frozenset(
    {
        TFLOPS_REQUEST,
        TFLOPS_LIMIT,
        VRAM_REQUEST,
        VRAM_LIMIT,
        COMPUTE_PERCENT_REQUEST,
        COMPUTE_PERCENT_LIMIT,
        GPU_COUNT,
        GPU_INDICES,
        GPU_MODEL,
        VENDOR,
        GPU_POOL,
        QOS,
        ISOLATION,
        PARTITION_ID,
        DEDICATED_GPU,
    }
)
"""Annotations that say what a pod asks for: fixed for tenants once the pod is bound."""

RESIZABLE_KEYS = frozenset(
    {TFLOPS_REQUEST, TFLOPS_LIMIT, VRAM_REQUEST, VRAM_LIMIT, COMPUTE_PERCENT_REQUEST, COMPUTE_PERCENT_LIMIT}
)
"""Those of them that the owner may ask to have changed while the pod runs."""

RESOURCE_UPDATE = "ResourceUpdate"
"""Condition of a pod whose owner asked for other amounts: True in force, False refused, with the reason."""
