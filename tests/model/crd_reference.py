"""The contract of our kinds, typed from the API reference and not from the code: one line a field.

``path type [R] [=default] [min..max] [{enum}]``; ``[]`` is a list item, ``{}`` a map value. Ours where the reference
says so: optional Resource dimensions, optional nodeManagerConfig, autoUpdate, total.maxGPUCount, dra, draConfig.
"""


def _under(path: str, fields: str) -> str:
    """The fields of a shared part at one path: a line starts with P where the path goes."""
    return "\n".join(path + line[1:] for line in fields.splitlines() if line)


RESOURCE = """
P.tflops quantity
P.compute quantity
P.vram quantity
"""

POD_GPU_INFO = """
P.name string
P.namespace string
P.uid string
P.requests object
P.limits object
P.qos string {low,medium,high,critical}
P.isExternal boolean
"""

NODE_SELECTOR = """
P object
P.nodeSelectorTerms array R
P.nodeSelectorTerms[].matchExpressions array
P.nodeSelectorTerms[].matchExpressions[].key string R
P.nodeSelectorTerms[].matchExpressions[].operator string R
P.nodeSelectorTerms[].matchExpressions[].values array
P.nodeSelectorTerms[].matchFields array
"""

AUTO_SCALING = """
P object
P.autoSetResources.enable boolean =False
P.autoSetResources.targetResource string =all {all,compute,vram}
P.autoSetResources.targetComputePercentile string =0.9
P.autoSetResources.lowerBoundComputePercentile string =0.5
P.autoSetResources.upperBoundComputePercentile string =0.95
P.autoSetResources.targetVRAMPercentile string =0.9
P.autoSetResources.lowerBoundVRAMPercentile string =0.5
P.autoSetResources.upperBoundVRAMPercentile string =0.95
P.autoSetResources.marginFraction string =0.15
P.autoSetResources.updateThreshold string =0.1
P.autoSetResources.historyDataPeriod string =2h
P.autoSetResources.minVRAMResourcesRatio string =0.2
P.autoSetResources.maxVRAMResourcesRatio string =5.0
P.autoSetResources.minComputeResourcesRatio string =0.1
P.autoSetResources.maxComputeResourcesRatio string =10.0
P.autoSetResources.initialDelayPeriod string =30m
P.autoSetResources.interval string
P.cronScalingRules array
P.cronScalingRules[].enable boolean
P.cronScalingRules[].name string
P.cronScalingRules[].start string
P.cronScalingRules[].end string
P.cronScalingRules[].desiredResources.requests object R
P.cronScalingRules[].desiredResources.limits.tflops quantity
P.externalScaler.enable boolean
P.externalScaler.url string
P.externalScaler.apiKeySecretRef.name string
P.externalScaler.apiKeySecretRef.namespace string
P.externalScaler.initialDelayPeriod string =30m
P.externalScaler.interval string
"""

WORKLOAD_SPEC = f"""
spec.replicas integer 0..
spec.poolName string
spec.resources.requests object R
spec.resources.limits object R
{_under("spec.resources.requests", RESOURCE)}
{_under("spec.resources.limits", RESOURCE)}
spec.qos string {{low,medium,high,critical}}
spec.isLocalGPU boolean
spec.sidecarWorker boolean
spec.isolation string =soft {{shared,soft,hard,partitioned}}
spec.partitionTemplateId string
spec.gpuModel string
spec.gpuCount integer 1..128
spec.gpuIndices array
spec.gpuIndices[] integer
spec.vendor string
{_under("spec.autoScalingConfig", AUTO_SCALING)}
spec.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms array R
spec.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].weight integer R
spec.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[].preference object R
spec.workerPodTemplate raw
spec.gangScheduling.minMembers integer 0..
spec.gangScheduling.timeout string
spec.gangScheduling.mode string {{Strict}}
"""

