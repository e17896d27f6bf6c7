"""The generated CustomResourceDefinitions on a real kube-apiserver: accepted, and behaving as written.

Skipped where ``make kube-assets`` has not been run: the control plane is found through KUBEBUILDER_ASSETS.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tensorfusion.model.crd import all_crds
from tensorfusion.model.resources import GROUP

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent"))
pytestmark = [
    pytest.mark.skipif(not (ASSETS / "kube-apiserver").exists(), reason="no control plane: run make kube-assets"),
    pytest.mark.xdist_group("control-plane"),
]

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl against a fresh API server that has our definitions."""
    from tensorfusion.testing.control_plane import control_plane

    folder = tmp_path_factory.mktemp("plane")
    with control_plane(ASSETS, folder) as plane:

        def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(ASSETS / "kubectl"), "--kubeconfig", str(plane.kubeconfig), *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                env={**os.environ, "HOME": str(folder)},
            )

        applied = run("create", "-f", "-", stdin=yaml.safe_dump_all(all_crds()))
        assert applied.returncode == 0, applied.stderr
        waited = run("wait", "--for=condition=Established", "--timeout=90s", "crd", "--all")
        assert waited.returncode == 0, waited.stderr
        kinds = {crd["spec"]["names"]["kind"] for crd in all_crds()}
        while not kinds <= set(run("api-resources", f"--api-group={GROUP}", "--no-headers").stdout.split()):
            pass  # discovery follows a moment later; the time of a test ends this
        yield run


def obj(kind: str, name: str = "x", **parts: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, **parts}


def stored(kubectl: Kubectl, manifest: dict[str, Any]) -> dict[str, Any]:
    done = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(manifest))
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_defaults_appear_where_their_parent_is_stated(kubectl: Kubectl) -> None:
    pool = stored(
        kubectl,
        obj(
            "GPUPool",
            spec={
                "capacityConfig": {"oversubscription": {}},
                "nodeManagerConfig": {"nodeCompaction": {"defrag": {"timezone": "UTC"}}},
                "componentConfig": {"hypervisor": {}},
                "qosConfig": {"pricing": [{"qos": "high", "requests": {}}]},
            },
        ),
    )["spec"]
    assert pool["capacityConfig"]["oversubscription"] == {
        "vramExpandToHostMem": 50,
        "vramExpandToHostDisk": 70,
        "tflopsOversellRatio": 500,
    }
    assert pool["nodeManagerConfig"]["provisioningMode"] == "AutoSelect"
    assert pool["nodeManagerConfig"]["nodeCompaction"]["period"] == "5m"
    assert pool["nodeManagerConfig"]["nodeCompaction"]["defrag"] == {
        "enabled": False,
        "evictedPodMarkerTTL": "never",
        "maxDuration": "2h",
        "schedule": "0 3 * * *",
        "sourceNodeMarkerTTL": "30m",
        "timezone": "UTC",
        "utilizationThresholdPercent": 40,
    }
    assert pool["componentConfig"]["hypervisor"] == {"portNumber": 8000}
    assert pool["qosConfig"]["pricing"][0]["requests"]["perFP16TFlopsPerHour"] == "$0.0069228"


def test_an_empty_pool_stays_empty(kubectl: Kubectl) -> None:
    assert stored(kubectl, obj("GPUPool", spec={}))["spec"] == {}


def test_an_update_switch_that_is_not_set_stays_unset(kubectl: Kubectl) -> None:
    policy = {"autoUpdate": True, "batchInterval": "5m", "batchPercentage": 20, "maxDuration": "10m"}
    policy["maintenanceWindow"] = {"includes": ["1 1 * * *"]}
    pool = stored(kubectl, obj("GPUPool", spec={"nodeManagerConfig": {"nodePoolRollingUpdatePolicy": policy}}))
    assert pool["spec"]["nodeManagerConfig"]["nodePoolRollingUpdatePolicy"] == policy


def test_quota_and_template_defaults(kubectl: Kubectl) -> None:
    quota = stored(kubectl, obj("GPUResourceQuota", spec={"total": {"requests": {"tflops": 100}}}))
    assert quota["spec"]["total"] == {
        "alertThresholdPercent": 95,
        "maxWorkers": 32768,
        "requests": {"tflops": 100},
    }
    template = stored(
        kubectl, obj("SchedulingConfigTemplate", spec={"dra": {"enable": True}, "placement": {"mode": "CompactFirst"}})
    )
    assert template["spec"] == {
        "dra": {"enable": True, "resourceClaimTemplateName": "tensor-fusion-gpu-template"},
        "placement": {"allowUsingLocalGPU": True, "mode": "CompactFirst"},
    }
    assert stored(kubectl, obj("WorkloadProfile", spec={}))["spec"] == {"isolation": "soft"}


