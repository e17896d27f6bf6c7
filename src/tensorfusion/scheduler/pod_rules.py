"""A pod's rules about other pods, read from its spec.

Apart from the other feeds because nearly every pod has none: the answer is None after a glance.
"""

from tensorfusion.model.core import Container, PodSpec
from tensorfusion.scheduling.pod_rules import EVERY_ADDRESS, HostPort, PodRules


def rules_of(spec: PodSpec) -> PodRules | None:
    """What the pod asks of the pods beside it; None where it asks for nothing."""
    ports = _host_ports(spec)
    if not ports:
        return None
    return PodRules(ports=ports)


def _host_ports(spec: PodSpec) -> tuple[HostPort, ...]:
    """The ports that the pod takes of its node: those of containers, and of init containers that stay.

    On the node's own network a container's port is the node's, whether the pod says so or not.
    """
    found: dict[HostPort, None] = {}
    for container in spec.containers:
        if container.ports:
            _add_ports(found, spec, container)
    for container in spec.init_containers:
        if container.ports and container.restart_policy == "Always":
            _add_ports(found, spec, container)
    return tuple(found)


def _add_ports(found: dict[HostPort, None], spec: PodSpec, container: Container) -> None:
    for port in container.ports:
        number = port.host_port or (port.container_port if spec.host_network else 0)
        if number > 0:
            found[HostPort(number, port.protocol or "TCP", port.host_ip or EVERY_ADDRESS)] = None