CONDITIONS = """
status.conditions array
status.conditions[].type string R
status.conditions[].status string R {True,False,Unknown}
status.conditions[].reason string R
status.conditions[].message string R
status.conditions[].lastTransitionTime string R
status.conditions[].observedGeneration integer 0..
"""

FIELDS = {
    "GPU": f"""
status.phase string R =Pending {{Pending,Provisioning,Running,Unknown,Destroying,Migrating}}
status.vendor string R =NVIDIA
status.model string
status.gpuModel string R
status.uuid string R
status.capacity object R
status.available object R
{_under("status.capacity", RESOURCE)}
{_under("status.available", RESOURCE)}
status.isolationMode string =soft {{shared,soft,hard,partitioned}}
status.isolationPolicy string {{Static,Dynamic}}
status.activeIsolationMode string {{shared,soft,hard}}
status.dynamicIsolationConflict boolean
status.index integer
status.numaNode integer
status.nodeSelector map R
status.usedBy string {{tensor-fusion,nvidia-device-plugin}}
status.message string R
status.runningApps array
status.runningApps[].name string
status.runningApps[].namespace string
status.runningApps[].count integer R =0 0..
{_under("status.runningApps[].pods[]", POD_GPU_INFO)}
status.nvLink.peerCount integer
status.nvLink.totalLinkCount integer
status.nvLink.totalBandwidthMBps integer
status.nvLink.peers[].peerUUID string R
status.nvLink.peers[].linkCount integer
status.nvLink.peers[].linkVersion integer
status.nvLink.peers[].bandwidthMBps integer
status.topology.peers[].peerGPUUUID string R
status.topology.peers[].tier integer R 0..3
status.topology.peers[].linkType string
status.topology.peers[].bandwidth integer
status.allocatedPartitions{{}}.templateId string R
status.allocatedPartitions{{}}.podUid string R
status.allocatedPartitions{{}}.podName string R
status.allocatedPartitions{{}}.namespace string R
status.allocatedPartitions{{}}.allocatedAt string R
status.allocatedPartitions{{}}.allocatedSlotStart integer 0..4294967295
status.allocatedPartitions{{}}.allocatedSlotEnd integer 0..4294967295
status.allocatedPartitions{{}}.isolationGroupId integer 0..4294967295
""",
    "GPUNode": f"""
spec.manageMode string =AutoSelect {{Manual,AutoSelect,Provisioned}}
spec.costPerHour string
spec.gpuCardIndices array
spec.cloudVendorParam string
status.phase string R =Pending {{Pending,Provisioning,Migrating,Running,Succeeded,Failed,Unknown,Destroying}}
{CONDITIONS}
status.totalTFlops quantity R =0
status.totalVRAM quantity R =0
status.virtualTFlops quantity
status.virtualVRAM quantity
status.availableTFlops quantity
status.availableVRAM quantity
status.virtualAvailableTFlops signed
status.virtualAvailableVRAM signed
status.totalGPUs integer R =0 0..
status.managedGPUs integer R =0 0..
status.managedGPUDeviceIDs array
status.nodeInfo.ramSize quantity
status.nodeInfo.dataDiskSize quantity
status.hypervisorStatus.hypervisorState string
status.hypervisorStatus.hypervisorVersion string
status.hypervisorStatus.lastHeartbeatTime string
status.loadedModels array
status.observedGeneration integer
status.totalGPUPods integer 0..
{_under("status.allocatedPods{}[]", POD_GPU_INFO)}
""",
    "GPUPool": f"""
spec.defaultUsingLocalGPU boolean
spec.capacityConfig.minResources.tflops quantity
spec.capacityConfig.minResources.vram quantity
spec.capacityConfig.minResources.cpu quantity
spec.capacityConfig.minResources.memory quantity
spec.capacityConfig.maxResources.memory quantity
spec.capacityConfig.warmResources.cpu quantity
spec.capacityConfig.oversubscription.vramExpandToHostMem integer =50 0..100
spec.capacityConfig.oversubscription.vramExpandToHostDisk integer =70 0..100
spec.capacityConfig.oversubscription.tflopsOversellRatio integer =500 100..100000
spec.nodeManagerConfig object
spec.nodeManagerConfig.provisioningMode string =AutoSelect {{Provisioned,AutoSelect,Karpenter}}
spec.nodeManagerConfig.defaultIsolationMode string =soft {{shared,soft,hard,partitioned}}
spec.nodeManagerConfig.isolationModeRules[].mode string R {{shared,soft,hard,partitioned}}
spec.nodeManagerConfig.isolationModeRules[].selector object R
spec.nodeManagerConfig.isolationModeRules[].selector.matchLabels map
spec.nodeManagerConfig.isolationModeRules[].selector.matchExpressions[].key string R
spec.nodeManagerConfig.isolationModeRules[].selector.matchExpressions[].operator string R
spec.nodeManagerConfig.isolationModeRules[].selector.matchExpressions[].values array
spec.nodeManagerConfig.defaultVendor string =NVIDIA
{_under("spec.nodeManagerConfig.nodeSelector", NODE_SELECTOR)}
{_under("spec.nodeManagerConfig.multiVendorNodeSelector{}", NODE_SELECTOR)}
spec.nodeManagerConfig.nodeProvisioner.nodeClass string
spec.nodeManagerConfig.nodeProvisioner.karpenterNodeClassRef.group string R
spec.nodeManagerConfig.nodeProvisioner.karpenterNodeClassRef.kind string R
spec.nodeManagerConfig.nodeProvisioner.karpenterNodeClassRef.version string R
spec.nodeManagerConfig.nodeProvisioner.karpenterNodeClassRef.name string R
spec.nodeManagerConfig.nodeProvisioner.gpuRequirements[].operator string =In {{In,Exists,DoesNotExist,Gt,Lt}}
spec.nodeManagerConfig.nodeProvisioner.gpuRequirements[].values array
spec.nodeManagerConfig.nodeProvisioner.cpuRequirements[].operator string =In {{In,Exists,DoesNotExist,Gt,Lt}}
spec.nodeManagerConfig.nodeProvisioner.gpuTaints[].effect string =NoSchedule {{NoSchedule,NoExecute,PreferNoSchedule}}
spec.nodeManagerConfig.nodeProvisioner.gpuTaints[].key string
spec.nodeManagerConfig.nodeProvisioner.gpuTaints[].value string
spec.nodeManagerConfig.nodeProvisioner.cpuTaints[].effect string =NoSchedule {{NoSchedule,NoExecute,PreferNoSchedule}}
spec.nodeManagerConfig.nodeProvisioner.gpuNodeLabels map
spec.nodeManagerConfig.nodeProvisioner.cpuNodeLabels map
spec.nodeManagerConfig.nodeProvisioner.gpuNodeAnnotations map
spec.nodeManagerConfig.nodeProvisioner.budget.budgetPerDay string =100
spec.nodeManagerConfig.nodeProvisioner.budget.budgetPerMonth string =1000
spec.nodeManagerConfig.nodeProvisioner.budget.budgetPerQuarter string =3000
spec.nodeManagerConfig.nodeProvisioner.budget.budgetExceedStrategy string =AlertOnly {{AlertOnly,AlertAndTerminateVM}}
spec.nodeManagerConfig.nodeCompaction.period string =5m
spec.nodeManagerConfig.nodeCompaction.defrag.enabled boolean =False
spec.nodeManagerConfig.nodeCompaction.defrag.schedule string =0_3_*_*_*
spec.nodeManagerConfig.nodeCompaction.defrag.timezone string R
spec.nodeManagerConfig.nodeCompaction.defrag.maxDuration string =2h
spec.nodeManagerConfig.nodeCompaction.defrag.utilizationThresholdPercent integer =40 0..100
spec.nodeManagerConfig.nodeCompaction.defrag.evictedPodMarkerTTL string =never
spec.nodeManagerConfig.nodeCompaction.defrag.sourceNodeMarkerTTL string =30m
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.autoUpdate boolean
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.autoUpdateHypervisor boolean
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.autoUpdateWorker boolean
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.autoUpdateClient boolean
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.batchPercentage integer =100 0..100
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.batchInterval string =1s
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.maxDuration string =10m
spec.nodeManagerConfig.nodePoolRollingUpdatePolicy.maintenanceWindow.includes array
spec.qosConfig.definitions[].name string {{low,medium,high,critical}}
spec.qosConfig.definitions[].description string
spec.qosConfig.definitions[].priority integer 1..100
spec.qosConfig.defaultQoS string {{low,medium,high,critical}}
spec.qosConfig.pricing[].qos string {{low,medium,high,critical}}
spec.qosConfig.pricing[].requests.perFP16TFlopsPerHour string =$0.0069228
spec.qosConfig.pricing[].requests.perGBOfVRAMPerHour string =$0.01548
spec.qosConfig.pricing[].limitsOverRequests string =1
spec.qosConfig.evictionProtectionPriceRatio string =1.2
spec.componentConfig.worker.image string
spec.componentConfig.worker.podTemplate raw
spec.componentConfig.hypervisor.image string
spec.componentConfig.hypervisor.vectorImage string
spec.componentConfig.hypervisor.portNumber integer =8000 0..65535
spec.componentConfig.hypervisor.podTemplate raw
spec.componentConfig.hypervisor.enableVector boolean
spec.componentConfig.nodeDiscovery.image string
spec.componentConfig.nodeDiscovery.podTemplate raw
spec.componentConfig.client.image string
spec.componentConfig.client.remoteModeImage string
spec.componentConfig.client.embeddedModeImage string
spec.componentConfig.client.operatorEndpoint string
spec.componentConfig.client.patchToPod raw
spec.componentConfig.client.patchToContainer raw
spec.componentConfig.client.patchEmbeddedWorkerToPod raw
spec.componentConfig.client.patchToEmbeddedWorkerContainer raw
spec.schedulingConfigTemplate string
spec.draConfig.enable boolean
spec.draConfig.resourceClaimTemplateName string
status.cluster string
status.phase string R =Pending {{Pending,Running,Updating,Destroying,Unknown}}
{CONDITIONS}
status.totalNodes integer 0..
status.totalGPUs integer 0..
status.readyNodes integer R =0 0..
status.notReadyNodes integer R =0 0..
status.totalTFlops quantity R =0
status.totalVRAM quantity R =0
status.virtualTFlops quantity R =0
status.virtualVRAM quantity R =0
status.availableTFlops quantity R =0
status.availableVRAM quantity R =0
status.virtualAvailableTFlops signed
status.virtualAvailableVRAM signed
status.runningAppsCnt integer 0..
status.componentStatus object R ={{}}
status.componentStatus.worker string
status.componentStatus.hypervisor string
status.componentStatus.client string
status.componentStatus.workerConfigSynced boolean
status.componentStatus.hypervisorConfigSynced boolean
status.componentStatus.clientConfigSynced boolean
status.componentStatus.workerUpdateProgress integer 0..100
status.componentStatus.hypervisorUpdateProgress integer 0..100
status.componentStatus.clientUpdateProgress integer 0..100
status.savedCostsPerMonth string
status.potentialSavingsPerMonth string
status.budgetExceeded string
status.provisioningPhase string =None {{None,Initializing,Provisioning,Completed}}
status.lastCompactionTime string
status.lastDefragTime string
""",
    "GPUResourceQuota": f"""
{_under("spec.total.requests", RESOURCE)}
{_under("spec.total.limits", RESOURCE)}
spec.total.maxWorkers integer =32768 0..
spec.total.maxGPUCount integer 0..
spec.total.alertThresholdPercent integer =95 0..100
{_under("spec.single.maxRequests", RESOURCE)}
{_under("spec.single.maxLimits", RESOURCE)}
spec.single.maxGPUCount integer 0..
{_under("spec.single.defaultRequests", RESOURCE)}
{_under("spec.single.defaultLimits", RESOURCE)}
{_under("status.used.requests", RESOURCE)}
{_under("status.used.limits", RESOURCE)}
status.used.workers integer 0..
status.availablePercent object
{CONDITIONS}
status.lastUpdateTime string
""",
    "SchedulingConfigTemplate": f"""
spec.placement object R
spec.placement.mode string R =NodeCompactGPULowLoad {{CompactFirst,LowLoadFirst,NodeCompactGPULowLoad}}
spec.placement.allowUsingLocalGPU boolean =True
spec.placement.gpuFilters[].type string
spec.placement.gpuFilters[].params raw
spec.verticalScalingRules[].name string
spec.verticalScalingRules[].selector.matchLabels map
{_under("spec.verticalScalingRules[].autoScaling", AUTO_SCALING)}
spec.reBalancer.enable boolean
spec.reBalancer.interval string
spec.reBalancer.reBalanceCoolDownTime string
spec.reBalancer.threshold.matchAny raw
spec.hypervisor.autoFreezeAndResume.autoFreeze[].qos string {{low,medium,high,critical}}
spec.hypervisor.autoFreezeAndResume.autoFreeze[].freezeToMemTTL string
spec.hypervisor.autoFreezeAndResume.autoFreeze[].freezeToDiskTTL string
spec.hypervisor.autoFreezeAndResume.autoFreeze[].enable boolean
spec.hypervisor.autoFreezeAndResume.intelligenceWarmup.enable boolean
spec.hypervisor.autoFreezeAndResume.intelligenceWarmup.model string
spec.hypervisor.autoFreezeAndResume.intelligenceWarmup.historyDataPeriod string
spec.hypervisor.autoFreezeAndResume.intelligenceWarmup.predictionPeriod string
spec.hypervisor.elasticRateLimitParameters.maxRefillRate string
spec.hypervisor.elasticRateLimitParameters.minRefillRate string
spec.hypervisor.elasticRateLimitParameters.filterAlpha string
spec.hypervisor.elasticRateLimitParameters.ki string
spec.hypervisor.elasticRateLimitParameters.kd string
spec.hypervisor.elasticRateLimitParameters.kp string
spec.hypervisor.elasticRateLimitParameters.burstWindow string
spec.hypervisor.elasticRateLimitParameters.capacityMin string
spec.hypervisor.elasticRateLimitParameters.capacityMax string
spec.hypervisor.elasticRateLimitParameters.integralDecayFactor string
spec.hypervisor.multiProcessQueuingParameters.computingThresholdForPreempt string
spec.hypervisor.multiProcessQueuingParameters.triggerPreemptDuration string
spec.hypervisor.multiProcessQueuingParameters.computingThresholdForResume string
spec.hypervisor.multiProcessQueuingParameters.triggerResumeDuration string
spec.hypervisor.multiProcessQueuingParameters.coefficientLow string
spec.hypervisor.multiProcessQueuingParameters.coefficientMedium string
spec.hypervisor.multiProcessQueuingParameters.coefficientHigh string
spec.hypervisor.multiProcessQueuingParameters.slowStartRatio string
spec.dra.enable boolean
spec.dra.resourceClaimTemplateName string =tensor-fusion-gpu-template
""",
    "TensorFusionWorkload": f"""
{WORKLOAD_SPEC}
status.phase string =Pending {{Pending,Running,Failed,Unknown}}
{CONDITIONS}
status.workerCount integer R =0 0..
status.readyWorkers integer 0..
status.podTemplateHash string
status.recommendation.requests object R
status.appliedRecommendedReplicas integer 0..
status.activeCronScalingRule.name string
status.gang.phase string {{Pending,Waiting,Scheduling,Running,TimedOut,Failed}}
status.gang.groupKey string
status.gang.desiredMembers integer 0..
status.gang.waitingMembers integer 0..
status.gang.scheduledMembers integer 0..
status.gang.readyMembers integer 0..
status.gang.lastTransitionTime string
status.gang.reason string
status.gang.message string
status.gang.backoffUntil string
""",
    "WorkloadProfile": WORKLOAD_SPEC,
}

