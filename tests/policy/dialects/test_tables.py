"""What each loose dialect says in the schema: whole manifests in, whole manifests out, one line for every rewrite."""

from typing import Any

import pytest
import yaml

from tensorfusion.policy.dialects.convert import Conversion, convert


def done(text: str) -> Conversion:
    return convert(yaml.safe_load(text))


def converted(text: str) -> dict[str, Any]:
    conversion = done(text)
    assert conversion.refusals == ()
    assert conversion.rewrites
    document: dict[str, Any] = conversion.document
    return document


def refusal(text: str) -> list[str]:
    conversion = done(text)
    return [str(one) for one in conversion.refusals]


def test_a_route_with_blocks_for_strategy_cache_fallback_and_costs() -> None:
    found = converted("""
apiVersion: tensor-fusion.ai/v1
kind: LLMRoute
metadata: {name: r}
spec:
  name: Chat
  description: For everyone.
  strategy: {type: latency, timeout: 20s, retries: 2}
  targets:
  - {provider: openai, model: gpt-4o, costPer1MInput: 2.5}
  cache: {enabled: true, ttl: 30m, similarityThreshold: 0.97}
  fallback: {enabled: false}
  costTracking: {enabled: true, budget: {daily: 100, monthly: "$2000"}, alertThreshold: 0.8}
  selector: {modelName: gpt-4.1, labels: {team: red}}
""")
    assert found["metadata"]["annotations"] == {
        "tensor-fusion.ai/display-name": "Chat",
        "tensor-fusion.ai/description": "For everyone.",
    }
    assert found["spec"] == {
        "strategy": "latency-optimized",
        "timeout": "20s",
        "retry": {"maxRetries": 2},
        "targets": [{"name": "openai-gpt-4o-0", "provider": "openai", "model": "gpt-4o", "costPer1MInput": "2.5"}],
        "caching": {"enabled": True, "ttl": "30m", "similarityThreshold": "0.97"},
        "enableFallback": False,
        "budget": {"dailyLimit": "100", "monthlyLimit": "$2000", "alertThresholdPercent": 80},
        "selector": {"modelPattern": "^gpt\\-4\\.1.*", "labelSelector": {"matchLabels": {"team": "red"}}},
    }


@pytest.mark.parametrize(
    ("loose", "canonical"),
    [
        ("cost", "cost-optimized"),
        ("latency", "latency-optimized"),
        ("roundrobin", "round-robin"),
        ("availability", "priority"),
        ("fallback", "priority"),
    ],
)
def test_a_bare_word_of_a_strategy(loose: str, canonical: str) -> None:
    text = f"{{apiVersion: tensor-fusion.ai/v1, kind: LLMRoute, metadata: {{name: r}}, spec: {{strategy: {loose}}}}}"
    conversion = done(text)
    assert conversion.document["spec"]["strategy"] == canonical
    assert conversion.rewrites == (f"spec.strategy: {loose} -> {canonical}",)


def test_an_alert_instead_of_a_refusal_beyond_the_budget() -> None:
    found = converted("""
apiVersion: tensor-fusion.ai/v1
kind: LLMRoute
metadata: {name: r}
spec: {budget: {daily: "10", exceedStrategy: alert}, targets: [{name: a, provider: p, model: m}]}
""")
    assert found["spec"]["budget"] == {"dailyLimit": "10", "onExceeded": "alert"}


def test_routes_count_priority_the_other_way_round() -> None:
    found = converted("""
apiVersion: tensor-fusion.ai/v1
kind: LLMRoute
metadata: {name: r}
spec:
  loadBalancing: {strategy: pattern-match, failover: true, roundRobin: true}
  routes:
  - {name: big, backend: "vllm-70b:8000", modelName: llama-70b, priority: 100, costPerToken: 0.000002,
     conditions: {minTokens: 500, pattern: "code"}, description: large}
  - {name: small, backend: "https://small.example/v1", modelName: llama-8b, priority: 200}
""")
    assert found["spec"] == {
        "strategy": "priority",
        "enableFallback": True,
        "targets": [
            {
                "name": "big",
                "provider": "self-hosted",
                "model": "llama-70b",
                "endpoint": "http://vllm-70b:8000",
                "priority": 1,
                "costPer1MInput": "2",
                "costPer1MOutput": "2",
                "conditions": {"minTokens": 500, "requestPattern": "code"},
            },
            {
                "name": "small",
                "provider": "self-hosted",
                "model": "llama-8b",
                "endpoint": "https://small.example/v1",
                "priority": 1,
            },
        ],
    }


