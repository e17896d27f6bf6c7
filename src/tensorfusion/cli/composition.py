"""Put the components of one control process together: the only place that knows all of them.

Each component speaks to the Kubernetes API with the token of its own service account; informers are shared, with the
controllers' account. Nothing here decides anything.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tensorfusion.cli.access import Authorizer
from tensorfusion.cli.bundle import WORKLOADS_ACCOUNT
from tensorfusion.cli.control import Settings
from tensorfusion.cli.debug_state import debug_route
from tensorfusion.clock import SystemClock
from tensorfusion.embedded.absent_nodes import mark_absent
from tensorfusion.embedded.controllers.install import install_controllers
from tensorfusion.embedded.fleet import NodeSpec, beside_processes, demo_fleet, load_fleet
from tensorfusion.embedded.fleet_watch import FleetWatch
from tensorfusion.embedded.kubelet import SimulatedKubelets
from tensorfusion.embedded.patch import json_patch
from tensorfusion.errors import InvalidRequest
from tensorfusion.hypervisor.agent import NodeAgent
from tensorfusion.hypervisor.native import NativeDevices
from tensorfusion.hypervisor.vendors.base import Device
from tensorfusion.hypervisor.vendors.simulated import SimulatedVendor, devices_of
from tensorfusion.kube.client import Client
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.core import Namespace
from tensorfusion.model.gpu import GPU
from tensorfusion.model.gpu_pool import GPUPool
from tensorfusion.model.meta import Meta, Raw
from tensorfusion.model.provider_config import ProviderConfig
from tensorfusion.model.quota import GPUResourceQuota
from tensorfusion.model.request import GpuRequest
from tensorfusion.model.workload import TensorFusionWorkload, WorkloadProfile
from tensorfusion.operator.install import install as install_operator
from tensorfusion.policy.admission import admit
from tensorfusion.policy.allowed_pools import allowed_pools
from tensorfusion.policy.migration import Migration
from tensorfusion.policy.verdict import Snapshot
from tensorfusion.runtime import collector
from tensorfusion.runtime.events import EventRecorder
from tensorfusion.runtime.heap import give_back
from tensorfusion.runtime.lease import LeaderElector
from tensorfusion.runtime.live_config import LiveConfig
from tensorfusion.runtime.manager import Manager
from tensorfusion.runtime.serving import Listener
from tensorfusion.runtime.writer import StatusWriter
from tensorfusion.scheduler.config_file import SchedulerConfig
from tensorfusion.scheduler.recording.recorder import RecordOptions
from tensorfusion.scheduler.routes import routes
from tensorfusion.scheduler.service import Options, SchedulerService
from tensorfusion.scheduler.shards import Shards
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.telemetry.metrics import metrics_response
from tensorfusion.webhook.certificates import ensure_certificates
from tensorfusion.webhook.host_ports import Assignments, assign_routes
from tensorfusion.webhook.lookup import CachedObjects, LiveModels, Overlay
from tensorfusion.webhook.registration import Address, Registrar
from tensorfusion.webhook.service import Webhook

_HOST = "127.0.0.1"
_FIRST_POOL_SECONDS = 10.0
_COMPRESSED_FROM = 1024
"""Bytes of an answer from which compressing it is worth the time."""
_OPERATOR_LEASE = f"operator.{keys.LEADER_LEASE}"

log = get_logger(__name__)


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        ConfigError: a kubeconfig, fleet or port that cannot be used.
        ExceptionGroup: a component failed; the supervisor starts the process again.
    """
    async with contextlib.AsyncExitStack() as stack:
        process = Process(settings, stack)
        await process.prepare()
        await process.run()


