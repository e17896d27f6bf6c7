"""The contract of our kinds, typed from the API reference and not from the code: one line a field.

``path type [R] [=default] [min..max] [{enum}]``; ``[]`` is a list item, ``{}`` a map value. Ours where the reference
says so: optional Resource dimensions, optional nodeManagerConfig, autoUpdate, total.maxGPUCount, dra, draConfig;
conditions of claims, classes and connections; required and unique names of a cluster's pools; of a route rateLimit,
firstTokenTimeout, midStream, prices, conditions, capabilities and the alert of its budget; vm, scaling and cost of a
source; autoApply, objective, lookback, forecastHorizon and feedback of workload intelligence; the kind GPUCohort, and what
quotas say of theirs.
"""


def _under(path: str, fields: str) -> str:
    """The fields of a shared part at one path: a line starts with P where the path goes."""
    return "\n".join(path + line[1:] for line in fields.splitlines() if line)


def _moved(fields: str, old: str, new: str) -> str:
    """The lines that start with one path, at another."""
    return "\n".join(new + line.removeprefix(old) for line in fields.splitlines() if line.startswith(old))


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

TERM = """
P.id string
P.name string
P.tags map
"""

DEVICE_MOUNT = """
P.deviceMountRule string
P.partitionedDeviceMountRule string
P.sharedDevices[] string
"""

SECRET = """
P.name string R
P.namespace string R
P.key string R
"""

MODELS = "lstm-forecaster,transformer-classifier,gradient-boosting-regressor,rl-scheduler"
INSTANCE_STATES = "Requested,Creating,Booting,Joining,Ready,Draining,Deleting,Deleted,Evicted,Failed"
VENDORS = (
    "aws,lambda-labs,gcp,azure,oracle-oci,ibm,openshift,vultr,together-ai,alibaba,nvidia,tencent,runpod,karpenter,mock"
)

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
spec.cohort string
spec.fairWeight integer 1..1000000
spec.borrowing.limit.tflops quantity
spec.borrowing.limit.gpuCount integer 0..
spec.lending.limit.vram quantity
""",
    "SchedulingConfigTemplate": f"""
