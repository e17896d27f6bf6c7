"""Status roll-ups: compared, submitted, and looked at again.

A roll-up waits while the writer is busy, so that under load an object is summed up once per write and not once per
change. After a submission the key is looked at once more: a write that was lost is found and made again.
"""

import msgspec

from tensorfusion.clock import Clock
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import Resource
from tensorfusion.model.wire import status_patch
from tensorfusion.runtime.controller import DONE, Result
from tensorfusion.runtime.writer import StatusWriter

_BUSY = 32
_PAUSE = 0.1
_LOOK_AGAIN = Result(requeue_after=5.0)


class RollUp:
    """Writes the differences between statuses, through one writer."""

    def __init__(self, writer: StatusWriter, *, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def room(self) -> None:
        """Wait until the writer has caught up. For objects of which there are many."""
        while len(self._writer) >= _BUSY:
            await self._clock.sleep(_PAUSE)

    def submit(
        self, resource: Resource, key: Key, *, old: msgspec.Struct, new: msgspec.Struct, urgent: bool = False
    ) -> Result:
        """Write what differs, if anything does. Few and watched objects are urgent."""
        patch = status_patch(old, new) if new != old else None
        if patch is None:
            return DONE
        self._writer.submit(resource, key, patch, urgent=urgent)
        return _LOOK_AGAIN