class Process:
    """One control process and its components."""

    def __init__(self, settings: Settings, stack: contextlib.AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._clock = SystemClock()
        self._routes: list[Route] = []
        self._after_sync: list[Callable[[], Awaitable[None]]] = []
        self._scheduler: SchedulerService | None = None
        self._config: LiveConfig | None = None
        self._electors: list[LeaderElector] = []

    async def prepare(self) -> None:
        """Connect, and let each wanted component register with the manager."""
        settings = self._settings
        self._client = await self._connect(keys.CONTROLLER_ACCOUNT)
        self._authorizer = Authorizer(self._client)
        self._manager = Manager(self._client, clock=self._clock)
        self._writer = StatusWriter(self._client, clock=self._clock)
        self._recorder = EventRecorder(self._client, component="tensorfusion", clock=self._clock)
        for component, prepare in (
            ("webhook", self._prepare_webhook),
            ("scheduler", self._prepare_scheduler),
            ("operator", self._prepare_operator),
            ("nodes", self._prepare_nodes),
            ("workloads", self._prepare_workloads),
        ):
            if component in settings.components:
                await prepare()

    async def run(self) -> None:
        """Serve, fill the caches, say that it is ready, and run until told to stop."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        port = await self._serve_http()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self._manager.run(), name="manager")]
            background = [self._writer.run(), self._recorder.run(), give_back(self._clock)]
            background += [elector.run() for elector in self._electors]
            running += [group.create_task(task) for task in background]
            await self._manager.synced.wait()
            for step in self._after_sync:
                await step()
            collector.settle()
            self._write_state(port)
            await stop.wait()
            log.info("stopping")
            self._manager.stop()
            for task in running[1:]:
                task.cancel()

    async def _connect(self, account: str) -> Client:
        connection = load_kubeconfig(self._settings.accounts / f"{account}.kubeconfig")
        return await self._stack.enter_async_context(Client(connection, user_agent=account))

    def _elect(self, lease: str) -> LeaderElector:
        """An election of its own for each component, so that each may run where the other does not."""
        seconds = self._settings.lease_seconds
        elector = LeaderElector(
            self._client,
            namespace=keys.SYSTEM_NAMESPACE,
            name=lease,
            identity=self._settings.identity,
            clock=self._clock,
            duration=seconds,
            renew_every=seconds / 5,
            retry_every=seconds / 7.5,
        )
        self._electors.append(elector)
        return elector

    async def _prepare_webhook(self) -> None:
        config = self._live_config()
        assignments = Assignments(self._client, self._settings.host_ports, clock=self._clock)
        webhook = Webhook(
            self._manager,
            judge=self._judge,
            migration=self._migration,
            gateway=self._gateway_url,
            assignments=assignments,
        )
        self._routes += assign_routes(assignments, authorize=Authorizer(self._client).check)
        certificates = ensure_certificates(self._settings.certificates, [_HOST, "localhost"], now=self._clock.now())
        listener = Listener(
            webhook.app, host=_HOST, port=self._settings.webhook_port, tls=(certificates.certificate, certificates.key)
        )

        async def serve() -> None:
            port = await listener.start()
            self._stack.push_async_callback(listener.stop)
            registrar = Registrar(
                self._client,
                Address(ca=certificates.ca, url=f"https://{_HOST}:{port}"),
                native_pods=lambda: self._migration().sees_native_pods,
                clock=self._clock,
            )
            await registrar.register()
            config.on_change(registrar.changed)
            self._manager.add_task("registrar", registrar.run)

        self._after_sync.append(serve)

    def _live_config(self) -> LiveConfig:
        if self._config is None:
            self._config = LiveConfig(self._manager, recorder=self._recorder)
        return self._config

    def _migration(self) -> Migration:
        """What becomes of native pods, by the settings in force."""
        auto = self._live_config().current.auto_migration
        return Migration(progressive=self._settings.progressive_migration, auto=auto)

    def _gateway_url(self) -> str:
        """Where pods find the AI gateway; the dynamic configuration has the last word."""
        return self._live_config().current.llm_gateway.url or self._settings.gateway_url

    def _judge(self, uid: str, request: GpuRequest) -> str | None:
        """What the scheduler of this process, if it runs one, says about other amounts for a pod."""
        return None if self._scheduler is None else self._scheduler.judge(uid, request)

    def _preempts_cluster_wide(self) -> bool:
        """Whether pods of other namespaces may be evicted for a pod; the dynamic configuration has the last word."""
        told = self._live_config().current.preempt_cluster_wide
        return self._settings.preempt_cluster_wide if told is None else told

    async def _prepare_scheduler(self) -> None:
        config = SchedulerConfig(
            self._settings.scheduler_config,
            accepted=self._settings.state.with_name("scheduler-config.accepted.yaml"),
            clock=self._clock,
        )
        shards: Shards | None = None
        if self._settings.shard_by_pool:
            seconds = self._settings.lease_seconds
            shards = Shards(self._manager, identity=self._settings.identity, seconds=seconds)
            self._manager.add_task("shards", shards.run)
        service = SchedulerService(
            self._manager,
            self._elect(keys.LEADER_LEASE) if shards is None else shards.regime,
            recorder=self._recorder,
            writer=self._writer,
            options=Options(
                scheduler_names=self._settings.scheduler_names,
                configuration=config.current,
                preempt_cluster_wide=self._preempts_cluster_wide,
                watchdog_every=self._settings.watchdog_seconds,
                gang_patience=self._settings.gang_patience,
                domain_keys=self._settings.gang_domains,
                shards=shards,
                record=self._record(),
            ),
        )
        config.on_change = service.configure
        self._manager.add_task("scheduler-config", config.run)
        self._manager.add_task("scheduler", service.run)
        self._recorder.busy = lambda: service.saturated
        self._live_config()
        self._scheduler = service
        snapshot = CachedObjects(
            pools=self._manager.informer(r.GPU_POOLS, GPUPool),
            profiles=self._manager.informer(r.WORKLOAD_PROFILES, WorkloadProfile),
            quotas=self._manager.informer(r.GPU_RESOURCE_QUOTAS, GPUResourceQuota),
            namespaces=self._manager.informer(r.NAMESPACES, Namespace),
            workloads=self._manager.informer(r.TENSOR_FUSION_WORKLOADS, TensorFusionWorkload),
            models=LiveModels(
                self._manager.informer(r.GPUS, GPU), self._manager.informer(r.PROVIDER_CONFIGS, ProviderConfig)
            ),
        )
        self._routes += routes(
            service,
            admission=lambda pod: _admitted(pod, snapshot, self._migration()),
            authorize=self._authorizer.check,
            anonymous_read=self._settings.anonymous_read,
            usable=lambda namespace, pool: _may_use(snapshot, namespace, pool),
        )

    def _record(self) -> RecordOptions | None:
        wish = self._settings.record
        return None if wish is None else RecordOptions(wish.folder, wish.limit, names=wish.names)

    async def _prepare_operator(self) -> None:
        install_operator(
            self._manager,
            writer=self._writer,
            is_leader=self._elect(_OPERATOR_LEASE).is_leader,
            progressive=self._settings.progressive_migration,
        )
        pools = self._manager.informer(r.GPU_POOLS, GPUPool).cache

        async def first_pool() -> None:
            """Ready means that a first pod can be created, and a pod needs a pool."""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_POOL_SECONDS):
                    while not len(pools):
                        await self._clock.sleep(0.02)

        self._after_sync.append(first_pool)

    async def _prepare_nodes(self) -> None:
        path = self._settings.fleet
        nodes = load_fleet(path) if path is not None and path.exists() else demo_fleet()
        client = await self._connect(keys.HYPERVISOR_ACCOUNT)
        if self._settings.run_processes:
            nodes = beside_processes(nodes)
        else:
            self._after_sync.append(lambda: mark_absent(client, clock=self._clock))
        vendor = SimulatedVendor(device for node in nodes for device in _devices(node))
        native = self._settings.progressive_migration
        agent = NodeAgent(
            client,
            vendor,
            nodes=vendor.nodes,
            identity="simulated",
            clock=self._clock,
            recorder=self._recorder,
            policy=self._settings.isolation_policy,
            plugin=NativeDevices() if native else None,
        )
        kubelets = SimulatedKubelets(client, nodes, agent, clock=self._clock, native=native)
        agent.install(self._manager)
        kubelets.install(self._manager)
        if path is None:
            return

        def follow(fleet: Sequence[NodeSpec]) -> None:
            if self._settings.run_processes:
                fleet = beside_processes(fleet)
            agent.serve(node.name for node in fleet if node.devices is not None)
            vendor.follow(device for node in fleet for device in _devices(node))
            kubelets.machines.follow(fleet)

        self._manager.add_task("fleet-file", FleetWatch(path, follow, clock=self._clock).run)

    async def _prepare_workloads(self) -> None:
        client = await self._connect(WORKLOADS_ACCOUNT)
        install_controllers(client, self._manager, clock=self._clock)

    async def _serve_http(self) -> int:
        async def health(_: Request) -> Response:
            return JSONResponse({"status": "ok"})

        async def ready(_: Request) -> Response:
            synced = self._manager.synced.is_set()
            return JSONResponse({"status": "ok" if synced else "filling caches"}, 200 if synced else 503)

        async def metrics(_: Request) -> Response:
            body, content_type = metrics_response()
            return Response(body, media_type=content_type)

        own = [Route("/healthz", health), Route("/readyz", ready), Route("/metrics", metrics)]
        identity = self._settings.identity
        own.append(debug_route(identity, self._electors, lambda: self._scheduler, authorize=self._authorizer.check))
        compressed = Middleware(GZipMiddleware, minimum_size=_COMPRESSED_FROM, compresslevel=5)
        app = Starlette(routes=[*own, *self._routes], middleware=[compressed])
        listener = Listener(app, host=_HOST, port=self._settings.http_port)
        port = await listener.start()
        self._stack.push_async_callback(listener.stop)
        return port

    def _write_state(self, port: int) -> None:
        """Tell whoever started us that we are ready, and where."""
        state = self._settings.state
        fresh = state.with_suffix(".new")
        fresh.write_text(json.dumps({"http": f"http://{_HOST}:{port}", "pid": os.getpid()}))
        fresh.rename(state)


def _admitted(pod: Raw, snapshot: CachedObjects, migration: Migration) -> Raw:
    """The pod as the webhook would admit it, without anything being written.

    Raises:
        InvalidRequest: the webhook would refuse it.
    """
    metadata = pod.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    place = str(namespace or "default")
    view: Snapshot = snapshot
    if snapshot.namespace(place) is None:  # a namespace that is still to be made has no restrictions yet
        view = Overlay(snapshot)
        view.namespaces[place] = Namespace(metadata=Meta(name=place))
    verdict = admit(pod, namespace=place, seed="simulation", snapshot=view, migration=migration)
    if verdict.denial is not None:
        raise InvalidRequest(verdict.denial.message)
    admitted: Raw = json_patch(pod, verdict.ops)
    return admitted


def _may_use(snapshot: CachedObjects, namespace: str, pool: str) -> bool:
    found = snapshot.namespace(namespace)
    return found is None or allowed_pools(found).allows(pool)


def _devices(node: NodeSpec) -> list[Device]:
    spec = node.devices
    if spec is None:
        return []
    return devices_of(
        node.name,
        count=spec.count,
        vendor=spec.vendor,
        model=spec.full_name,
        compute=spec.compute,
        vram=spec.vram,
        numa=spec.numa,
        links=spec.links,
    )