REQUIREMENT_KEYS = [
    "node.kubernetes.io/instance-type",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "karpenter.sh/capacity-type",
    "tensor-fusion.ai/gpu-vendor",
    "tensor-fusion.ai/gpu-instance-family",
    "tensor-fusion.ai/gpu-instance-size",
]
PERCENT_KEYS = {"requests.tflops", "requests.vram", "limits.tflops", "limits.vram", "workers"}

COLUMNS = {
    "GPU": "GPU Model:.status.gpuModel Phase:.status.phase Total TFlops:.status.capacity.tflops"
    " Total VRAM:.status.capacity.vram Available TFlops:.status.available.tflops"
    " Available VRAM:.status.available.vram Device UUID:.status.uuid Used By:.status.usedBy Node:.status.nodeSelector",
    "GPUNode": "Phase:.status.phase Total TFlops:.status.totalTFlops Total VRAM:.status.totalVRAM"
    " Virtual TFlops:.status.virtualTFlops Virtual VRAM:.status.virtualVRAM"
    " Available TFlops:.status.availableTFlops Available VRAM:.status.availableVRAM GPU Count:.status.totalGPUs",
    "GPUPool": "Phase:.status.phase"
    " TFlops Oversubscription:.spec.capacityConfig.oversubscription.tflopsOversellRatio"
    " Mode:.spec.nodeManagerConfig.provisioningMode Default Scheduling Strategy:.spec.schedulingConfigTemplate"
    " Total Nodes:.status.totalNodes Total GPU:.status.totalGPUs Total Tflops:.status.totalTFlops"
    " Total VRAM:.status.totalVRAM Available Tflops:.status.availableTFlops Available VRAM:.status.availableVRAM",
    "GPUResourceQuota": "Requests TFlops Used:.status.used.requests.tflops"
    " Requests VRAM Used:.status.used.requests.vram Workers Used:.status.used.workers"
    " Alert Threshold:.spec.total.alertThresholdPercent Age:.metadata.creationTimestamp",
    "SchedulingConfigTemplate": "Mode:.spec.placement.mode Allow Local GPU:.spec.placement.allowUsingLocalGPU"
    " AutoFreeze:.spec.hypervisor.autoFreezeAndResume.autoFreeze[0].enable",
    "TensorFusionWorkload": "Phase:.status.phase Gang:.status.gang.phase Worker Count:.status.workerCount"
    " Ready Workers:.status.readyWorkers Pod Template Hash:.status.podTemplateHash Pool Name:.spec.poolName"
    " QoS:.spec.qos Is Local GPU:.spec.isLocalGPU GPU Number:.spec.gpuCount Replicas:.spec.replicas",
    "WorkloadProfile": "Pool Name:.spec.poolName QoS:.spec.qos Is Local GPU:.spec.isLocalGPU"
    " GPU Number:.spec.gpuCount Replicas:.spec.replicas",
}

SCOPES = {
    "GPU": ("gpus", "Cluster"),
    "GPUNode": ("gpunodes", "Cluster"),
    "GPUPool": ("gpupools", "Cluster"),
    "GPUResourceQuota": ("gpuresourcequotas", "Namespaced"),
    "SchedulingConfigTemplate": ("schedulingconfigtemplates", "Cluster"),
    "TensorFusionWorkload": ("tensorfusionworkloads", "Namespaced"),
    "WorkloadProfile": ("workloadprofiles", "Namespaced"),
}
