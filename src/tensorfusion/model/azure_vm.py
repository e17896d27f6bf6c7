"""The part of an AzureGPUSource that buys machines: how they are made, when, and for how much.

Apart from ``azure_source`` because it counts only for sources of type ``vm``. All of it is ours.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec

from tensorfusion.model.common import SecretReference
from tensorfusion.model.rules import Cel, Count, Cron, Duration, Int32, Money, Part, Ratio, Rules, Time


class VMPriority(StrEnum):
    REGULAR = "Regular"
    SPOT = "Spot"


class EvictionPolicy(StrEnum):
    DELETE = "Delete"
    DEALLOCATE = "Deallocate"


class InstanceState(StrEnum):
    REQUESTED = "Requested"
    CREATING = "Creating"
    BOOTING = "Booting"
    JOINING = "Joining"
    READY = "Ready"
    DRAINING = "Draining"
    DELETING = "Deleting"
    DELETED = "Deleted"
    EVICTED = "Evicted"
    FAILED = "Failed"


MaxPrice = Annotated[str, Rules(pattern=r"^(-1|[0-9]{1,9}(\.[0-9]{1,5})?)$", max_length=16)]


class VMImage(Part, frozen=True):
    """The image of new machines: one of the marketplace, or one of your own by ``id``."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel(
            "has(self.id) || (has(self.publisher) && has(self.offer) && has(self.sku))",
            "state id, or publisher, offer and sku",
        ),
    )

    id: Annotated[str, Rules("Resource id of an image of your own.", min_length=1)] = ""
    publisher: Annotated[str, Rules("Publisher in the marketplace.")] = ""
    offer: Annotated[str, Rules("Offer of the publisher.")] = ""
    sku: Annotated[str, Rules("Variant of the offer.")] = ""
    version: Annotated[str, Rules("Version of the variant.")] = "latest"


class HealthCheck(Part, frozen=True):
    """When a machine counts as broken."""

    interval: Annotated[Duration, Rules("Time between two looks.")] = "30s"
    timeout: Annotated[Duration, Rules("An answer takes this long at most.")] = "10s"
    unhealthy_threshold: Annotated[Int32, Rules("Failures in a row until it is replaced.", minimum=1)] = msgspec.field(
        default=3, name="unhealthyThreshold"
    )


class AzureVM(Part, frozen=True):
    """How machines are made."""

    resource_group: Annotated[str, Rules("Resource group of the machines.", min_length=1)] = msgspec.field(
        name="resourceGroup"
    )
    vm_sizes: Annotated[tuple[str, ...], Rules("Sizes, tried by price per TFLOPS.", min_items=1, max_items=64)] = (
        msgspec.field(name="vmSizes")
    )
    zones: Annotated[tuple[str, ...], Rules("Zones; none is regional.")] = ()
    image: Annotated[VMImage | None, Rules("Image of the machines.")] = None
    os_disk_gib: Annotated[Int32, Rules("System disk in GiB.", minimum=1)] = msgspec.field(
        default=128, name="osDiskGiB"
    )
    virtual_network: Annotated[str, Rules("Network of the machines.")] = msgspec.field(
        default="", name="virtualNetwork"
    )
    subnet: Annotated[str, Rules("Subnet of the network.")] = ""
    network_security_group: Annotated[str, Rules("Security group of the machines.")] = msgspec.field(
        default="", name="networkSecurityGroup"
    )
    ssh_public_key_secret: Annotated[SecretReference | None, Rules("Public key for SSH.")] = msgspec.field(
        default=None, name="sshPublicKeySecret"
    )
    join_config_secret: Annotated[SecretReference | None, Rules("Start script that joins the cluster.")] = (
        msgspec.field(default=None, name="joinConfigSecret")
    )
    priority: Annotated[VMPriority, Rules("Spot is cheaper and may be taken away.")] = VMPriority.REGULAR
    max_price: Annotated[MaxPrice, Rules("Dollars an hour of a Spot machine; -1 is never evicted for its price.")] = (
        msgspec.field(default="-1", name="maxPrice")
    )
    eviction_policy: Annotated[EvictionPolicy, Rules("What becomes of an evicted machine.")] = msgspec.field(
        default=EvictionPolicy.DELETE, name="evictionPolicy"
    )
    on_demand_fallback: Annotated[bool, Rules("Regular machines when Spot has no capacity.")] = msgspec.field(
        default=True, name="onDemandFallback"
    )
    tags: Annotated[dict[str, str], Rules("Tags of everything that is made.", max_properties=40)] = msgspec.field(
        default_factory=dict
    )
    health_check: Annotated[HealthCheck | None, Rules("When a machine counts as broken.")] = msgspec.field(
        default=None, name="healthCheck"
    )