SEED_002_PROVISIONER = {
    "gpuNodeLabels": {"tensor-fusion.ai/arch": "Ampere", "tensor-fusion.ai/vendor": "nvidia"},
    "gpuNodeAnnotations": {"tensor-fusion.ai/provisioned": "true"},
    "gpuRequirements": [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand", "spot"]},
        {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6.xlarge", "g6.12xlarge"]},
        {"key": "topology.kubernetes.io/region", "operator": "In", "values": ["us-east-1"]},
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
    ],
    "gpuTaints": [{"effect": "NoSchedule", "key": "group", "value": "gpu"}],
    "nodeClass": "tf-node-class",
    "karpenterNodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "own", "version": "v1"},
}


def test_what_the_deployment_guide_writes_is_kept_as_it_is(kubectl: Kubectl) -> None:
    wanted = {
        "provisioningMode": "Provisioned",
        "nodeProvisioner": SEED_002_PROVISIONER,
        "nodeCompaction": {"period": "5m"},
    }
    ratios = {"tflopsOversellRatio": 300, "vramExpandToHostMem": 40, "vramExpandToHostDisk": 20}
    spec = {"capacityConfig": {"oversubscription": ratios}, "nodeManagerConfig": wanted}
    kept = stored(kubectl, obj("GPUPool", spec=spec))["spec"]
    assert kept["capacityConfig"]["oversubscription"] == ratios
    assert {key: kept["nodeManagerConfig"][key] for key in wanted} == wanted


def test_a_kind_without_status_keeps_none(kubectl: Kubectl) -> None:
    done = kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(obj("WorkloadProfile", "bare", spec={})))
    assert done.returncode == 0, done.stderr
    patch = ("patch", "workloadprofile", "bare", "--subresource=status", "--type=merge", "-o", "json", "-p")
    patched = kubectl(*patch, json.dumps({"status": {"phase": "Running"}}))
    assert json.loads(patched.stdout).get("status", {}) == {}


@pytest.mark.parametrize("value", [100, "100", "16Gi", "0.5", ".5", "500m", "1e3", "+1"])
def test_quantities_are_numbers_or_strings(kubectl: Kubectl, value: object) -> None:
    stored(kubectl, obj("GPUResourceQuota", spec={"total": {"requests": {"vram": value}}}))


