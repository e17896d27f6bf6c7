"""Say in the status of objects that nobody acts on yet that nobody does: once, and again when their spec changes.

Which kinds these are and what is said stands in ``policy.not_served``.
"""

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.model.meta import Condition, Key, Object
from tensorfusion.model.resources import Resource
from tensorfusion.operator.rollup import RollUp
from tensorfusion.policy.not_served import conditions_of
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.manager import Manager


class Conditions(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of a status that is read and written here."""

    conditions: tuple[Condition, ...] = ()


class Conditioned(Object, frozen=True):
    """Any kind, as far as its conditions go."""

    status: Conditions = msgspec.field(default_factory=Conditions)


class NotServedReconciler:
    """Key: an object of one kind."""

    def __init__(self, resource: Resource, manager: Manager, rollup: RollUp, *, clock: Clock) -> None:
        self._resource = resource
        self._rollup = rollup
        self._clock = clock
        self.informer = manager.informer(resource, Conditioned)

    async def reconcile(self, key: Key) -> Result:
        found = self.informer.cache.get(key)
        if found is None or found.metadata.deleting:
            return DONE
        conditions = conditions_of(
            self._resource.kind,
            found.status.conditions,
            generation=found.metadata.generation,
            now=timestamp(self._clock.now()),
        )
        return self._rollup.submit(self._resource, key, old=found.status, new=Conditions(conditions))
