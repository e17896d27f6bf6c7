"""GPUCohort: namespaces that lend each other what they do not use of their quotas, and how it is given back.

A cohort that quotas name exists without an object, too, with the defaults below: the object is for a parent, limits
towards it, a weight, and reclaim. A parent has no parent itself.

Source: ours; Kueue's Cohort is where the words come from.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from tensorfusion.model.meta import Condition, Object
from tensorfusion.model.quantities import ComputeResource
from tensorfusion.model.rules import Column, Count, Part, Quantity, Rules
from tensorfusion.units import Rounding

CohortName = Annotated[str, Rules(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=63)]
Weight = Annotated[int, Rules(format="int32", minimum=1, maximum=1_000_000)]


class ReclaimPolicy(StrEnum):
    """Who may be evicted for a pod within its namespace's own quota: pods of namespaces that hold more than theirs."""

    NEVER = "Never"
    LOWER_PRIORITY = "LowerPriority"
    ANY = "Any"


class SharedAmounts(Part, frozen=True):
    """An amount of each of what is shared."""

    tflops: Annotated[Quantity, Rules("Compute in TFLOPS.")] = ""
    vram: Annotated[Quantity, Rules("Device memory in bytes, such as 16Gi.")] = ""
    gpu_count: Annotated[Count | None, Rules("Shares: the sum of device counts.")] = msgspec.field(
        default=None, name="gpuCount"
    )

    def parts(self) -> tuple[int | None, int | None, int | None]:
        """GFLOPS, bytes and devices, rounded down; None where unset.

        Raises:
            InvalidQuantity: a value is no quantity.
        """
        amounts = ComputeResource(tflops=self.tflops, vram=self.vram)
        return amounts.gflops(Rounding.DOWN), amounts.vram_bytes(Rounding.DOWN), self.gpu_count


class SharingLimit(Part, frozen=True):
    """How much is shared at most."""

    limit: Annotated[SharedAmounts | None, Rules("At most so much; what is not set is not limited.")] = None

    def parts(self) -> tuple[int | None, int | None, int | None]:
        """As ``SharedAmounts.parts``."""
        return (self.limit or SharedAmounts()).parts()


class Reclaim(Part, frozen=True):
    """How borrowed capacity is given back."""

    policy: Annotated[
        ReclaimPolicy,
        Rules(
            "Which pods of members that hold more than their own may be evicted for a pod that stays within its own: "
            "none, those of lower priority, or any."
        ),
    ] = ReclaimPolicy.ANY


class GPUCohortSpec(Part, frozen=True):
    """How the members share."""

    parent: Annotated[CohortName, Rules("The cohort that this one shares with; it may not have a parent itself.")] = ""
    fair_weight: Annotated[Weight, Rules("Beside other cohorts of the parent: twice the weight, twice the part.")] = (
        msgspec.field(default=1, name="fairWeight")
    )
    reclaim: Annotated[Reclaim | None, Rules("How borrowed capacity is given back; unset: when it becomes free.")] = (
        None
    )
    borrowing: Annotated[SharingLimit | None, Rules("What it may use of the parent's other members.")] = None
    lending: Annotated[SharingLimit | None, Rules("What the parent's other members may use of it.")] = None

    @property
    def reclaim_policy(self) -> ReclaimPolicy:
        """``Never`` unless reclaim is asked for."""
        return ReclaimPolicy.NEVER if self.reclaim is None else self.reclaim.policy


class CohortMember(Part, frozen=True):
    """One member of the cohort: a namespace or another cohort."""

    name: Annotated[str, Rules("Name of the namespace or cohort.", required=True)] = ""
    kind: Annotated[str, Rules("Namespace or GPUCohort.", required=True)] = ""
    nominal: Annotated[SharedAmounts | None, Rules("What it has of its own.")] = None
    used: Annotated[SharedAmounts | None, Rules("What it holds.")] = None
    borrowed: Annotated[SharedAmounts | None, Rules("What it holds above its own.")] = None
    share: Annotated[
        str,
        Rules(
            "Its dominant share: what it holds above its own as percent of what the whole tree has, of the dimension "
            "where that is most, divided by its weight."
        ),
    ] = ""


class GPUCohortStatus(Part, frozen=True):
    """Who uses what of the cohort."""

    nominal: Annotated[SharedAmounts | None, Rules("What its members have of their own, together.")] = None
    used: Annotated[SharedAmounts | None, Rules("What its members hold, together.")] = None
    borrowed: Annotated[SharedAmounts | None, Rules("What it holds of the parent's other members.")] = None
    members: Annotated[
        tuple[CohortMember, ...], Rules("Its members, those with the largest share first; 100 at most.", atomic=True)
    ] = ()
    member_count: Annotated[Count, Rules("How many members it has.")] = msgspec.field(default=0, name="memberCount")
    conditions: Annotated[
        tuple[Condition, ...], Rules("Ready is False while the parent cannot be used.", map_key="type")
    ] = ()


class GPUCohort(Object, frozen=True):
    """Namespaces that lend each other what they do not use of their quotas."""

    spec: Annotated[GPUCohortSpec, Rules("How the members share.")] = msgspec.field(default_factory=GPUCohortSpec)
    status: Annotated[GPUCohortStatus, Rules("Who uses what of the cohort.")] = msgspec.field(
        default_factory=GPUCohortStatus
    )


COLUMNS = (
    Column("Parent", ".spec.parent"),
    Column("Members", ".status.memberCount", "integer"),
    Column("GPUs", ".status.nominal.gpuCount", "integer"),
    Column("GPUs Used", ".status.used.gpuCount", "integer"),
    Column("TFlops Used", ".status.used.tflops"),
    Column("VRAM Used", ".status.used.vram"),
    Column("Age", ".metadata.creationTimestamp", "date"),
)
