"""The node process: ``python -m tensorfusion.embedded.processes --data DIR``. Started by ``tensorfusion up
--run-processes``.

Ends on SIGTERM without ending the workloads: a successor goes on with them. What ends them is the cluster going down.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from tensorfusion.clock import SystemClock
from tensorfusion.embedded.processes import machine
from tensorfusion.embedded.processes.blocks import claimed_block
from tensorfusion.embedded.processes.endpoint import Endpoint
from tensorfusion.embedded.processes.images import Images
from tensorfusion.embedded.processes.kubelet import NodeView, ProcessKubelet, ServiceInfo
from tensorfusion.embedded.processes.places import Places
from tensorfusion.embedded.processes.pod import Node
from tensorfusion.embedded.processes.restarts import Timing
from tensorfusion.embedded.processes.users import Users, can_switch
from tensorfusion.errors import TensorFusionError
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model.keys import PROCESS_NODE_ACCOUNT
from tensorfusion.model.resources import SERVICES
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry import logs

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit status."""
    parser = argparse.ArgumentParser(prog="tensorfusion.embedded.processes", description="A node of real processes.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the cluster")
    data = parser.parse_args(arguments).data.absolute()
    try:
        logs.setup(os.environ.get("TF_LOG_LEVEL", "info"), "node")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(data))
    except TensorFusionError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201  # the process's last word
        return 2
    return 0


async def run(data: Path, *, timing: Timing | None = None, stop: asyncio.Event | None = None) -> None:
    """Run the node of a cluster's folder until SIGTERM or SIGINT, or until ``stop``."""
    ended = stop or asyncio.Event()
    if stop is None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
    clock = SystemClock()
    own_users = can_switch()
    async with contextlib.AsyncExitStack() as stack:
        connection = load_kubeconfig(data / "run" / f"{PROCESS_NODE_ACCOUNT}.kubeconfig")
        client = await stack.enter_async_context(Client(connection, user_agent="process-node"))
        manager = Manager(client, clock=clock)
        recorder = EventRecorder(client, component="process-node", clock=clock)
        places = Places.of(data, own_users=own_users)
        block = stack.enter_context(claimed_block(data / "node" / "block"))
        own = machine.Machine(client, await machine.own_name(client), own_users=own_users, clock=clock)
        view = NodeView(
            own,
            manager.informer(SERVICES, ServiceInfo),
            api=_api_address(data),
            path=os.environ.get("PATH") or _DEFAULT_PATH,
        )
        node = Node(
            client,
            recorder,
            places,
            Users(own=own_users, block=block),
            Images(places.images),
            view,
            timing or Timing(),
            clock,
        )
        kubelet = ProcessKubelet(node, own.name)
        kubelet.install(manager)
        endpoint = Endpoint(kubelet)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (manager.run(), recorder.run())]
            await manager.synced.wait()
            await own.register()
            tasks.append(group.create_task(own.keep_alive()))
            server = await endpoint.serve(places.socket)
            await ended.wait()
            server.close()
            await endpoint.close()
            manager.stop()
            for task in tasks[1:]:
                task.cancel()
        places.socket.unlink(missing_ok=True)
        await own.leave()


def _api_address(data: Path) -> tuple[str, int]:
    """Where users reach the API: what programs in pods are told."""
    url = urlsplit(load_kubeconfig(data / "kubeconfig").server)
    return url.hostname or machine.HOST, url.port or 443


if __name__ == "__main__":
    sys.exit(main())
