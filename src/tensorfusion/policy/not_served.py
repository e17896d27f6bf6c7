"""Kinds that can be stored and are not acted on yet: what their status says about it.

An object of such a kind is accepted, validated and kept; a condition says that nothing happens with it, what is
missing, and what to do meanwhile. Whoever comes to serve a kind takes its entry out of ``NOT_SERVED``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tensorfusion.model.meta import Condition
from tensorfusion.policy.conditions import set_condition

REASON = "NotServedYet"


@dataclass(frozen=True, slots=True)
class NotServed:
    """Which condition of the kind says it, and its one line."""

    condition: str
    message: str


NOT_SERVED: Mapping[str, NotServed] = {
    "GPUNodeClaim": NotServed(
        "Ready", "this version buys no machines: add the node to the cluster yourself, then delete the claim"
    ),
    "GPUNodeClass": NotServed(
        "Ready", "this version buys no machines, so nothing is made from the class: add nodes to the cluster yourself"
    ),
    "WorkloadIntelligence": NotServed(
        "Ready",
        "this version makes no recommendations: the object is kept and nothing is watched: set requests and limits "
        "yourself",
    ),
    "AzureGPUSource": NotServed(
        "Ready",
        "this version does not talk to Azure: the source brings no capacity (add nodes yourself), and is no more than "
        "an address for targets of LLMRoutes",
    ),
}


def conditions_of(kind: str, found: tuple[Condition, ...], *, generation: int, now: str) -> tuple[Condition, ...]:
    """The conditions that an object of the kind should have; equal to the present ones where it has been said."""
    entry = NOT_SERVED[kind]
    return set_condition(
        found, entry.condition, "False", reason=REASON, message=entry.message, now=now, generation=generation
    )