spec.placement object R
spec.placement.mode string R =NodeCompactGPULowLoad {{CompactFirst,LowLoadFirst,NodeCompactGPULowLoad,FragmentationAware}}
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
    "GPUNodeClaim": f"""
spec.nodeName string
spec.region string
spec.zone string
spec.instanceType string
spec.nodeClassRef.group string R
spec.nodeClassRef.kind string R
spec.nodeClassRef.version string R
spec.nodeClassRef.name string R
spec.capacityType string
spec.tflopsOffered quantity R
spec.vramOffered quantity R
spec.gpuDeviceOffered integer R 0..
spec.extraParams map
status.phase string R =Pending
status.instanceID string
{CONDITIONS}
""",
    "GPUCohort": f"""
spec.parent string
spec.fairWeight integer =1 1..1000000
spec.reclaim.policy string =Any {{Never,LowerPriority,Any}}
spec.borrowing.limit.tflops quantity
spec.borrowing.limit.vram quantity
spec.borrowing.limit.gpuCount integer 0..
spec.lending.limit.gpuCount integer 0..
status.nominal.tflops quantity
status.used.vram quantity
status.borrowed.gpuCount integer 0..
status.members[].name string R
status.members[].kind string R
status.members[].share string
status.memberCount integer 0..
{CONDITIONS}
""",
    "GPUNodeClass": f"""
{_under("spec.launchTemplate", TERM)}
spec.osImageType string =Private {{Private,Public,System}}
{_under("spec.osImageSelectorTerms[]", TERM)}
{_under("spec.securityGroupSelectorTerms[]", TERM)}
{_under("spec.subnetSelectorTerms[]", TERM)}
spec.instanceProfile string
spec.userData string
spec.metadataOptions.httpEndpoint boolean =True
spec.metadataOptions.httpProtocolIPv6 boolean =False
spec.metadataOptions.httpPutResponseHopLimit integer =1
spec.metadataOptions.httpTokens string =required
spec.blockDeviceMappings[].deviceName string
spec.blockDeviceMappings[].ebs.volumeSize string
spec.blockDeviceMappings[].ebs.volumeType string
spec.blockDeviceMappings[].ebs.deleteOnTermination boolean =True
spec.blockDeviceMappings[].ebs.encrypted boolean =True
spec.tags map
{CONDITIONS}
""",
    "ProviderConfig": f"""
spec.vendor string R
spec.images object R
spec.images.middleware string R
spec.images.remoteClient string
spec.images.remoteWorker string
spec.hypervisor.privilegedHypervisor boolean
spec.hypervisor.ldLibraryPath string
spec.hypervisor.extraEnv[].name string R
spec.hypervisor.extraEnv[].value string
spec.hypervisor.hostPathMounts[].name string R
spec.hypervisor.hostPathMounts[].hostPath string R
spec.hypervisor.hostPathMounts[].mountPath string R
spec.hypervisor.hostPathMounts[].readOnly boolean
{_under("spec.hypervisor.deviceMount", DEVICE_MOUNT)}
spec.hardwareMetadata[].model string R
spec.hardwareMetadata[].fullModelName string R
spec.hardwareMetadata[].fp16TFlops quantity R
spec.hardwareMetadata[].costPerHour string
spec.hardwareMetadata[].maxPartitions integer 0..4294967295
spec.hardwareMetadata[].maxPlacementSlots integer 0..4294967295
spec.hardwareMetadata[].maxIsolationGroups integer 0..4294967295
spec.hardwareMetadata[].totalExtendedResources{{}} integer 0..4294967295
spec.hardwareMetadata[].partitionTemplateRefs[] string
{_under("spec.hardwareMetadata[].deviceMount", DEVICE_MOUNT)}
spec.virtualizationTemplates[].id string R
spec.virtualizationTemplates[].nvmlProfileId integer 0..4294967295
spec.virtualizationTemplates[].name string R
spec.virtualizationTemplates[].memoryGigabytes integer R 0..
spec.virtualizationTemplates[].computePercent string R
spec.virtualizationTemplates[].description string
spec.virtualizationTemplates[].maxInstances integer 0..4294967295
spec.virtualizationTemplates[].placementLimit[] integer 0..4294967295
spec.virtualizationTemplates[].placementOffset integer 0..4294967295
spec.virtualizationTemplates[].extendedResources{{}} integer 0..4294967295
spec.virtualizationTemplates[].isolationGroupSharing string =exclusive {{exclusive,shared}}
spec.virtualizationTemplates[].maxPartitionsPerIsolationGroup integer 0..4294967295
spec.virtualizationTemplates[].isolationGroupSlots integer 0..4294967295
spec.inUseResourceNames[] string
spec.devicePluginDetection.resourceNamePrefixes[] string
spec.devicePluginDetection.usedBySystemName string
""",
    "TensorFusionConnection": f"""
spec.workloadName string R
spec.clientPod string R
status.phase string R
status.connectionURL string R
status.workerName string R
{CONDITIONS}
""",
    "LLMRoute": f"""
spec.portkeyConfigID string
spec.strategy string =cost-optimized {{cost-optimized,latency-optimized,round-robin,weighted,priority,loadtest}}
spec.targets array R
spec.targets[].name string R
spec.targets[].provider string R
spec.targets[].model string R
spec.targets[].gpuPool string
spec.targets[].azureGPUSource string
spec.targets[].weight integer =50 1..100
spec.targets[].priority integer =50
spec.targets[].endpoint string
{_under("spec.targets[].apiKeySecret", SECRET)}
spec.targets[].parameters map
spec.targets[].enabled boolean =True
spec.targets[].costPer1MInput string
spec.targets[].costPer1MOutput string
spec.targets[].conditions.minTokens integer 0..
spec.targets[].conditions.maxTokens integer 0..
spec.targets[].conditions.minPriority string {{low,medium,high,critical}}
spec.targets[].conditions.requestPattern string
spec.targets[].maxConcurrency integer 1..
spec.targets[].capabilities[] string {{prefill}}
spec.targets[].contextLength integer 1..
spec.targets[].version string
spec.selector.namespaces[] string
spec.selector.labelSelector.matchLabels map
spec.selector.labelSelector.matchExpressions array
spec.selector.modelPattern string
spec.selector.users[] string
spec.budget.maxCostPerRequest string
spec.budget.maxTokensPerRequest integer 0..
spec.budget.dailyLimit string
spec.budget.monthlyLimit string
spec.budget.onExceeded string =reject {{reject,queue,fallback-cheaper,alert}}
spec.budget.alertThresholdPercent integer 0..100
spec.caching.enabled boolean =True
spec.caching.ttl string =1h
spec.caching.similarityThreshold string =0.95
spec.caching.keyIncludes[] string
spec.retry.maxRetries integer =3 0..
spec.retry.initialDelay string =1s
spec.retry.maxDelay string =10s
spec.retry.backoffMultiplier string =2
spec.retry.retryOnErrors[] string
spec.timeout string =30s
spec.firstTokenTimeout string =12s
spec.midStream string =splice {{splice,error,buffer}}
spec.enableFallback boolean =True
spec.rateLimit.requestsPerMinute integer 0..
spec.rateLimit.tokensPerMinute integer 0..
spec.rateLimit.maxConcurrent integer 0..
spec.rateLimit.per string =key {{route,key,user,namespace}}
spec.rateLimit.burst integer 0..
spec.aliases[] string
spec.rollout.target string R
spec.rollout.steps[] integer 0..100
spec.rollout.interval string =10m
spec.rollout.maxErrorRate string =0.05
spec.rollout.minRequests integer =20 0..
status.phase string =Pending {{Pending,Active,Error,BudgetExceeded}}
{CONDITIONS}
status.activeTarget string
status.lastUpdated string
status.stats.totalRequests integer 0..
status.stats.successfulRequests integer 0..
status.stats.failedRequests integer 0..
status.stats.cachedRequests integer 0..
status.stats.averageLatency string
status.stats.p95Latency string
status.stats.p99Latency string
status.costTracking.totalCost string
status.costTracking.costToday string
status.costTracking.costThisMonth string
status.costTracking.estimatedMonthlyCost string
status.costTracking.totalTokens integer 0..
status.rollout.id string R
status.rollout.target string
status.rollout.phase string =Progressing {{Progressing,Complete,RolledBack}}
status.rollout.step integer 0..
status.rollout.percent integer 0..100
status.rollout.since string
status.rollout.message string
status.targets[].name string R
status.targets[].healthy boolean
status.targets[].circuit string {{closed,open,half-open}}
status.targets[].inFlight integer 0..
status.targets[].ttftP50 string
status.targets[].errorRate string
status.targets[].lastError string
""",
    "LLMKey": """
spec.hash string R
spec.prefix string
spec.user string
spec.scopes array =['infer']
spec.scopes[] string {infer,admin,logs}
spec.models[] string
spec.routes[] string
spec.rateLimit.requestsPerMinute integer 0..
spec.rateLimit.tokensPerMinute integer 0..
spec.rateLimit.maxConcurrent integer 0..
spec.rateLimit.per string =key {route,key,user,namespace}
spec.rateLimit.burst integer 0..
spec.budget.daily string
spec.budget.monthly string
spec.expiresAt string
spec.disabled boolean
spec.metadata map
spec.labels map
spec.previous[].hash string R
spec.previous[].until string R
spec.previous[].prefix string
status.lastUsedAt string
""",
    "WorkloadIntelligence": f"""
spec.enablePrediction boolean =True
spec.enableVectorization boolean =True
spec.vectorDBConfig.type string =qdrant {{qdrant,weaviate,pinecone,milvus}}
spec.vectorDBConfig.endpoint string R
spec.vectorDBConfig.collectionName string =tensor-fusion-workloads
spec.vectorDBConfig.vectorDimension integer =768 1..
{_under("spec.vectorDBConfig.auth.apiKeySecret", SECRET)}
{_under("spec.vectorDBConfig.auth.tokenSecret", SECRET)}
spec.vectorDBConfig.syncInterval string =5m
spec.modelTraining.schedule string =0_2_*_*_0
spec.modelTraining.dataRetention string =90d
spec.modelTraining.minSamples integer =100 0..
spec.modelTraining.models[].name string R {{{MODELS}}}
spec.modelTraining.models[].enabled boolean =True
spec.modelTraining.models[].hyperparameters map
spec.modelTraining.models[].epochs integer =50 1..
spec.modelTraining.models[].batchSize integer =32 1..
spec.modelTraining.trainingResources.requests object R
spec.modelTraining.trainingResources.limits object R
{_under("spec.modelTraining.trainingResources.requests", RESOURCE)}
{_under("spec.modelTraining.trainingResources.limits", RESOURCE)}
spec.featureExtractors[] string
spec.confidenceThreshold string =0.7
spec.targetNamespaces[] string
spec.autoApply.enabled boolean =False
spec.autoApply.dryRun boolean =True
spec.autoApply.maxStepPercent integer =50 0..100
spec.autoApply.cooldown string =10m
spec.autoApply.qosAllowed array =['low',_'medium']
spec.autoApply.qosAllowed[] string {{low,medium,high,critical}}
spec.objective string =balanced {{cost,performance,balanced}}
spec.lookback string =7d
spec.forecastHorizon string =24h
spec.feedback.deviationThresholdPercent integer =20 0..100
status.phase string =Pending {{Pending,Initializing,Ready,Training,Error}}
{CONDITIONS}
status.lastUpdated string
status.models[].name string R
status.models[].accuracy string
status.models[].lastTrained string
status.models[].trainingSamples integer 0..
status.models[].version string
status.models[].status string
status.vectorDB.connected boolean
status.vectorDB.totalVectors integer 0..
status.vectorDB.lastSync string
status.vectorDB.collectionSize string
status.predictionStats.totalPredictions integer 0..
status.predictionStats.successfulPredictions integer 0..
status.predictionStats.averageConfidence string
status.predictionStats.accuracyScore string
status.recentRecommendations[].workloadId string
status.recentRecommendations[].workloadPattern string
status.recentRecommendations[].recommendedGpu string
status.recentRecommendations[].recommendedTflops quantity
status.recentRecommendations[].recommendedVram quantity
status.recentRecommendations[].confidenceScore string
status.recentRecommendations[].estimatedCost string
status.recentRecommendations[].estimatedPerformance.expectedLatencyP50 string
status.recentRecommendations[].estimatedPerformance.expectedLatencyP95 string
status.recentRecommendations[].estimatedPerformance.expectedThroughput string
status.recentRecommendations[].alternatives[].gpuType string
status.recentRecommendations[].alternatives[].confidenceScore string
status.recentRecommendations[].alternatives[].estimatedCost string
status.recentRecommendations[].alternatives[].costSavings string
status.recentRecommendations[].alternatives[].performanceImpact string
status.recentRecommendations[].timestamp string
""",
    "AzureGPUSource": f"""
spec.sourceType string R {{aks,foundry,vm}}
spec.foundryEndpoint string
spec.aksClusterName string
spec.subscriptionID string R
spec.region string R
spec.availableModels[].modelName string R
spec.availableModels[].sku string R
spec.availableModels[].tflops quantity R
spec.availableModels[].vram quantity R
spec.availableModels[].maxThroughput integer 0..
spec.availableModels[].available boolean =True
spec.availableModels[].costPerHour string
spec.priority integer =50 0..100
spec.costPerHour string
spec.auth.method string =managedIdentity {{servicePrincipal,managedIdentity,accessKey}}
spec.auth.servicePrincipal.tenantID string R
spec.auth.servicePrincipal.clientID string R
spec.auth.servicePrincipal.clientSecret object R
{_under("spec.auth.servicePrincipal.clientSecret", SECRET)}
spec.auth.managedIdentityClientID string
{_under("spec.auth.accessKeySecret", SECRET)}
spec.enabled boolean =True
spec.syncInterval string =30s
spec.vm.resourceGroup string R
spec.vm.vmSizes array R
spec.vm.zones[] string
spec.vm.image.id string
spec.vm.image.publisher string
spec.vm.image.offer string
spec.vm.image.sku string
spec.vm.image.version string =latest
spec.vm.osDiskGiB integer =128 1..
spec.vm.virtualNetwork string
spec.vm.subnet string
spec.vm.networkSecurityGroup string
{_under("spec.vm.sshPublicKeySecret", SECRET)}
{_under("spec.vm.joinConfigSecret", SECRET)}
spec.vm.priority string =Regular {{Regular,Spot}}
spec.vm.maxPrice string =-1
spec.vm.evictionPolicy string =Delete {{Delete,Deallocate}}
spec.vm.onDemandFallback boolean =True
spec.vm.tags map
spec.vm.healthCheck.interval string =30s
spec.vm.healthCheck.timeout string =10s
spec.vm.healthCheck.unhealthyThreshold integer =3 1..
spec.scaling.targetGPUPool string R
spec.scaling.minInstances integer =0 0..
spec.scaling.maxInstances integer R 0..
spec.scaling.targetUtilization number 0..1
spec.scaling.scaleUpThreshold number =0.8 0..1
spec.scaling.scaleDownThreshold number =0.3 0..1
spec.scaling.scaleUpStep integer =4 1..
spec.scaling.cooldownPeriod string =5m
spec.scaling.idleTimeout string =10m
spec.scaling.drainTimeout string =120s
spec.scaling.joinTimeout string =10m
spec.scaling.schedule[].cron string R
spec.scaling.schedule[].minInstances integer R 0..
spec.cost.maxMonthlyCost string
spec.cost.alertThreshold number 0..1
status.phase string =Pending {{Pending,Ready,Error,Syncing,Disabled}}
{CONDITIONS}
status.totalAvailableTFlops quantity
status.totalAvailableVRAM quantity
status.availableModelCount integer 0..
status.lastSyncTime string
status.connected boolean
status.errorMessage string
status.modelStatus[].modelName string R
status.modelStatus[].available boolean
status.modelStatus[].currentUtilization string
status.modelStatus[].estimatedLatency string
status.modelStatus[].lastChecked string
status.instances[].name string R
status.instances[].vmId string
status.instances[].vmSize string
status.instances[].priority string
status.instances[].zone string
status.instances[].state string {{{INSTANCE_STATES}}}
status.instances[].nodeName string
status.instances[].hourlyCost string
status.instances[].createdAt string
status.instances[].lastError string
status.desired integer 0..
status.ready integer 0..
status.costThisMonth string
status.blockedUntil map
""",
}

