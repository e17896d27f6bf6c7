"""The parts of the API process put together, from an empty folder to a served API and back.

Everything that the server writes is in one folder: the store, keys and certificates (``pki``), the token file, the
admin's kubeconfig and the Unix socket.
"""

import asyncio
import base64
import secrets
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import yaml

from tensorfusion.clock import Clock
from tensorfusion.embedded.access.authentication import Authenticator
from tensorfusion.embedded.access.bootstrap import bootstrap_objects, with_missing_rules
from tensorfusion.embedded.access.certificates import Authority, write_private
from tensorfusion.embedded.access.node_rights import NodeRights
from tensorfusion.embedded.access.rbac import Rbac
from tensorfusion.embedded.access.reviews import Reviews
from tensorfusion.embedded.access.tokens import AccountTokens, Tokens, read_token_file
from tensorfusion.embedded.access.users import MASTERS
from tensorfusion.embedded.admission import Admission
from tensorfusion.embedded.audit import policy as audit_policy
from tensorfusion.embedded.audit.journal import Journal
from tensorfusion.embedded.audit.middleware import Audited
from tensorfusion.embedded.calls import Asked, Call
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.definitions import Definitions
from tensorfusion.embedded.discovery import Discovery
from tensorfusion.embedded.documents import Documents
from tensorfusion.embedded.expiry import EventExpiry
from tensorfusion.embedded.garbage import GarbageCollector
from tensorfusion.embedded.http import CUT_AFTER, TAKEN_WITHIN, App
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.listeners import Listener, bind_address, bind_unix, tls_context
from tensorfusion.embedded.meters import STORES
from tensorfusion.embedded.namespaces import Namespaces
from tensorfusion.embedded.node_ports import NodePorts
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.quotas.status import QuotaStatus
from tensorfusion.embedded.role_aggregation import RoleAggregation
from tensorfusion.embedded.routes import Routes
from tensorfusion.embedded.services import ServiceAddresses
from tensorfusion.embedded.store import HistoryLimits, ObjectKey, Store
from tensorfusion.embedded.stored_forms import as_stored_now
from tensorfusion.embedded.updates import modify
from tensorfusion.embedded.webhooks import Webhooks
from tensorfusion.errors import ConfigError
from tensorfusion.model.resources import SERVICES
from tensorfusion.runtime.heap import give_back
from tensorfusion.telemetry.logs import get_logger