def test_workload_intelligence_by_blocks() -> None:
    conversion = done("""
apiVersion: tensor-fusion.ai/v1
kind: WorkloadIntelligence
metadata: {name: w, namespace: tensor-fusion-sys}
spec:
  vectorDB: {type: qdrant, endpoint: "http://q:6333", collection: c}
  embedding: {model: all-MiniLM-L6-v2, features: [framework_detector]}
  models:
    profiler: {enabled: true, model: random-forest, updateInterval: 1h, minSamples: 200}
    loadForecasting: {enabled: false, model: lstm, lookbackWindow: 7d, forecastHorizon: 24h}
    performancePrediction: {enabled: true, minSamples: 100, confidence: 0.8}
    optimalPlacement: {enabled: true, algorithm: ppo, explorationRate: 0.1}
    classification: {enabled: true, model: bert-classifier, classes: [training, inference]}
  prediction:
    enabled: true
    thresholds: {fallbackToDefault: true}
    caching: {ttl: 5m}
    autoApply: {enabled: true, dryRun: true, namespaces: [team-red]}
  training: {enabled: true, schedule: "0 3 * * *", dataRetention: 30d}
  feedback: {enabled: true, collectMetrics: [latency], metricsWindow: 1h,
             comparison: {deviationThreshold: 0.2, alertOnDeviation: true}}
""")
    assert conversion.refusals == ()
    assert conversion.warnings == (
        "metadata.namespace: tensor-fusion-sys is ignored: WorkloadIntelligence is cluster-scoped",
    )
    assert conversion.document["metadata"] == {"name": "w"}
    assert conversion.document["spec"] == {
        "vectorDBConfig": {
            "type": "qdrant",
            "endpoint": "http://q:6333",
            "collectionName": "c",
            "vectorDimension": 384,
        },
        "featureExtractors": ["framework_detector"],
        "lookback": "7d",
        "forecastHorizon": "24h",
        "confidenceThreshold": "0.8",
        "enablePrediction": True,
        "targetNamespaces": ["team-red"],
        "autoApply": {"enabled": True, "dryRun": True},
        "feedback": {"deviationThresholdPercent": 20},
        "modelTraining": {
            "schedule": "0 3 * * *",
            "dataRetention": "30d",
            "minSamples": 100,
            "models": [
                {
                    "name": "gradient-boosting-regressor",
                    "enabled": True,
                    "hyperparameters": {"profiler.model": "random-forest", "profiler.updateInterval": "1h"},
                },
                {
                    "name": "lstm-forecaster",
                    "enabled": False,
                    "hyperparameters": {"loadForecasting.model": "lstm"},
                },
                {
                    "name": "rl-scheduler",
                    "enabled": True,
                    "hyperparameters": {
                        "optimalPlacement.algorithm": "ppo",
                        "optimalPlacement.explorationRate": "0.1",
                    },
                },
                {
                    "name": "transformer-classifier",
                    "enabled": True,
                    "hyperparameters": {
                        "classification.model": "bert-classifier",
                        "classification.classes": "training,inference",
                    },
                },
            ],
        },
    }


def test_hints_about_one_workload_become_its_profile() -> None:
    conversion = done("""
apiVersion: tensor-fusion.ai/v1
kind: WorkloadIntelligence
metadata: {name: chat, namespace: team}
spec:
  workloadType: inference
  modelSize: 7B
  parameters: {batchSize: 8}
  targetMetrics: {p99Latency: 100ms}
""")
    assert conversion.document == {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "WorkloadProfile",
        "metadata": {
            "name": "chat",
            "namespace": "team",
            "annotations": {
                "tensor-fusion.ai/workload-hints": '{"modelSize": "7B", "parameters": {"batchSize": 8}, '
                '"targetMetrics": {"p99Latency": "100ms"}, "workloadType": "inference"}'
            },
        },
        "spec": {},
    }
    assert "makes no predictions" in conversion.warnings[0]