NODES = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}
TEMPLATE = {"id": "a", "name": "1g.10gb", "memoryGigabytes": 10, "computePercent": "14.2857"}
PROVIDER = {"vendor": "NVIDIA", "images": {"middleware": "m"}}
TARGET = {"name": "a", "provider": "openai", "model": "gpt-4o"}
AZURE = {"subscriptionID": "s", "region": "eastus"}
VM = {"resourceGroup": "rg", "vmSizes": ["Standard_NC24ads_A100_v4"]}
SCALING = {"targetGPUPool": "p", "maxInstances": 4}
AZURE_VM = AZURE | {"sourceType": "vm", "vm": VM, "scaling": SCALING}
BOTH = {"tflops": "1", "compute": "50"}
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("GPUPool", {"capacityConfig": {"oversubscription": {"tflopsOversellRatio": 99}}}, "greater than or equal to 100"),
    ("GPUPool", {"capacityConfig": {"oversubscription": {"vramExpandToHostMem": 101}}}, "less than or equal to 100"),
    ("GPUPool", {"nodeManagerConfig": {"provisioningMode": "Magic"}}, "Unsupported value"),
    ("GPUPool", {"nodeManagerConfig": {"nodeCompaction": {"defrag": {}}}}, "timezone"),
    ("GPUPool", {"nodeManagerConfig": {"nodeSelector": NODES, "nodeProvisioner": {}}}, "exclude each other"),
    ("GPUPool", {"nodeManagerConfig": {"nodeSelector": {}}}, "nodeSelectorTerms: Required"),
    ("GPUPool", {"nodeManagerConfig": {"nodeProvisioner": {"gpuRequirements": [{"key": "color"}]}}}, "Unsupported"),
    ("GPUPool", {"qosConfig": {"defaultQoS": "urgent"}}, "Unsupported value"),
    ("GPUPool", {"wrong": 1}, 'unknown field "spec.wrong"'),
    ("GPUResourceQuota", {"total": {"requests": {"vram": "16GiB"}}}, "should match"),
    ("GPUResourceQuota", {"total": {"requests": {"vram": -1}}}, "greater than or equal to 0"),
    ("GPUResourceQuota", {"total": {"requests": {"vram": 1.5}}}, "vram"),
    ("GPUResourceQuota", {"total": {"alertThresholdPercent": 101}}, "less than or equal to 100"),
    ("GPUResourceQuota", {"single": {"defaultRequests": BOTH}}, "exclude each other"),
    ("GPUResourceQuota", {"total": {"requests": {"compute": "50"}}}, "stated in tflops"),
    (
        "GPUResourceQuota",
        {"total": {"requests": {"tflops": "2k"}, "limits": {"tflops": 100}}},
        "limits.tflops has to be at least requests.tflops",
    ),
    (
        "GPUResourceQuota",
        {"single": {"defaultRequests": {"vram": "2Gi"}, "defaultLimits": {"vram": "1024Mi"}}},
        "defaultLimits.vram has to be at least defaultRequests.vram",
    ),
    ("SchedulingConfigTemplate", {"dra": {"enable": True}}, "spec.placement: Required"),
    ("SchedulingConfigTemplate", {"placement": {"mode": "Random"}}, "Unsupported value"),
    ("WorkloadProfile", {"gpuCount": 129}, "less than or equal to 128"),
    ("WorkloadProfile", {"gpuCount": 0}, "greater than or equal to 1"),
    ("WorkloadProfile", {"isolation": "none"}, "Unsupported value"),
    ("WorkloadProfile", {"resources": {"requests": {"tflops": 1}}}, "limits: Required"),
    ("WorkloadProfile", {"resources": {"requests": BOTH, "limits": {}}}, "exclude each other"),
    ("WorkloadProfile", {"gangScheduling": {"minMembers": 1}}, "0 (all replicas) or at least 2"),
    ("WorkloadProfile", {"replicas": 2, "gangScheduling": {"minMembers": 3}}, "must not exceed replicas"),
    ("GPUNodeClaim", {"tflopsOffered": 1, "vramOffered": "1Gi"}, "gpuDeviceOffered: Required"),
    ("GPUNodeClass", {"osImageType": "Own"}, "Unsupported value"),
    ("ProviderConfig", {"vendor": "NVIDIA", "images": {}}, "images.middleware: Required"),
    ("ProviderConfig", PROVIDER | {"virtualizationTemplates": [TEMPLATE, TEMPLATE]}, "Duplicate value"),
    ("TensorFusionCluster", {"gpuPools": [{"name": "a"}]}, "specTemplate: Required"),
    ("TensorFusionCluster", {"gpuPools": [{"name": "A", "specTemplate": {}}]}, "should match"),
    ("TensorFusionCluster", {"gpuPools": [{"name": "a", "specTemplate": {}}] * 2}, "Duplicate value"),
    ("TensorFusionCluster", {"computingVendor": {"type": "moon"}}, "Unsupported value"),
    ("TensorFusionConnection", {"workloadName": "w"}, "clientPod: Required"),
    ("LLMRoute", {"targets": []}, "should have at least 1 items"),
    ("LLMRoute", {"targets": [TARGET | {"enabled": False}]}, "at least one target must be enabled"),
    ("LLMRoute", {"targets": [TARGET, TARGET]}, "Duplicate value"),
    ("LLMRoute", {"targets": [TARGET], "budget": {"dailyLimit": "ten"}}, "should match"),
    ("LLMRoute", {"targets": [TARGET], "strategy": "cost"}, "Unsupported value"),
    ("LLMRoute", {"targets": [TARGET], "rollout": {"target": "a"}}, "rollout needs strategy weighted"),
    ("LLMRoute", {"targets": [TARGET], "strategy": "weighted", "rollout": {"target": "x"}}, "rollout needs strategy"),
    ("LLMRoute", {"targets": [TARGET], "aliases": ["chat@v2"]}, "should match"),
    ("WorkloadIntelligence", {"confidenceThreshold": "1.2"}, "should match"),
    ("WorkloadIntelligence", {"vectorDBConfig": {}}, "endpoint: Required"),
    ("AzureGPUSource", AZURE | {"sourceType": "foundry"}, "sourceType foundry needs foundryEndpoint"),
    ("AzureGPUSource", AZURE | {"sourceType": "aks"}, "sourceType aks needs aksClusterName"),
    ("AzureGPUSource", AZURE | {"sourceType": "vm"}, "sourceType vm needs vm and scaling"),
    ("AzureGPUSource", AZURE_VM | {"auth": {"method": "accessKey"}}, "method accessKey needs accessKeySecret"),
    ("AzureGPUSource", AZURE_VM | {"scaling": SCALING | {"minInstances": 9}}, "minInstances must not exceed"),
    ("AzureGPUSource", AZURE_VM | {"scaling": SCALING | {"scaleUpThreshold": 0.2}}, "must be below scaleUpThreshold"),
    ("AzureGPUSource", AZURE_VM | {"scaling": SCALING | {"scaleUpThreshold": 80}}, "less than or equal to 1"),
    ("AzureGPUSource", AZURE_VM | {"vm": VM | {"image": {"publisher": "canonical"}}}, "publisher, offer and sku"),
]


