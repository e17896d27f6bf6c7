"""The API resources this project reads and writes: group, version, plural, kind and scope, named once.

Apart from the typed objects because addresses are needed where types are not (garbage collection, RBAC, the CLI).
"""

from dataclasses import dataclass, field

GROUP = "tensor-fusion.ai"
VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the objects of one kind live in the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    api_version: str = field(init=False, repr=False, compare=False)
    """``v1`` or ``group/version``, as written in an object."""
    id: str = field(init=False, repr=False, compare=False)
    """``plural`` or ``plural.group``: the same for every version of the resource."""

    def __post_init__(self) -> None:
        """Put both names together once: every request asks for them dozens of times."""
        group = self.group
        object.__setattr__(self, "api_version", f"{group}/{self.version}" if group else self.version)
        object.__setattr__(self, "id", f"{self.plural}.{group}" if group else self.plural)

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, an object, or a subresource of it."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
REPLICATION_CONTROLLERS = Resource("", "v1", "replicationcontrollers", "ReplicationController")
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange")
POD_TEMPLATES = Resource("", "v1", "podtemplates", "PodTemplate")
POD_DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
HORIZONTAL_POD_AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
RUNTIME_CLASSES = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
NEW_EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
"""The same objects as ``EVENTS``, with other names for their fields."""
RESOURCE_CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
RESOURCE_CLAIM_TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
DEVICE_CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", namespaced=False)
RESOURCE_SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
MUTATING_WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
)
VALIDATING_WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)

GPUS = Resource(GROUP, VERSION, "gpus", "GPU", namespaced=False)
GPU_NODES = Resource(GROUP, VERSION, "gpunodes", "GPUNode", namespaced=False)
GPU_POOLS = Resource(GROUP, VERSION, "gpupools", "GPUPool", namespaced=False)
GPU_RESOURCE_QUOTAS = Resource(GROUP, VERSION, "gpuresourcequotas", "GPUResourceQuota")
SCHEDULING_CONFIG_TEMPLATES = Resource(
    GROUP, VERSION, "schedulingconfigtemplates", "SchedulingConfigTemplate", namespaced=False
)
TENSOR_FUSION_WORKLOADS = Resource(GROUP, VERSION, "tensorfusionworkloads", "TensorFusionWorkload")
WORKLOAD_PROFILES = Resource(GROUP, VERSION, "workloadprofiles", "WorkloadProfile")
GPU_NODE_CLAIMS = Resource(GROUP, VERSION, "gpunodeclaims", "GPUNodeClaim", namespaced=False)
GPU_COHORTS = Resource(GROUP, VERSION, "gpucohorts", "GPUCohort", namespaced=False)
GPU_NODE_CLASSES = Resource(GROUP, VERSION, "gpunodeclasses", "GPUNodeClass", namespaced=False)
PROVIDER_CONFIGS = Resource(GROUP, VERSION, "providerconfigs", "ProviderConfig", namespaced=False)
TENSOR_FUSION_CLUSTERS = Resource(GROUP, VERSION, "tensorfusionclusters", "TensorFusionCluster", namespaced=False)
TENSOR_FUSION_CONNECTIONS = Resource(GROUP, VERSION, "tensorfusionconnections", "TensorFusionConnection")
LLM_ROUTES = Resource(GROUP, VERSION, "llmroutes", "LLMRoute")
LLM_KEYS = Resource(GROUP, VERSION, "llmkeys", "LLMKey")
WORKLOAD_INTELLIGENCES = Resource(GROUP, VERSION, "workloadintelligences", "WorkloadIntelligence", namespaced=False)
AZURE_GPU_SOURCES = Resource(GROUP, VERSION, "azuregpusources", "AzureGPUSource", namespaced=False)
