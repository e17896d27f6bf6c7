"""What the gateway reads of the kinds that a target may refer to. Read-only projections; never written back.

Source: core/v1 Secret and Service, discovery.k8s.io/v1 EndpointSlice.
"""

from typing import Final

import msgspec

from tensorfusion.model.meta import Object

SERVICE_NAME: Final = "kubernetes.io/service-name"
"""Label of an EndpointSlice: whose it is."""


class Secret(Object, frozen=True):
    """Values are in base64, as they come."""

    data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"Secret({self.key}, {len(self.data or ())} hidden)"


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    name: str = ""
    port: int = 0
    app_protocol: str | None = msgspec.field(default=None, name="appProtocol")


class ServiceSpec(msgspec.Struct, frozen=True, gc=False):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    ports: tuple[ServicePort, ...] | None = None

    @property
    def headless(self) -> bool:
        """It has no address of its own: its name stands for its endpoints."""
        return self.cluster_ip == "None"


class Service(Object, frozen=True):
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class EndpointConditions(msgspec.Struct, frozen=True, gc=False):
    """An unset ``ready`` is to be taken for True, says the API."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()

    @property
    def takes_requests(self) -> bool:
        """It is ready, and not on its way out: requests that it has may end, and no further ones come."""
        return self.conditions.ready is not False and not self.conditions.terminating

    @property
    def leaves(self) -> bool:
        """It is on its way out, and answers until it is gone."""
        return bool(self.conditions.terminating and self.conditions.serving)


class EndpointPort(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    port: int | None = None


class EndpointSlice(Object, frozen=True):
    address_type: str = msgspec.field(default="IPv4", name="addressType")
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None
