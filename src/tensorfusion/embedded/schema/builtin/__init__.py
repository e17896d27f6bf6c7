"""Rules of built-in kinds that OpenAPI does not have and a real server refuses, by ``Resource.id``.

A kind without an entry has only the rules of the facts. Each check gets the decoded object and, on an update, the one
it replaces; it adds to the list of problems and changes nothing.
"""

from collections.abc import Callable, Mapping

from tensorfusion.embedded.schema.builtin import core, pods, services, webhooks, workloads
from tensorfusion.embedded.schema.definitions import check_definition
from tensorfusion.embedded.schema.path import Problem
from tensorfusion.model.meta import Raw

ObjectCheck = Callable[[Raw, Raw | None, list[Problem]], None]

CHECKS: Mapping[str, ObjectCheck] = {
    "pods": pods.check_pod,
    "services": services.check_service,
    "nodes": core.check_node,
    "configmaps": core.check_config_map,
    "secrets": core.check_secret,
    "events": core.check_event,
    "events.events.k8s.io": core.check_new_event,
    "deployments.apps": workloads.check_deployment,
    "replicasets.apps": workloads.check_replica_set,
    "priorityclasses.scheduling.k8s.io": core.check_priority_class,
    "rolebindings.rbac.authorization.k8s.io": core.check_role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": core.check_cluster_role_binding,
    "customresourcedefinitions.apiextensions.k8s.io": check_definition,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": webhooks.check_webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": webhooks.check_webhooks,
}
