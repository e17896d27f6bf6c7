"""Our kinds as CustomResourceDefinitions (apiextensions.k8s.io/v1), generated from their types.

``config/crds`` holds the same as YAML for real clusters; ``tools/generate_crds.py`` writes it and a test compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tensorfusion.model import (
    azure_source,
    cluster,
    cohort,
    connection,
    gpu,
    gpu_node,
    gpu_pool,
    intelligence,
    llm_key,
    llm_route,
    node_claim,
    node_class,
    provider_config,
    quota,
    template,
    workload,
)
from tensorfusion.model import resources as r
from tensorfusion.model.meta import Object
from tensorfusion.model.resources import Resource
from tensorfusion.model.rules import Cel, Column
from tensorfusion.model.schema import schema_of

_ENVELOPE = {
    "apiVersion": {"type": "string", "description": "Group and version of the object's form."},
    "kind": {"type": "string", "description": "Kind of the object."},
    "metadata": {"type": "object"},
}


@dataclass(frozen=True, slots=True)
class CustomKind:
    """One kind of ours: where it lives, its type, and its columns in ``kubectl get``."""

    resource: Resource
    type: type[Object]
    columns: tuple[Column, ...]
    longest_name: int | None = None
    """Characters of the name, where something else has to hold it; None where Kubernetes' own rule is enough."""
    cel: tuple[Cel, ...] = ()
    """Rules that tie the spec to the object's name."""


KINDS: Mapping[str, CustomKind] = {
    kind.resource.kind: kind
    for kind in (
        CustomKind(r.GPUS, gpu.GPU, gpu.COLUMNS),
        CustomKind(r.GPU_NODES, gpu_node.GPUNode, gpu_node.COLUMNS),
        CustomKind(r.GPU_NODE_CLAIMS, node_claim.GPUNodeClaim, node_claim.COLUMNS),
        CustomKind(r.GPU_NODE_CLASSES, node_class.GPUNodeClass, node_class.COLUMNS),
        CustomKind(r.GPU_POOLS, gpu_pool.GPUPool, gpu_pool.COLUMNS, longest_name=63),
        CustomKind(r.GPU_RESOURCE_QUOTAS, quota.GPUResourceQuota, quota.COLUMNS),
        CustomKind(r.GPU_COHORTS, cohort.GPUCohort, cohort.COLUMNS, longest_name=63),
        CustomKind(r.PROVIDER_CONFIGS, provider_config.ProviderConfig, provider_config.COLUMNS),
        CustomKind(r.SCHEDULING_CONFIG_TEMPLATES, template.SchedulingConfigTemplate, template.COLUMNS),
        CustomKind(r.TENSOR_FUSION_CLUSTERS, cluster.TensorFusionCluster, cluster.COLUMNS, cel=cluster.NAME_RULES),
        CustomKind(r.TENSOR_FUSION_CONNECTIONS, connection.TensorFusionConnection, connection.COLUMNS),
        CustomKind(r.TENSOR_FUSION_WORKLOADS, workload.TensorFusionWorkload, workload.WORKLOAD_COLUMNS),
        CustomKind(r.WORKLOAD_PROFILES, workload.WorkloadProfile, workload.PROFILE_COLUMNS),
        CustomKind(r.LLM_ROUTES, llm_route.LLMRoute, llm_route.COLUMNS),
        CustomKind(r.LLM_KEYS, llm_key.LLMKey, llm_key.COLUMNS),
        CustomKind(r.WORKLOAD_INTELLIGENCES, intelligence.WorkloadIntelligence, intelligence.COLUMNS),
        CustomKind(r.AZURE_GPU_SOURCES, azure_source.AzureGPUSource, azure_source.COLUMNS),
    )
}
"""Our kinds by their name, such as ``GPUPool``."""


def crd(kind: str) -> dict[str, Any]:  # Any: JSON
    """The CustomResourceDefinition of one of our kinds, as JSON."""
    custom = KINDS[kind]
    resource = custom.resource
    schema = schema_of(custom.type, skip=frozenset(_ENVELOPE))
    schema["properties"] = _ENVELOPE | schema["properties"]
    named = [{"rule": cel.rule, "message": cel.message} for cel in custom.cel]
    if custom.longest_name is not None:
        rule = f"size(self.metadata.name) <= {custom.longest_name}"
        message = f"the name has to fit into a label: at most {custom.longest_name} characters"
        named.append({"rule": rule, "message": message})
    if named:
        schema["x-kubernetes-validations"] = named
    version: dict[str, Any] = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    if "status" in custom.type.__struct_fields__:
        version["subresources"] = {"status": {}}
    if resource is r.TENSOR_FUSION_WORKLOADS:
        version["subresources"]["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.workerCount",
        }
    if custom.columns:
        version["additionalPrinterColumns"] = [
            {"name": column.name, "type": column.type, "jsonPath": column.path} for column in custom.columns
        ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.id},
        "spec": {
            "group": resource.group,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
            },
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "versions": [version],
        },
    }


def all_crds() -> list[dict[str, Any]]:  # Any: JSON
    """The CustomResourceDefinitions of all our kinds."""
    return [crd(kind) for kind in KINDS]