class ScalingSchedule(Part, frozen=True):
    """From a moment of the calendar on, a number of machines."""

    cron: Annotated[Cron, Rules("When, cron with 5 fields.")]
    min_instances: Annotated[Count, Rules("Machines at least from then on.")] = msgspec.field(name="minInstances")


class Scaling(Part, frozen=True):
    """When machines are bought and given back."""

    cel: ClassVar[tuple[Cel, ...]] = (
        Cel("self.minInstances <= self.maxInstances", "minInstances must not exceed maxInstances"),
        Cel(
            "self.scaleDownThreshold < self.scaleUpThreshold",
            "scaleDownThreshold must be below scaleUpThreshold",
        ),
    )

    target_gpu_pool: Annotated[str, Rules("GPUPool that the machines join.", min_length=1)] = msgspec.field(
        name="targetGPUPool"
    )
    max_instances: Annotated[Count, Rules("Machines at most.")] = msgspec.field(name="maxInstances")
    min_instances: Annotated[Count, Rules("Machines at least.", defaulted=True)] = msgspec.field(
        default=0, name="minInstances"
    )
    target_utilization: Annotated[Ratio | None, Rules("Utilisation that a step aims at, 0 to 1.")] = msgspec.field(
        default=None, name="targetUtilization"
    )
    scale_up_threshold: Annotated[Ratio, Rules("Buy above this utilisation of the pool, 0 to 1.")] = msgspec.field(
        default=0.8, name="scaleUpThreshold"
    )
    scale_down_threshold: Annotated[Ratio, Rules("Give back below it, 0 to 1.")] = msgspec.field(
        default=0.3, name="scaleDownThreshold"
    )
    scale_up_step: Annotated[Int32, Rules("Machines bought at a time at most.", minimum=1)] = msgspec.field(
        default=4, name="scaleUpStep"
    )
    cooldown_period: Annotated[Duration, Rules("Pause after giving back; buying is never delayed.")] = msgspec.field(
        default="5m", name="cooldownPeriod"
    )
    idle_timeout: Annotated[Duration, Rules("A machine without work is kept this long.")] = msgspec.field(
        default="10m", name="idleTimeout"
    )
    drain_timeout: Annotated[Duration, Rules("Work has this long to leave.")] = msgspec.field(
        default="120s", name="drainTimeout"
    )
    join_timeout: Annotated[Duration, Rules("A machine that has not joined by then is replaced.")] = msgspec.field(
        default="10m", name="joinTimeout"
    )
    schedule: Annotated[tuple[ScalingSchedule, ...], Rules("From moments of the calendar on.", max_items=64)] = ()


class SourceCost(Part, frozen=True):
    """What machines may cost."""

    max_monthly_cost: Annotated[Money, Rules("Dollars a month at most.")] = msgspec.field(
        default="", name="maxMonthlyCost"
    )
    alert_threshold: Annotated[Ratio | None, Rules("Alert once this part of it is spent, 0 to 1.")] = msgspec.field(
        default=None, name="alertThreshold"
    )


class InstanceStatus(Part, frozen=True):
    """One machine."""

    name: Annotated[str, Rules("Name of the machine.")]
    vm_id: Annotated[str, Rules("Azure's id of it.")] = msgspec.field(default="", name="vmId")
    vm_size: Annotated[str, Rules("Size of the machine.")] = msgspec.field(default="", name="vmSize")
    priority: Annotated[str, Rules("Regular or Spot.")] = ""
    zone: Annotated[str, Rules("Zone of the machine.")] = ""
    state: Annotated[InstanceState | None, Rules("How far it has come.")] = None
    node_name: Annotated[str, Rules("Its node.")] = msgspec.field(default="", name="nodeName")
    hourly_cost: Annotated[str, Rules("Dollars an hour.")] = msgspec.field(default="", name="hourlyCost")
    created_at: Annotated[Time | None, Rules("When it was asked for.")] = msgspec.field(default=None, name="createdAt")
    last_error: Annotated[str, Rules("The latest failure.")] = msgspec.field(default="", name="lastError")
