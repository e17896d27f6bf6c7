"""Defaults that are functions of other fields. The facts name them (``computed``); here is how each is worked out.

Grouped by the structure that sees all it needs. Ports and requests are filled in for pods only, not for pod templates.

Source: kubernetes pkg/apis/core/v1/defaults.go, seen through a real server.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping

from tensorfusion.model.meta import Raw

Compute = Callable[[Raw], None]


def image_pull_policy(container: Raw) -> None:
    """``Always`` for the moving tag ``latest`` (also when no tag is given), else ``IfNotPresent``."""
    if "imagePullPolicy" not in container:
        image = container.get("image") or ""
        name, _, digest = image.partition("@")
        tag = name.rsplit("/", 1)[-1].partition(":")[2]
        latest = tag == "latest" or (not tag and not digest)
        container["imagePullPolicy"] = "Always" if latest else "IfNotPresent"


def grace_period(pod: Raw) -> None:
    """No time to end is negative: such a one is the shortest. Of pods only, templates keep what they say."""
    spec = pod.get("spec")
    if spec is not None and (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1


def without_closed_features(spec: Raw) -> None:
    """What belongs to features that are off is not kept.

    Source: feature gates ContainerRestartRules, ContainerStopSignals, HostnameOverride and ImageVolume of Kubernetes
    1.34.
    """
    spec.pop("hostnameOverride", None)
    for field in ("containers", "initContainers"):
        for container in spec.get(field, ()):
            if field == "containers" or container.get("restartPolicy", "Always") != "Always":
                container.pop("restartPolicy", None)
            if "lifecycle" in container:
                stop = container["lifecycle"].pop("stopSignal", None)
                if stop is not None and not container["lifecycle"]:
                    del container["lifecycle"]
    images = [volume.get("name") for volume in spec.get("volumes", ()) if "image" in volume]
    if images:
        spec["volumes"] = [volume for volume in spec["volumes"] if "image" not in volume]
        for container in _containers(spec):
            mounts = container.get("volumeMounts", ())
            kept = [mount for mount in mounts if mount.get("name") not in images]
            if len(kept) < len(mounts):
                container["volumeMounts"] = kept


def service_account(spec: Raw) -> None:
    """The old and the new name of the same field say the same."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def pod_ports_and_requests(pod: Raw) -> None:
    """Host ports under the host's network, and requests from limits, in every container."""
    spec = pod.get("spec")
    if spec is None:
        return
    host_network = spec.get("hostNetwork")
    for container in _containers(spec):
        if host_network:
            for port in container.get("ports", ()):
                port.setdefault("hostPort", port.get("containerPort", 0))
        requests_from_limits(container.get("resources"))
    if "resources" in spec:
        requests_from_limits(spec["resources"])


def requests_from_limits(resources: Raw | None) -> None:
    if resources and resources.get("limits"):
        requests = resources.setdefault("requests", {})
        for name, amount in resources["limits"].items():
            requests.setdefault(name, amount)


def target_port(port: Raw) -> None:
    if port.get("targetPort") in (None, 0, "") and "port" in port:
        port["targetPort"] = port["port"]


def session_affinity(spec: Raw) -> None:
    """How long a client stays with a pod is of no interest where it does not."""
    if spec.get("sessionAffinity", "None") == "None":
        spec.pop("sessionAffinityConfig", None)


def traffic_from_outside(spec: Raw) -> None:
    """Traffic for who is reached from outside may take any node, unless its author says otherwise."""
    kind = spec.get("type", "ClusterIP")
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"


def allocatable(status: Raw) -> None:
    """A node that says only what it has can give all of it."""
    if "allocatable" not in status and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])


def version_flags(version: Raw) -> None:
    """Both are always shown."""
    version.setdefault("served", False)
    version.setdefault("storage", False)


def definition_names(names: Raw) -> None:
    """The singular and the list kind of a custom resource follow from its kind."""
    kind = names.get("kind")
    if kind:
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind"):
            names["listKind"] = f"{kind}List"