FIELDS["TensorFusionCluster"] = f"""
spec.gpuPools array
spec.gpuPools[].name string R
spec.gpuPools[].isDefault boolean
spec.gpuPools[].specTemplate object R
{_moved(FIELDS["GPUPool"], "spec.", "spec.gpuPools[].specTemplate.")}
spec.computingVendor.name string
spec.computingVendor.type string {{{VENDORS}}}
spec.computingVendor.authType string {{accessKey,serviceAccountRole}}
spec.computingVendor.enable boolean =True
spec.computingVendor.params.defaultRegion string
spec.computingVendor.params.accessKeyPath string
spec.computingVendor.params.secretKeyPath string
spec.computingVendor.params.iamRole string
spec.computingVendor.params.configFile string
spec.computingVendor.params.extraParams map
status.phase string R =Pending {{Pending,Running,Updating,Destroying,Unknown}}
{CONDITIONS}
status.totalPools integer R =0 0..
status.totalNodes integer R =0 0..
status.totalGPUs integer R =0 0..
status.totalTFlops quantity R =0
status.totalVRAM quantity R =0
status.virtualTFlops quantity R =0
status.virtualVRAM quantity R =0
status.availableTFlops quantity R =0
status.availableVRAM quantity R =0
status.virtualAvailableTFlops signed
status.virtualAvailableVRAM signed
status.readyGPUPools[] string
status.notReadyGPUPools[] string
status.retryCount integer R =0
status.utilizedTFlopsPercent string
status.utilizedVRAMPercent string
status.allocatedTFlopsPercent string
status.allocatedVRAMPercent string
status.savedCostsPerMonth string
status.potentialSavingsPerMonth string
status.cloudVendorConfigHash string
"""

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
    "GPUNodeClaim": "Phase:.status.phase",
    "GPUCohort": "Parent:.spec.parent Members:.status.memberCount GPUs:.status.nominal.gpuCount"
    " GPUs Used:.status.used.gpuCount TFlops Used:.status.used.tflops VRAM Used:.status.used.vram"
    " Age:.metadata.creationTimestamp",
    "GPUNodeClass": "",
    "ProviderConfig": "Vendor:.spec.vendor Age:.metadata.creationTimestamp",
    "TensorFusionCluster": "Phase:.status.phase Total Pools:.status.totalPools Total Nodes:.status.totalNodes"
    " Total GPU:.status.totalGPUs Total Tflops:.status.totalTFlops Total VRAM:.status.totalVRAM"
    " Available Tflops:.status.availableTFlops Available VRAM:.status.availableVRAM",
    "TensorFusionConnection": "Phase:.status.phase Connection URL:.status.connectionURL"
    " Worker Name:.status.workerName Workload Name:.spec.workloadName Client Pod:.spec.clientPod",
    "LLMRoute": "Strategy:.spec.strategy Phase:.status.phase Active Target:.status.activeTarget"
    " Total Requests:.status.stats.totalRequests Cost Today:.status.costTracking.costToday",
    "LLMKey": "Prefix:.spec.prefix User:.spec.user Scopes:.spec.scopes Disabled:.spec.disabled"
    " Expires:.spec.expiresAt Last Used:.status.lastUsedAt Age:.metadata.creationTimestamp",
    "WorkloadIntelligence": "Phase:.status.phase Predictions:.status.predictionStats.totalPredictions"
    " Accuracy:.status.predictionStats.accuracyScore Vectors:.status.vectorDB.totalVectors",
    "AzureGPUSource": "Type:.spec.sourceType Region:.spec.region Phase:.status.phase"
    " Available Models:.status.availableModelCount Total TFlops:.status.totalAvailableTFlops"
    " Connected:.status.connected",
}

