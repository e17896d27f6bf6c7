"""GPUNodeClass: the template that a provider makes machines from.

Source: GPUNodeClass of tensor-fusion.ai/v1, whose status is empty; ``status.conditions`` is ours.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.rules import Column, Int32, Part, Rules


class OsImageType(StrEnum):
    PRIVATE = "Private"
    PUBLIC = "Public"
    SYSTEM = "System"


class SelectorTerm(Part, frozen=True):
    """One way to find a resource of the provider."""

    id: Annotated[str, Rules("Id of the resource.")] = ""
    name: Annotated[str, Rules("Name of the resource.")] = ""
    tags: Annotated[dict[str, str], Rules("Tags of the resource.")] = msgspec.field(default_factory=dict)


class MetadataOptions(Part, frozen=True):
    """The instance metadata service of the machine."""

    http_endpoint: Annotated[bool, Rules("The service answers.")] = msgspec.field(default=True, name="httpEndpoint")
    http_protocol_ipv6: Annotated[bool, Rules("The service answers over IPv6.", defaulted=True)] = msgspec.field(
        default=False, name="httpProtocolIPv6"
    )
    http_put_response_hop_limit: Annotated[Int32, Rules("Network hops that an answer may take.")] = msgspec.field(
        default=1, name="httpPutResponseHopLimit"
    )
    http_tokens: Annotated[str, Rules("Whether a session token is needed: required or optional.")] = msgspec.field(
        default="required", name="httpTokens"
    )


class EbsVolume(Part, frozen=True):
    """A volume of block storage."""

    volume_size: Annotated[str, Rules("Size, such as 100Gi.")] = msgspec.field(default="", name="volumeSize")
    volume_type: Annotated[str, Rules("Type, in the provider's words.")] = msgspec.field(default="", name="volumeType")
    delete_on_termination: Annotated[bool, Rules("The volume goes with its machine.")] = msgspec.field(
        default=True, name="deleteOnTermination"
    )
    encrypted: Annotated[bool, Rules("The volume is encrypted.")] = True


class BlockDeviceMapping(Part, frozen=True):
    """One disk of the machine."""

    device_name: Annotated[str, Rules("Name of the disk on the machine.")] = msgspec.field(
        default="", name="deviceName"
    )
    ebs: Annotated[EbsVolume | None, Rules("The volume behind the disk.")] = None


class GPUNodeClassSpec(Part, frozen=True):
    """What machines of this class are made from."""

    launch_template: Annotated[SelectorTerm | None, Rules("Launch template; the rest may then be left out.")] = (
        msgspec.field(default=None, name="launchTemplate")
    )
    os_image_type: Annotated[OsImageType, Rules("Where the image comes from.")] = msgspec.field(
        default=OsImageType.PRIVATE, name="osImageType"
    )
    os_image_selector_terms: Annotated[tuple[SelectorTerm, ...], Rules("Image; the first match wins.")] = msgspec.field(
        default=(), name="osImageSelectorTerms"
    )
    security_group_selector_terms: Annotated[
        tuple[SelectorTerm, ...], Rules("Security groups; the first match wins.")
    ] = msgspec.field(default=(), name="securityGroupSelectorTerms")
    subnet_selector_terms: Annotated[tuple[SelectorTerm, ...], Rules("Subnet; the first match wins.")] = msgspec.field(
        default=(), name="subnetSelectorTerms"
    )
    instance_profile: Annotated[str, Rules("Profile with the rights of the machine.")] = msgspec.field(
        default="", name="instanceProfile"
    )
    user_data: Annotated[str, Rules("Script of the first start.")] = msgspec.field(default="", name="userData")
    metadata_options: Annotated[MetadataOptions | None, Rules("The instance metadata service.")] = msgspec.field(
        default=None, name="metadataOptions"
    )
    block_device_mappings: Annotated[tuple[BlockDeviceMapping, ...], Rules("Disks of the machine.")] = msgspec.field(
        default=(), name="blockDeviceMappings"
    )
    tags: Annotated[dict[str, str], Rules("Tags of the machine.")] = msgspec.field(default_factory=dict)


class GPUNodeClassStatus(Part, frozen=True):
    """Whether the class can be used."""

    conditions: Annotated[tuple[Condition, ...], Rules("Whether the class can be used.", map_key="type")] = ()


class GPUNodeClass(Object, frozen=True):
    """The template that a provider makes machines from."""

    spec: Annotated[GPUNodeClassSpec, Rules("What machines are made from.")] = msgspec.field(
        default_factory=GPUNodeClassSpec
    )
    status: Annotated[GPUNodeClassStatus, Rules("Whether the class can be used.")] = msgspec.field(
        default_factory=GPUNodeClassStatus
    )


COLUMNS: tuple[Column, ...] = ()
