"""Which addresses stand behind a Service: EndpointSlices and the older Endpoints. Pure.

Source: discovery.k8s.io/v1 EndpointSlice and core/v1 Endpoints as kube-controller-manager writes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tensorfusion.embedded.controllers.objects import owner_reference, safe_suffix
from tensorfusion.model.core import Node, Pod
from tensorfusion.model.meta import Object, Raw
from tensorfusion.model.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from tensorfusion.policy.ranking import pod_ready_since

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SLICES_MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS = "service.kubernetes.io/headless"
ENDPOINTS_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
ENDPOINTS_MANAGER = "endpoint-controller"
_ZONE = "topology.kubernetes.io/zone"
_PER_SLICE = 100
_MOST_ADDRESSES = 1000
_NO_ADDRESS = "None"


class ServicePort(msgspec.Struct, frozen=True):
    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    target: int | str = msgspec.field(default=0, name="targetPort")
    app_protocol: str | None = msgspec.field(default=None, name="appProtocol")


class ServiceSpec(msgspec.Struct, frozen=True):
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    type: str = "ClusterIP"
    publish_not_ready: bool = msgspec.field(default=False, name="publishNotReadyAddresses")


class Service(Object, frozen=True):
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == _NO_ADDRESS

    def selects(self, pod: Pod) -> bool:
        """A Service without a selector has its endpoints from somebody else."""
        selector = self.spec.selector
        return bool(selector) and (selector or {}).items() <= pod.metadata.labels.items()


class EndpointSlice(Object, frozen=True):
    endpoints: tuple[Raw, ...] | None = ()
    ports: tuple[Raw, ...] | None = ()


class Endpoints(Object, frozen=True):
    subsets: tuple[Raw, ...] | None = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """One pod behind a Service."""

    pod: Pod
    ready: bool
    serving: bool
    terminating: bool
    ports: tuple[tuple[str, int, str, str | None], ...]
    """Name, number, protocol and application protocol."""


def backends(service: Service, pods: Iterable[Pod]) -> list[Backend]:
    """The pods that a Service selects and that have an address, by name."""
    found = []
    for pod in sorted(pods, key=lambda each: each.metadata.name):
        if not service.selects(pod) or not pod.status.pod_ip or pod.finished:
            continue
        serving = pod_ready_since(pod) is not None
        terminating = pod.metadata.deleting
        ready = service.spec.publish_not_ready or (serving and not terminating)
        found.append(Backend(pod, ready, serving or service.spec.publish_not_ready, terminating, _ports(service, pod)))
    return found


def _ports(service: Service, pod: Pod) -> tuple[tuple[str, int, str, str | None], ...]:
    """The ports of the Service on one pod; a named target that the pod does not have is left out."""
    found = []
    for port in service.spec.ports:
        number = port.target or port.port
        if isinstance(number, str):
            named = (
                each.container_port
                for container in pod.spec.containers
                for each in container.ports
                if each.name == number and each.protocol == port.protocol
            )
            number = next(named, 0)
        if number:
            found.append((port.name, number, port.protocol, port.app_protocol))
    return tuple(found)


def slices_of(
    service: Service, found: Sequence[Backend], nodes: Mapping[str, Node], known: Sequence[EndpointSlice]
) -> list[Raw]:
    """The slices that a Service should have; pods stay in the slice of ``known`` that they are in."""
    by_ports: dict[tuple[tuple[str, int, str, str | None], ...], list[Backend]] = {}
    for backend in found:
        by_ports.setdefault(backend.ports, []).append(backend)
    names = iter(_names(service, known))
    slices = []
    for ports, group in sorted(by_ports.items(), key=lambda each: str(each[0])):
        for start in range(0, len(group), _PER_SLICE):
            part = [_endpoint(service, backend, nodes) for backend in group[start : start + _PER_SLICE]]
            slices.append(_slice(service, next(names), part, [_slice_port(port) for port in ports]))
    return slices or [_slice(service, next(names), None, None)]


def _names(service: Service, known: Sequence[EndpointSlice]) -> Iterable[str]:
    """Names of slices: those that exist, then new ones that are the same each time they are asked for."""
    used = sorted(each.metadata.name for each in known)
    yield from used
    number = 0
    while True:
        name = f"{service.metadata.name}-{safe_suffix(f'{service.metadata.uid}/{number}', 5)}"
        number += 1
        if name not in used:
            yield name


def _endpoint(service: Service, backend: Backend, nodes: Mapping[str, Node]) -> Raw:
    pod = backend.pod
    made: Raw = {
        "addresses": [pod.status.pod_ip],
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving,
            "terminating": backend.terminating,
        },
        "targetRef": _target(pod),
    }
    if pod.spec.node_name:
        made["nodeName"] = pod.spec.node_name
        node = nodes.get(pod.spec.node_name)
        if node is not None and _ZONE in node.metadata.labels:
            made["zone"] = node.metadata.labels[_ZONE]
    if _named(service, pod):
        made["hostname"] = pod.spec.hostname
    return made


def _named(service: Service, pod: Pod) -> bool:
    return bool(pod.spec.hostname) and pod.spec.subdomain == service.metadata.name


def _target(pod: Pod) -> Raw:
    meta = pod.metadata
    return {"kind": PODS.kind, "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}


def _slice_port(port: tuple[str, int, str, str | None]) -> Raw:
    name, number, protocol, application = port
    return {"name": name, "port": number, "protocol": protocol} | (
        {"appProtocol": application} if application is not None else {}
    )


def _slice(service: Service, name: str, endpoints: list[Raw] | None, ports: list[Raw] | None) -> Raw:
    headless = {_HEADLESS: ""} if service.headless else {}
    labels = {**service.metadata.labels, **headless, SERVICE_NAME: service.metadata.name, MANAGED_BY: SLICES_MANAGER}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "name": name,
            "generateName": f"{service.metadata.name}-",
            "labels": labels,
            "ownerReferences": [owner_reference(SERVICES, service.metadata)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }


def endpoints_of(service: Service, found: Sequence[Backend]) -> Raw:
    """The Endpoints object of a Service: pods with the same ports together, those that are going left out."""
    groups: dict[tuple[Any, ...], tuple[list[Raw], list[Raw]]] = {}  # Any: ports as they are compared
    usable = [backend for backend in found if not backend.terminating or service.spec.publish_not_ready]
    for backend in usable[:_MOST_ADDRESSES]:
        good, bad = groups.setdefault(backend.ports, ([], []))
        (good if backend.ready else bad).append(_address(service, backend.pod))
    subsets = []
    for ports, (good, bad) in sorted(groups.items(), key=lambda each: str(each[0])):
        subset: Raw = {"addresses": good} if good else {}
        if bad:
            subset["notReadyAddresses"] = bad
        if ports:
            subset["ports"] = [
                {name: value for name, value in _slice_port(port).items() if value not in (None, "")} for port in ports
            ]
        subsets.append(subset)
    headless = {_HEADLESS: ""} if service.headless else {}
    return {
        "apiVersion": ENDPOINTS.api_version,
        "kind": ENDPOINTS.kind,
        "metadata": {
            "name": service.metadata.name,
            "labels": {**service.metadata.labels, **headless, ENDPOINTS_MANAGED_BY: ENDPOINTS_MANAGER},
        },
        "subsets": subsets or None,
    }


def _address(service: Service, pod: Pod) -> Raw:
    made: Raw = {"ip": pod.status.pod_ip, "targetRef": _target(pod)}
    if pod.spec.node_name:
        made["nodeName"] = pod.spec.node_name
    if _named(service, pod):
        made["hostname"] = pod.spec.hostname
    return made