SCOPES = {
    "GPU": ("gpus", "Cluster"),
    "GPUNode": ("gpunodes", "Cluster"),
    "GPUPool": ("gpupools", "Cluster"),
    "GPUResourceQuota": ("gpuresourcequotas", "Namespaced"),
    "SchedulingConfigTemplate": ("schedulingconfigtemplates", "Cluster"),
    "TensorFusionWorkload": ("tensorfusionworkloads", "Namespaced"),
    "WorkloadProfile": ("workloadprofiles", "Namespaced"),
    "GPUNodeClaim": ("gpunodeclaims", "Cluster"),
    "GPUCohort": ("gpucohorts", "Cluster"),
    "GPUNodeClass": ("gpunodeclasses", "Cluster"),
    "ProviderConfig": ("providerconfigs", "Cluster"),
    "TensorFusionCluster": ("tensorfusionclusters", "Cluster"),
    "TensorFusionConnection": ("tensorfusionconnections", "Namespaced"),
    "LLMRoute": ("llmroutes", "Namespaced"),
    "LLMKey": ("llmkeys", "Namespaced"),
    "WorkloadIntelligence": ("workloadintelligences", "Cluster"),
    "AzureGPUSource": ("azuregpusources", "Cluster"),
}

WITHOUT_STATUS = {"ProviderConfig"}