@pytest.mark.parametrize(("kind", "spec", "message"), BROKEN, ids=[f"{kind}-{text}" for kind, _, text in BROKEN])
def test_broken_specs_are_refused(kubectl: Kubectl, kind: str, spec: dict[str, Any], message: str) -> None:
    done = kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(obj(kind, spec=spec)))
    assert done.returncode != 0
    assert message in done.stderr


def test_a_source_of_machines_has_its_defaults(kubectl: Kubectl) -> None:
    spec = stored(kubectl, obj("AzureGPUSource", spec=AZURE_VM))["spec"]
    assert spec["vm"] == VM | {
        "evictionPolicy": "Delete",
        "maxPrice": "-1",
        "onDemandFallback": True,
        "osDiskGiB": 128,
        "priority": "Regular",
    }
    assert spec["scaling"] == SCALING | {
        "cooldownPeriod": "5m",
        "drainTimeout": "120s",
        "idleTimeout": "10m",
        "joinTimeout": "10m",
        "minInstances": 0,
        "scaleDownThreshold": 0.3,
        "scaleUpStep": 4,
        "scaleUpThreshold": 0.8,
    }
    assert spec["syncInterval"] == "30s"


def test_recommendations_are_applied_only_to_the_lower_classes(kubectl: Kubectl) -> None:
    spec = stored(kubectl, obj("WorkloadIntelligence", spec={"autoApply": {}}))["spec"]
    assert spec["autoApply"]["qosAllowed"] == ["low", "medium"]
    assert spec["autoApply"]["dryRun"] is True


def test_a_pools_name_has_to_fit_into_a_label(kubectl: Kubectl) -> None:
    stored(kubectl, obj("GPUPool", "p" * 63, spec={}))
    done = kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(obj("GPUPool", "p" * 64, spec={})))
    assert "at most 63 characters" in done.stderr


def test_a_percentage_beside_a_zero_tflops_is_allowed(kubectl: Kubectl) -> None:
    amounts = {"tflops": "0", "compute": "50", "vram": "1Gi"}
    stored(
        kubectl, obj("WorkloadProfile", spec={"resources": {"requests": amounts, "limits": {"tflops": 0} | amounts}})
    )


def test_a_device_is_created_bare_and_shown_by_its_columns(kubectl: Kubectl) -> None:
    created = kubectl("create", "-f", "-", stdin=json.dumps(obj("GPU", "gpu-1", status={"phase": "Running"})))
    assert created.returncode == 0, created.stderr
    amount = {"tflops": "312", "vram": "80Gi"}
    status = {
        "phase": "Running",
        "gpuModel": "NVIDIA A100-SXM4-80GB",
        "uuid": "GPU-1",
        "capacity": amount,
        "available": amount,
        "nodeSelector": {"kubernetes.io/hostname": "n"},
        "message": "managed",
    }
    partial = {key: value for key, value in status.items() if key != "message"}
    patch = ("patch", "gpu", "gpu-1", "--subresource=status", "--type=merge", "-p")
    refused = kubectl(*patch, json.dumps({"status": partial}))
    assert "status.message: Required" in refused.stderr
    assert kubectl(*patch, json.dumps({"status": status})).returncode == 0
    row = kubectl("get", "gpu", "gpu-1").stdout.splitlines()
    assert row[0].split("   ")[0] == "NAME"
    assert "NVIDIA A100-SXM4-80GB" in row[1]
    assert "80Gi" in row[1]


def test_a_pools_status_may_be_written_in_parts(kubectl: Kubectl) -> None:
    assert kubectl("create", "-f", "-", stdin=json.dumps(obj("GPUPool", "p", spec={}))).returncode == 0
    patch = ("patch", "gpupool", "p", "--subresource=status", "--type=merge", "-o", "json", "-p")
    done = kubectl(*patch, json.dumps({"status": {"totalGPUs": 3, "virtualAvailableVRAM": "-1Gi"}}))
    assert done.returncode == 0, done.stderr
    status = json.loads(done.stdout)["status"]
    assert status["phase"] == "Pending"
    assert status["readyNodes"] == 0
    assert status["componentStatus"] == {}


def test_explain_speaks_of_every_part(kubectl: Kubectl) -> None:
    told = kubectl("explain", "gpupool.spec.capacityConfig.oversubscription")
    assert told.returncode == 0, told.stderr
    assert "Virtual compute in percent of the physical compute." in told.stdout