ADMIN = "admin"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server is set up. ``services`` maps ``namespace/name`` of webhook services to URLs.

    ``cut_after`` is how long a client that reads nothing may keep the connection of a watch that is over, in seconds;
    ``taken_within`` how long it may take over a large answer.
    ``run_processes``: there is a process node, so simulated nodes are tainted and pods with shares tolerate that.
    """

    data: Path
    port: int = 0
    bind: str = "127.0.0.1"
    services: dict[str, str] = field(default_factory=dict)
    bookmark_every: float = 50.0
    cut_after: float = CUT_AFTER
    taken_within: float = TAKEN_WITHIN
    history: HistoryLimits | None = None
    run_processes: bool = False


class Server:
    """One API server. ``run`` serves until ``stop``."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        """Open the folder.

        Raises:
            ConfigError, StoreError: the folder, its keys, its store or the address cannot be used; one line says why.
        """
        self._settings = settings
        self._stopping = asyncio.Event()
        data = settings.data
        try:
            for folder in (data, data / "run", data / "pki"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make the folder {error.filename}: {error.strerror}; make it writable and free space"
            ) from error
        now = clock.now()
        authority = Authority.open(data / "pki", now)
        certificate, key = authority.serving(settings.bind, now)
        authority.client(ADMIN, ADMIN, (MASTERS,), now)
        self._authority = authority
        self._admin_token = _admin_token(data / "tokens.csv")
        self.kinds = Kinds.builtin()
        self.store = Store.open(data / "store.db", history=settings.history, renew=as_stored_now(self.kinds))
        STORES.add(self.store)
        rbac = Rbac(self.store)
        accounts = AccountTokens(data / "pki" / "sa.key", self.store, clock=clock)
        tokens = Tokens(read_token_file(data / "tokens.csv"), accounts)
        self._webhooks = Webhooks(self.store, self.kinds, services=settings.services)
        admission = Admission(self.store, rbac, self._webhooks, run_processes=settings.run_processes)
        self.operations = Operations(self.store, self.kinds, admission, clock=clock)
        self._definitions = Definitions(self.operations)
        addresses, node_ports = ServiceAddresses(self.store), NodePorts(self.store)

        def complete_service(kind: Kind, service: JsonObject, old: JsonObject | None) -> None:
            addresses.complete(kind, service, old)
            node_ports.complete(kind, service, old)

        self.operations.complete[SERVICES.id] = complete_service

        def hold_for_service(asked: Asked) -> None:
            addresses.hold(asked)
            node_ports.hold(asked)

        self.operations.hold[SERVICES.id] = hold_for_service
        self._namespaces = Namespaces(self.operations, root_ca=authority.pem().decode())
        self._garbage = GarbageCollector(self.operations)
        self._expiry = EventExpiry(self.store, self.kinds, clock=clock)
        self._role_aggregation = RoleAggregation(self.operations)
        self._quota_status = QuotaStatus(self.operations, admission.quotas)
        routes = Routes(
            self.operations,
            Reviews(rbac, tokens, clock=clock),
            accounts,
            clock=clock,
            node_socket=data / "run" / "node.sock",
            bookmark_every=settings.bookmark_every,
        )
        self._documents = Documents(Discovery(self.kinds), accounts, clock=clock)
        self.app = App(
            Authenticator(tokens, rbac),
            rbac,
            self.kinds,
            routes,
            self._documents,
            node_rights=NodeRights(self.store),
            stored=lambda: not self.store.closed,
            cut_after=settings.cut_after,
            taken_within=settings.taken_within,
        )
        self._audit = _audit(data, self.app, clock)
        self._clock = clock
        self._tls = tls_context(certificate, key, authority.path)
        self.port = settings.port

    def stop(self) -> None:
        """End gracefully: no new connections, watches end, requests under way are answered."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until stopped; the store is closed when this returns.

        Raises:
            ConfigError: the address cannot be used.
        """
        try:
            await self._namespaces.prepare()
            await self._bootstrap()
            doors = self._open_doors()
            try:
                async with asyncio.TaskGroup() as group:
                    workers = [
                        group.create_task(work(), name=name)
                        for name, work in (
                            ("garbage", self._garbage.run),
                            ("expiry", self._expiry.run),
                            ("namespaces", self._namespaces.run),
                            ("roles", self._role_aggregation.run),
                            ("definitions", self._definitions.run),
                            ("quotas", self._quota_status.run),
                            ("heap", lambda: give_back(self._clock)),
                            *(() if self._audit is None else (("audit", self._audit[1].run),)),
                        )
                    ]
                    serving = [group.create_task(door.serve(), name="listener") for door in doors]
                    self.app.ready = True
                    log.info("serving", port=self.port, data=str(self._settings.data))
                    await self._stopping.wait()
                    self.app.drain()
                    for door in doors:
                        door.stop()
                    await asyncio.wait(serving)
                    for worker in workers:
                        worker.cancel()
            finally:
                (self._settings.data / "run" / "api.sock").unlink(missing_ok=True)
        finally:
            await self._webhooks.close()
            await self.store.close()
            log.info("stopped")

    def _open_doors(self) -> tuple[Listener, Listener]:
        listening = bind_address(self._settings.bind, self._settings.port)
        self.port = int(listening.getsockname()[1])
        self._documents.address = f"{_reached_at(self._settings.bind)}:{self.port}"
        self._write_kubeconfig()
        local = bind_unix(self._settings.data / "run" / "api.sock")
        app = self.app if self._audit is None else self._audit[0]
        return Listener(app, listening, self._tls), Listener(app, local, None)

    async def _bootstrap(self) -> None:
        """Make what every cluster starts with. What exists only gets the rules that it lacks: a store may be older."""
        await asyncio.gather(*map(self._provide, bootstrap_objects()))

    async def _provide(self, obj: JsonObject) -> None:
        kind = self.kinds.of_kind(obj["apiVersion"], obj["kind"])
        if kind is None:
            return
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        record = self.store.get(ObjectKey(kind.resource.id, namespace, name))
        if record is None:
            await create(self.operations, kind, namespace, obj, Call.system("kube-apiserver"))
        elif with_missing_rules(decode_object(record.data), obj) is not None:
            complete = partial(_completed, wanted=obj)
            await modify(self.operations, kind, namespace, name, complete, Call.system("kube-apiserver"))

    def _write_kubeconfig(self) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "tensorfusion",
                    "cluster": {
                        "server": f"https://{self._documents.address}",
                        "certificate-authority-data": base64.b64encode(self._authority.pem()).decode(),
                    },
                }
            ],
            "users": [{"name": ADMIN, "user": {"token": self._admin_token}}],
            "contexts": [{"name": "tensorfusion", "context": {"cluster": "tensorfusion", "user": ADMIN}}],
            "current-context": "tensorfusion",
        }
        write_private(self._settings.data / "kubeconfig", yaml.safe_dump(config, sort_keys=False).encode())


def _audit(data: Path, app: App, clock: Clock) -> tuple[Audited, Journal] | None:
    """The application with its audit log around it, where the folder holds a policy.

    Raises:
        ConfigError: the policy cannot be used.
    """
    file = data / audit_policy.FILE
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file}: the audit policy cannot be read: {error.strerror}") from error
    policy = audit_policy.parse_policy(text, str(file)) if text.strip() else audit_policy.DEFAULT
    (data / "logs").mkdir(mode=0o700, exist_ok=True)
    journal = Journal(data / "logs" / "audit.log")
    return Audited(app, policy, journal, clock=clock), journal


def _completed(current: JsonObject, wanted: JsonObject) -> JsonObject:
    return with_missing_rules(current, wanted) or current


def _reached_at(bind: str) -> str:
    """The host that clients on this machine use for a server that binds to an address."""
    host = "127.0.0.1" if bind in ("0.0.0.0", "::") else bind  # noqa: S104  # compared, not bound to
    return f"[{host}]" if ":" in host else host


def _admin_token(path: Path) -> str:
    """The admin's token, from the token file, which is made if it is missing."""
    if not path.exists():
        write_private(path, f'{secrets.token_urlsafe(32)},{ADMIN},{ADMIN},"{MASTERS}"\n'.encode())
    for line in path.read_text("utf-8").splitlines():
        columns = line.split(",")
        if len(columns) > 1 and columns[1].strip() == ADMIN:
            return columns[0].strip().strip('"')
    return ""
