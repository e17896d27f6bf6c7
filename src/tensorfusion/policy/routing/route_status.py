"""What a route's status says of its spec: whether it is in force, and what each of its targets lacks.

Apart from ``reporting``, which is about how targets do: this changes when somebody changes an object, that all the
time.

Source: the platform's contract, 1.2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tensorfusion.model.llm_route import LLMRoute, LLMRouteStatus, RoutePhase
from tensorfusion.model.meta import Condition
from tensorfusion.policy.conditions import set_condition
from tensorfusion.policy.routing.compiler import InvalidRoute

ACCEPTED, TARGETS, SECRETS, BUDGET = "Accepted", "TargetsResolved", "SecretsResolved", "BudgetAvailable"
INVALID = "Invalid"
"""Reason of ``Accepted`` False."""
_LONGEST = 1024
_NOT_ACCEPTED = "the route is not accepted"


@dataclass(frozen=True, slots=True)
class Lack:
    """What one enabled target lacks; empty for nothing."""

    target: str
    address: str = ""
    credential: str = ""


def judged(route: LLMRoute, found: InvalidRoute | Sequence[Lack], *, now: str) -> LLMRouteStatus:
    """The status of the route with phase and conditions as they should be; the rest of it as it is.

    ``found`` is why the route is left out, or what each of its enabled targets lacks. ``now`` as RFC 3339.
    """
    conditions = route.status.conditions
    for type_, status, reason, message in (*_accepted(found), _budget(route)):
        conditions = set_condition(
            conditions,
            type_,
            status,
            reason=reason,
            message=message[:_LONGEST],
            now=now,
            generation=route.metadata.generation,
        )
    return msgspec.structs.replace(route.status, phase=_phase(found), conditions=conditions)


def accepted(status: LLMRouteStatus) -> Condition | None:
    """The condition that says whether the route is in force, where somebody has said it."""
    return next((one for one in status.conditions if one.type == ACCEPTED), None)


def _phase(found: InvalidRoute | Sequence[Lack]) -> RoutePhase:
    if isinstance(found, InvalidRoute) or all(lack.address or lack.credential for lack in found):
        return RoutePhase.ERROR
    return RoutePhase.ACTIVE


_Said = tuple[str, str, str, str]
"""Type, status, reason, message."""


def _accepted(found: InvalidRoute | Sequence[Lack]) -> Iterable[_Said]:
    if isinstance(found, InvalidRoute):
        yield ACCEPTED, "False", INVALID, f"{found.field}: {found.problem}"
        yield TARGETS, "Unknown", "NotAccepted", _NOT_ACCEPTED
        yield SECRETS, "Unknown", "NotAccepted", _NOT_ACCEPTED
        return
    yield ACCEPTED, "True", "Accepted", "the route is in force"
    addresses = [f"{lack.target}: {lack.address}" for lack in found if lack.address]
    credentials = [f"{lack.target}: {lack.credential}" for lack in found if lack.credential]
    yield _resolved(TARGETS, "NoAddress", addresses, f"{len(found)} targets have an address")
    yield _resolved(SECRETS, "NoCredential", credentials, "every target has the credential that it names")


def _resolved(type_: str, reason: str, problems: Sequence[str], well: str) -> _Said:
    if problems:
        return type_, "False", reason, "; ".join(problems)
    return type_, "True", "Resolved", well


def _budget(route: LLMRoute) -> _Said:
    if route.spec.budget is None:
        return BUDGET, "True", "NoBudget", "the route states no budget"
    return BUDGET, "Unknown", "NotEnforced", "this version keeps the budget and refuses nothing beyond it"