def test_a_source_of_machines_with_flat_names() -> None:
    found = converted("""
apiVersion: tensor-fusion.ai/v1
kind: AzureGPUSource
metadata: {name: burst}
spec:
  subscriptionId: s
  location: eastus
  resourceGroup: rg
  vmSize: Standard_NC24ads_A100_v4
  priority: Spot
  maxPrice: -1
  evictionPolicy: Delete
  minInstances: 0
  maxInstances: 10
  targetUtilization: 75
  scaleUpThreshold: 80
  scaleDownThreshold: 0.3
  cooldownPeriod: 5m
  maxMonthlyCost: 5000
  enableCostAlerts: true
  costAlertThreshold: 80
  virtualNetwork: v
  subnet: n
  networkSecurityGroup: g
  autoProvision: true
  healthCheckInterval: 30s
  healthCheckTimeout: 10s
  unhealthyThreshold: 3
  targetGPUPool: shared
  tags: {a: b}
  schedule:
    scaleUp: [{cron: "0 8 * * 1-5", instances: 4}]
    scaleDown: [{cron: "0 18 * * 1-5", instances: 0}]
""")
    assert found["spec"] == {
        "sourceType": "vm",
        "subscriptionID": "s",
        "region": "eastus",
        "vm": {
            "resourceGroup": "rg",
            "vmSizes": ["Standard_NC24ads_A100_v4"],
            "priority": "Spot",
            "maxPrice": "-1",
            "evictionPolicy": "Delete",
            "virtualNetwork": "v",
            "subnet": "n",
            "networkSecurityGroup": "g",
            "tags": {"a": "b"},
            "healthCheck": {"interval": "30s", "timeout": "10s", "unhealthyThreshold": 3},
        },
        "scaling": {
            "targetGPUPool": "shared",
            "minInstances": 0,
            "maxInstances": 10,
            "targetUtilization": 0.75,
            "scaleUpThreshold": 0.8,
            "scaleDownThreshold": 0.3,
            "cooldownPeriod": "5m",
            "schedule": [
                {"cron": "0 8 * * 1-5", "minInstances": 4},
                {"cron": "0 18 * * 1-5", "minInstances": 0},
            ],
        },
        "cost": {"maxMonthlyCost": "5000", "alertThreshold": 0.8},
    }


def test_a_source_over_a_managed_cluster_with_nested_names() -> None:
    found = converted("""
apiVersion: tensor-fusion.ai/v1
kind: AzureGPUSource
metadata: {name: aks, namespace: x}
spec:
  credentials: {type: service-principal, subscriptionId: s, tenantId: t, clientId: c,
                clientSecretRef: {name: n, namespace: x, key: k}}
  location: eastus
  aksCluster: {resourceGroup: rg, clusterName: prod, nodePoolName: gpu, autoDiscovery: true, syncInterval: 5m}
  crossSubscriptionScan: false
  arbitrage: {enabled: false}
  monitoring: {enabled: true}
  resourceMapping: {gpuModels: [{azureSKU: Standard_NC24ads_A100_v4, gpuModel: A100, vramGB: 80, tflops: 312, count: 1}]}
""")
    assert found["metadata"] == {
        "name": "aks",
        "annotations": {"tensor-fusion.ai/aks-resource-group": "rg", "tensor-fusion.ai/aks-node-pool": "gpu"},
    }
    assert found["spec"] == {
        "sourceType": "aks",
        "subscriptionID": "s",
        "region": "eastus",
        "aksClusterName": "prod",
        "syncInterval": "5m",
        "auth": {
            "method": "servicePrincipal",
            "servicePrincipal": {
                "tenantID": "t",
                "clientID": "c",
                "clientSecret": {"name": "n", "namespace": "x", "key": "k"},
            },
        },
        "availableModels": [
            {"modelName": "A100", "sku": "Standard_NC24ads_A100_v4", "tflops": 312, "vram": "80Gi"},
        ],
    }


def test_a_quota_with_hard_ceilings() -> None:
    found = converted("""
apiVersion: tensor-fusion.ai/v1
kind: GPUResourceQuota
metadata: {name: q}
spec: {hard: {tflops: "200", vram: 80Gi}}
""")
    amounts = {"tflops": "200", "vram": "80Gi"}
    assert found["spec"] == {"total": {"requests": amounts, "limits": amounts}}


