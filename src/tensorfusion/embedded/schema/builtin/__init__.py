"""Rules of built-in kinds that OpenAPI does not have and a real server refuses, by ``Resource.id``.

A kind without an entry has only the rules of the facts. Each check gets the decoded object and, on an update, the one
it replaces; it adds to the list of problems and changes nothing.
"""

from collections.abc import Callable, Mapping

from tensorfusion.embedded.schema.builtin import (
    budgets,
    core,
    devices,
    endpoints,
    jobs,
    networks,
    pods,
    services,
    statuses,
    storage,
    webhooks,
    workloads,
)
from tensorfusion.embedded.schema.definitions import check_definition
from tensorfusion.embedded.schema.path import Problem
from tensorfusion.model.meta import Raw

ObjectCheck = Callable[[Raw, Raw | None, list[Problem]], None]

StatusCheck = Callable[[Raw, Raw, list[Problem]], None]

CHECKS: Mapping[str, ObjectCheck] = {
    "pods": pods.check_pod,
    "services": services.check_service,
    "endpoints": endpoints.check_endpoints,
    "nodes": core.check_node,
    "namespaces": core.check_namespace,
    "configmaps": core.check_config_map,
    "secrets": core.check_secret,
    "events": core.check_event,
    "events.events.k8s.io": core.check_new_event,
    "deployments.apps": workloads.check_deployment,
    "replicasets.apps": workloads.check_replica_set,
    "statefulsets.apps": workloads.check_stateful_set,
    "daemonsets.apps": workloads.check_daemon_set,
    "controllerrevisions.apps": core.check_controller_revision,
    "podtemplates": core.check_pod_template,
    "jobs.batch": jobs.check_job,
    "cronjobs.batch": jobs.check_cron_job,
    "poddisruptionbudgets.policy": budgets.check_disruption_budget,
    "resourcequotas": budgets.check_quota,
    "limitranges": budgets.check_limit_range,
    "persistentvolumeclaims": storage.check_claim,
    "persistentvolumes": storage.check_volume,
    "storageclasses.storage.k8s.io": storage.check_storage_class,
    "ingresses.networking.k8s.io": networks.check_ingress,
    "ingressclasses.networking.k8s.io": core.check_ingress_class,
    "networkpolicies.networking.k8s.io": networks.check_network_policy,
    "endpointslices.discovery.k8s.io": networks.check_endpoint_slice,
    "horizontalpodautoscalers.autoscaling": networks.check_autoscaler,
    "runtimeclasses.node.k8s.io": core.check_runtime_class,
    "resourceslices.resource.k8s.io": devices.check_resource_slice,
    "resourceclaims.resource.k8s.io": devices.check_resource_claim,
    "resourceclaimtemplates.resource.k8s.io": devices.check_claim_template,
    "priorityclasses.scheduling.k8s.io": core.check_priority_class,
    "roles.rbac.authorization.k8s.io": core.check_role,
    "clusterroles.rbac.authorization.k8s.io": core.check_cluster_role,
    "rolebindings.rbac.authorization.k8s.io": core.check_role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": core.check_cluster_role_binding,
    "customresourcedefinitions.apiextensions.k8s.io": check_definition,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": webhooks.check_webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": webhooks.check_webhooks,
}

STATUS_CHECKS: Mapping[str, StatusCheck] = {
    "pods": statuses.check_pod_status,
    "services": statuses.check_service_status,
    "nodes": statuses.check_node_status,
    "namespaces": statuses.check_namespace_status,
    "resourcequotas": statuses.check_quota_status,
    "persistentvolumeclaims": statuses.check_claim_status,
    "deployments.apps": statuses.check_deployment_status,
    "replicasets.apps": statuses.check_replica_set_status,
    "statefulsets.apps": statuses.check_stateful_set_status,
    "daemonsets.apps": statuses.check_daemon_set_status,
    "jobs.batch": statuses.check_job_status,
    "poddisruptionbudgets.policy": statuses.check_budget_status,
    "ingresses.networking.k8s.io": statuses.check_ingress_status,
    "horizontalpodautoscalers.autoscaling": statuses.check_autoscaler_status,
}

ALWAYS_SPEC = frozenset(
    {"deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch", "cronjobs.batch"}
)
"""Kinds whose spec gets its defaults, and is refused for what it lacks, even where an object has none."""
