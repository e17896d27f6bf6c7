"""Conditions of an object's status: set one, keep the rest, and stamp only what changed.

Source: metav1.Condition; ``lastTransitionTime`` is when the status last changed, not the words.
"""

from tensorfusion.model.meta import Condition


def set_condition(
    found: tuple[Condition, ...],
    type_: str,
    status: str,
    *,
    reason: str,
    message: str,
    now: str,
    generation: int = 0,
) -> tuple[Condition, ...]:
    """The conditions with this one in its place; ``now`` counts only where its status changed."""
    before = next((one for one in found if one.type == type_), None)
    since = before.last_transition_time if before is not None and before.status == status else now
    fresh = Condition(
        type=type_,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )
    if before is None:
        return (*found, fresh)
    return tuple(fresh if one is before else one for one in found)


def without(found: tuple[Condition, ...], type_: str) -> tuple[Condition, ...]:
    """The conditions without those of one type."""
    return tuple(one for one in found if one.type != type_)
