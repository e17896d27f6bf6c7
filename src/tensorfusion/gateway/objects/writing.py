"""Who writes what the gateway says in objects: the first worker of each host, and of the hosts, the Lease's holder."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

from tensorfusion.clock import Clock
from tensorfusion.gateway.counting import Counts
from tensorfusion.gateway.objects.first import first_of_host
from tensorfusion.gateway.objects.ledger import Ledger
from tensorfusion.gateway.objects.reports import Reporter, Reports, own
from tensorfusion.gateway.objects.source import Source
from tensorfusion.gateway.objects.statuses import Statuses
from tensorfusion.gateway.objects.telling import Telling
from tensorfusion.gateway.state import State
from tensorfusion.kube.api import Api
from tensorfusion.model.keys import GATEWAY_LEASE, SYSTEM_NAMESPACE
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.lease import LeaderElector

COMPONENT = "tensorfusion-gateway"
_LOCK = "first.lock"


class Writing:
    """``folder`` is where the workers of a host report; ``counts`` are this one's."""

    def __init__(
        self, client: Api, source: Source, counts: Counts, *, clock: Clock, state: Callable[[], State], folder: Path
    ) -> None:
        """Raises ConfigError: the folder cannot be used."""
        own(folder)
        self._clock = clock
        self._lock = folder / _LOCK
        now = asyncio.get_running_loop().time
        self._telling = Telling(Reporter(folder), counts, source.routes.cache, clock=clock, state=state, now=now)
        self._elector = LeaderElector(
            client,
            namespace=SYSTEM_NAMESPACE,
            name=GATEWAY_LEASE,
            identity=f"{socket.gethostname()}-{os.getpid()}",
            clock=clock,
        )
        self._recorder = EventRecorder(client, component=COMPONENT, clock=clock)
        self._statuses = Statuses(
            client,
            source,
            self._recorder,
            reports=Reports(folder),
            ledger=lambda: Ledger(folder),
            clock=clock,
            state=state,
            leads=self._elector.is_leader,
            now=now,
        )

    async def run(self) -> None:
        """Tell, and when it is this worker's turn, write, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._telling.run())
            group.create_task(self._write())

    async def _write(self) -> None:
        async with first_of_host(self._lock, self._clock), asyncio.TaskGroup() as group:
            group.create_task(self._elector.run(on_started=self._statuses.look))
            group.create_task(self._recorder.run())
            group.create_task(self._statuses.run(last=self._telling.tell))
