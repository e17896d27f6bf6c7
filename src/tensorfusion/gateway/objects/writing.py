"""Who writes what the gateway says in objects: one worker of each host asks for the Lease, and its holder writes."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from tensorfusion.clock import Clock
from tensorfusion.gateway.objects.first import first_of_host
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.objects.statuses import Statuses
from tensorfusion.gateway.state import State
from tensorfusion.kube.api import Api
from tensorfusion.model.keys import GATEWAY_LEASE, SYSTEM_NAMESPACE
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.lease import LeaderElector

COMPONENT = "tensorfusion-gateway"


class Writing:
    """``lock`` is the file that the workers of a host share."""

    def __init__(self, client: Api, source: Source, *, clock: Clock, state: Callable[[], State], lock: Path) -> None:
        self._clock = clock
        self._lock = lock
        self._elector = LeaderElector(
            client,
            namespace=SYSTEM_NAMESPACE,
            name=GATEWAY_LEASE,
            identity=f"{socket.gethostname()}-{os.getpid()}",
            clock=clock,
        )
        self._recorder = EventRecorder(client, component=COMPONENT, clock=clock)
        self._statuses = Statuses(
            client, source, self._recorder, clock=clock, state=state, leads=self._elector.is_leader
        )

    async def run(self) -> None:
        """Wait for its turn, then write, until cancelled."""
        async with first_of_host(self._lock, self._clock), asyncio.TaskGroup() as group:
            group.create_task(self._elector.run(on_started=self._statuses.look))
            group.create_task(self._recorder.run())
            group.create_task(self._statuses.run())
