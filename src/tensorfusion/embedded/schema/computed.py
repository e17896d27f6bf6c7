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


def allocatable(status: Raw) -> None:
    """A node that says only what it has can give all of it."""
    if "allocatable" not in status and status.get("capacity"):
        status["allocatable"] = dict(status["capacity"])


def definition_names(names: Raw) -> None:
    """The singular and the list kind of a custom resource follow from its kind."""
    kind = names.get("kind")
    if kind:
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind"):
            names["listKind"] = f"{kind}List"


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
    "PodSpec": (service_account,),
    "root Pod": (pod_ports_and_requests,),
    "ServicePort": (target_port,),
    "NodeStatus": (allocatable,),
    "CustomResourceDefinitionNames": (definition_names,),
    "root Secret": (secret_data,),
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
    }
)