def job(job: Raw) -> None:
    """A job's labels are its pods' unless it has its own; the rest follows from how it counts and retries.

    Only for jobs themselves: the template in a CronJob stays as it was written.
    """
    spec = job.get("spec")
    if spec is None:
        return
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    metadata = job.get("metadata")
    if labels and isinstance(metadata, dict) and not metadata.get("labels"):
        metadata["labels"] = labels  # the same ones: those that the registry adds are in both (see ``identify``)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", _ENDLESS if "backoffLimitPerIndex" in spec else 6)
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")


def limit_range_item(item: Raw) -> None:
    """Containers get what they may have at most unless told otherwise, and ask for what they get."""
    if item.get("type") != "Container":
        return
    default = {**(item.get("max") or {}), **(item.get("default") or {})}
    request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
    for field, amounts in (("default", default), ("defaultRequest", request)):
        if amounts:
            item[field] = amounts


def priority(priority_class: Raw) -> None:
    """A class of no stated priority has the one of pods without a class."""
    priority_class.setdefault("value", 0)


def whole_budget(budget: Raw) -> None:
    """A budget has a spec, if it says nothing."""
    budget.setdefault("spec", {})


def policy_types(spec: Raw) -> None:
    """A network policy is about some pods, about what comes in, and what goes out if it says anything of that."""
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def scaling_rules(behavior: Raw) -> None:
    """Growing is quick and immediate, shrinking may take everything away but waits for the cluster's own window."""
    up, down = behavior.get("scaleUp"), behavior.get("scaleDown")
    if up is not None:
        up.setdefault("stabilizationWindowSeconds", 0)
        up.setdefault("policies", [{"type": "Pods", "value": 4, "periodSeconds": 15}, dict(_ALL_AT_ONCE)])
    if down is not None:
        down.setdefault("policies", [dict(_ALL_AT_ONCE)])


_ALL_AT_ONCE: Raw = {"type": "Percent", "value": 100, "periodSeconds": 15}
_ENDLESS = (1 << 31) - 1


def secret_data(secret: Raw) -> None:
    """``stringData`` is a way to write ``data`` and is never kept."""
    plain = secret.pop("stringData", None)
    if plain:
        secret.setdefault("data", {}).update({key: b64encode(text.encode()).decode() for key, text in plain.items()})


def _containers(spec: Raw) -> Iterable[Raw]:
    yield from spec.get("containers", ())
    yield from spec.get("initContainers", ())


# By the short name of the structure; "root X" only where X is the whole object.
COMPUTED_BY_OWNER: Mapping[str, tuple[Compute, ...]] = {
    "Container": (image_pull_policy,),
    "PodSpec": (service_account, without_closed_features),
    "root Pod": (pod_ports_and_requests, grace_period),
    "ServicePort": (target_port,),
    "ServiceSpec": (session_affinity, traffic_from_outside),
    "NodeStatus": (allocatable,),
    "CustomResourceDefinitionNames": (definition_names,),
    "CustomResourceDefinitionVersion": (version_flags,),
    "root Secret": (secret_data,),
    "root Job": (job,),
    "root PriorityClass": (priority,),
    "root PodDisruptionBudget": (whole_budget,),
    "LimitRangeItem": (limit_range_item,),
    "NetworkPolicySpec": (policy_types,),
    "HorizontalPodAutoscalerBehavior": (scaling_rules,),
}

# Which facts the functions above answer, as (structure, field).
ANSWERED = frozenset(
    {
        ("Container", "imagePullPolicy"),
        ("ContainerPort", "hostPort"),
        ("ResourceRequirements", "requests"),
        ("PodSpec", "serviceAccount"),
        ("ServicePort", "targetPort"),
        ("NodeStatus", "allocatable"),
        ("CustomResourceDefinitionNames", "singular"),
        ("CustomResourceDefinitionNames", "listKind"),
        ("JobSpec", "completions"),
        ("JobSpec", "parallelism"),
        ("JobSpec", "backoffLimit"),
        ("JobSpec", "podReplacementPolicy"),
        ("LimitRangeItem", "default"),
        ("LimitRangeItem", "defaultRequest"),
        ("NetworkPolicySpec", "policyTypes"),
        ("HPAScalingRules", "policies"),
        ("HPAScalingRules", "stabilizationWindowSeconds"),
    }
)