def test_a_deployment_with_older_annotations_and_fractional_resources() -> None:
    found = converted("""
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  template:
    metadata:
      annotations:
        tensor-fusion.ai/enabled: "true"
        tensor-fusion.ai/pool-name: shared
        tensor-fusion.ai/tflops: "100"
        tensor-fusion.ai/tflops-limit: "200"
    spec:
      containers:
      - {name: log, image: l}
      - name: app
        image: a
        resources: {limits: {tensor-fusion.ai/vram: 8Gi, cpu: "1"}, requests: {tensor-fusion.ai/vram: 4Gi}}
""")
    template = found["spec"]["template"]
    assert template["metadata"] == {
        "labels": {"tensor-fusion.ai/enabled": "true"},
        "annotations": {
            "tensor-fusion.ai/gpupool": "shared",
            "tensor-fusion.ai/tflops-request": "100",
            "tensor-fusion.ai/tflops-limit": "200",
            "tensor-fusion.ai/vram-request": "4Gi",
            "tensor-fusion.ai/vram-limit": "8Gi",
            "tensor-fusion.ai/inject-container": "app",
        },
    }
    assert template["spec"]["containers"][1]["resources"] == {"limits": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("0.5", {"compute-percent-limit": "50", "compute-percent-request": "50"}), ("1", None), ("2", {"gpu-count": "2"})],
)
def test_a_fraction_of_a_device_is_percent_of_its_compute(value: str, wanted: dict[str, str] | None) -> None:
    conversion = done(f"""
apiVersion: v1
kind: Pod
metadata: {{name: p, annotations: {{tensor-fusion.ai/vgpu: "{value}"}}}}
spec: {{containers: [{{name: a, image: a}}]}}
""")
    found = {key.partition("/")[2]: one for key, one in conversion.document["metadata"]["annotations"].items()}
    whole = {"compute-percent-limit": "100", "compute-percent-request": "100"}
    assert found == (whole if wanted is None else whole | wanted)
    assert "says nothing about memory" in conversion.warnings[0]


REFUSED = {
    "a strategy with more": (
        "{kind: LLMRoute, spec: {strategy: {type: cost, magic: 1}}}",
        "spec.strategy.magic: wanted only type, timeout and retries, found 1",
    ),
    "a strategy that nobody knows": (
        "{kind: LLMRoute, spec: {strategy: {type: best}}}",
        (
            "spec.strategy.type: wanted cost-optimized, latency-optimized, round-robin, weighted, priority or loadtest, "
            "found best"
        ),
    ),
    "both spellings with different values": (
        "{kind: LLMRoute, spec: {budget: {daily: 1, dailyLimit: '2'}}}",
        "spec.budget.dailyLimit: wanted one value, spec.budget.daily says 1, found 2",
    ),
    "an unknown field with the nearest": (
        "{kind: LLMRoute, spec: {target: []}}",
        "spec.target: wanted targets (did you mean it?), found an unknown field",
    ),
    "a quota of examples": (
        "{kind: GPUResourceQuota, spec: {burst: {maxBurstGPU: 2}}}",
        "spec.burst: wanted it unset: a quota has total and single ceilings only, found {maxBurstGPU}",
    ),
    "several devices of a machine": (
        (
            "{kind: AzureGPUSource, spec: {resourceMapping: {gpuModels: "
            "[{azureSKU: s, gpuModel: g, vramGB: 80, tflops: 1, count: 8}]}}}"
        ),
        "spec.resourceMapping.gpuModels[0].count: wanted 1: availableModels speaks of one device, found 8",
    ),
    "two workspaces": (
        "{kind: AzureGPUSource, spec: {azureFoundry: {workspaces: [a, b]}}}",
        (
            "spec.azureFoundry.workspaces: wanted one workspace with its endpoint: make one source for each, "
            "found a list of 2"
        ),
    ),
    "two sources in one": (
        "{kind: AzureGPUSource, spec: {aksClusterName: a, foundryEndpoint: 'https://f'}}",
        "spec.sourceType: wanted one source for each of aks and foundry, found nothing",
    ),
    "a kind of another version": (
        "{kind: GPUPol, spec: {}}",
        "kind: wanted GPUPool (did you mean it?), found GPUPol, which this version does not have",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_said_is_refused_with_path_wanted_and_found(name: str) -> None:
    text, line = REFUSED[name]
    document = {"apiVersion": "tensor-fusion.ai/v1", "metadata": {"name": "x"}, **yaml.safe_load(text)}
    assert line in [str(one) for one in convert(document).refusals]


def test_labels_at_the_wrong_level_of_a_template_are_named() -> None:
    assert refusal("""
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec: {template: {labels: {tensor-fusion.ai/enabled: "true"}, metadata: {}}}
""") == ["spec.template.labels: wanted labels under spec.template.metadata.labels, found {tensor-fusion.ai/enabled}"]


def test_kinds_of_others_pass_through() -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    conversion = convert(document)
    assert (conversion.document, conversion.rewrites, conversion.refusals) == (document, (), ())
