"""An address in the words of the cluster, to the endpoints that stand behind it. Pure.

``http://NAME:PORT`` is the Service NAME of the route's own namespace, ``http://NAME.NAMESPACE.svc:PORT`` (with whatever
domain behind it) that of any namespace, as the cluster's DNS has it. Where there is such a Service, each of its ready
endpoints is a replica; the rest of the URL stays. Where none is ready, those that leave and still answer are: better
than nobody, and what kube-proxy does. A Service without an address of its own (headless) passes no port on to another
one, so neither does this. Where there is no such Service, the address is left as it is; so is one with https://: its
certificate is of the name, not of the endpoints.

``gpuPool`` is every Service of the route's namespace with the label ``tensor-fusion.ai/gpupool: POOL``. What it serves
may be said in the annotation ``tensor-fusion.ai/models``, a list of names with commas between; without it, it serves
whatever is asked.

``azureGPUSource`` is the foundry's endpoint, or the Service ``NAME-vgpu-service`` of the managed cluster NAME.

Source: the platform's contract, 1.1; Kubernetes, "DNS for Services and Pods", "EndpointSlices", KEP-1669 (endpoints
that leave).
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from tensorfusion.gateway.objects.kinds import EndpointSlice, Service, ServicePort
from tensorfusion.model import keys
from tensorfusion.model.azure_source import AzureGPUSource, SourceType

MODELS: Final = f"{keys.DOMAIN}/models"
_ADDRESSES: Final = ("IPv4", "IPv6")
_HTTP_PORT: Final = 80
_AKS_PORT: Final = 8000
_PORT_NAMES: Final = ("http", "https", "openai")


def endpoint_of_source(source: AzureGPUSource) -> str:
    """The address that an AzureGPUSource stands for.

    Raises:
        ValueError: it has none.
    """
    name, spec = f"AzureGPUSource {source.metadata.name}", source.spec
    if spec is None or not spec.enabled:
        raise ValueError(f"{name} is not enabled")
    if spec.source_type is SourceType.FOUNDRY and spec.foundry_endpoint:
        return spec.foundry_endpoint
    if spec.source_type is SourceType.AKS and spec.aks_cluster_name:
        return f"http://{spec.aks_cluster_name}-vgpu-service:{_AKS_PORT}"
    raise ValueError(
        f"{name} is of type {spec.source_type} and brings nodes to a pool, no address: wanted foundry or aks, "
        "or gpuPool in the target"
    )


def service_named(endpoint: str, namespace: str) -> tuple[str, str] | None:
    """Namespace and name of the Service that an endpoint of a route in ``namespace`` may mean; None for no Service."""
    try:
        url = urlsplit(endpoint)
        host = url.hostname or ""
        _ = url.port
    except ValueError:
        return None
    if url.scheme != "http" or not host or ":" in host:
        return None
    labels = host.rstrip(".").split(".")
    if len(labels) == 1 and host != "localhost" and not host.isdigit():
        return namespace, host
    if len(labels) >= 3 and labels[2] == "svc":
        return labels[1], labels[0]
    return None


def replicas_of_endpoint(endpoint: str, service: Service, slices: Iterable[EndpointSlice]) -> tuple[str, ...]:
    """The URLs of the endpoints that an endpoint URL means; none where it must be left as it is.

    Raises:
        ValueError: the Service has no such port, or nobody behind it takes requests.
    """
    if service.spec.type == "ExternalName":
        return ()
    url = urlsplit(endpoint)
    number = url.port or _HTTP_PORT
    hosts = _Hosts()
    if service.spec.headless:
        hosts.take(service, slices, number=number)
        return hosts.urls(url)
    port = next((one for one in service.spec.ports or () if one.port == number), None)
    if port is None:
        known = ", ".join(str(one.port) for one in service.spec.ports or ()) or "none"
        raise ValueError(f"Service {service.key} has no port {number}: it has {known}")
    hosts.take(service, slices, port=port)
    return hosts.urls(url)


def replicas_of_pool(
    pool: str, model: str, namespace: str, found: Iterable[tuple[Service, Iterable[EndpointSlice]]]
) -> tuple[str, ...]:
    """The URLs of everything in a namespace that serves a model on a pool.

    Raises:
        ValueError: nobody does.
    """
    services = [(service, slices) for service, slices in found if serves(service, model)]
    if not services:
        raise ValueError(
            f"GPUPool {pool}: namespace {namespace} has no Service with the label {keys.GPU_POOL}: {pool} "
            f"that serves model {model!r}"
        )
    hosts = _Hosts()
    problems: list[str] = []
    for service, slices in services:
        try:
            hosts.take(service, slices, port=_port_of(service))
        except ValueError as error:
            problems.append(str(error))
    if not hosts.best:
        raise ValueError(f"GPUPool {pool}: {'; '.join(problems)}")
    return hosts.urls(urlsplit("http://pool"))


def serves(service: Service, model: str) -> bool:
    """Whether the Service says that it serves the model, or says nothing of models."""
    said = service.metadata.annotations.get(MODELS, "")
    names = [name.strip() for name in said.split(",") if name.strip()]
    return not names or model in names


def _port_of(service: Service) -> ServicePort:
    """The port for requests: the only one, or the one that its name tells. Raises ValueError."""
    ports = service.spec.ports or ()
    if len(ports) == 1:
        return ports[0]
    for name in _PORT_NAMES:
        for port in ports:
            if name in (port.name, port.app_protocol):
                return port
    raise ValueError(f"Service {service.key} has {len(ports)} ports: wanted one of them to be named http")


class _Hosts:
    """Hosts with ports: those that take requests, and those that leave and still answer."""

    def __init__(self) -> None:
        self._ready: set[str] = set()
        self._leaving: set[str] = set()

    @property
    def best(self) -> set[str]:
        """Those that take requests; where there are none, those that leave."""
        return self._ready or self._leaving

    def take(
        self, service: Service, slices: Iterable[EndpointSlice], *, port: ServicePort | None = None, number: int = 0
    ) -> None:
        """Those behind a ``port`` of the Service, or at this very ``number``.

        Raises:
            ValueError: nobody takes requests.
        """
        waiting = 0
        found = _Hosts()
        for one in slices:
            if one.address_type not in _ADDRESSES:
                continue
            numbers = [number] if port is None else _numbers(one, port)
            for endpoint in one.endpoints or ():
                hosts = [_host(address, each) for address in endpoint.addresses[:1] for each in numbers]
                if endpoint.takes_requests:
                    found._ready.update(hosts)
                else:
                    waiting += 1
                    if endpoint.leaves:
                        found._leaving.update(hosts)
        if not found.best:
            more = f" ({waiting} not ready)" if waiting else ""
            raise ValueError(f"Service {service.key} has no ready endpoint{more}")
        self._ready |= found._ready
        self._leaving |= found._leaving

    def urls(self, url: SplitResult) -> tuple[str, ...]:
        """The URL at each."""
        return tuple(url._replace(netloc=host).geturl() for host in sorted(self.best))


def _numbers(one: EndpointSlice, port: ServicePort) -> list[int]:
    """What a slice calls the port of its Service."""
    return [each.port for each in one.ports or () if (each.name or "") == port.name and each.port]


def _host(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
