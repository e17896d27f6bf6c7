"""PodDisruptionBudgets as far as somebody who evicts looks at them.

Source: policy/v1 PodDisruptionBudget.
"""

import msgspec

from tensorfusion.model.meta import LabelSelector, Object


class DisruptionBudgetSpec(msgspec.Struct, frozen=True, gc=False):
    selector: LabelSelector | None = None


class DisruptionBudgetStatus(msgspec.Struct, frozen=True, gc=False):
    disruptions_allowed: int = msgspec.field(default=0, name="disruptionsAllowed")


class DisruptionBudget(Object, frozen=True):
    """One budget: what it covers, and how many of these pods may go now."""

    spec: DisruptionBudgetSpec = msgspec.field(default_factory=DisruptionBudgetSpec)
    status: DisruptionBudgetStatus = msgspec.field(default_factory=DisruptionBudgetStatus)
