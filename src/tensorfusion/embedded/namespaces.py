"""The life of namespaces: the four of the system, what every namespace holds from its birth, and how one ends.

Ending one: all pods go first, then everything else kind by kind, and when nothing is left the finalizer ``kubernetes``
and with it the namespace. What is in the way is said in the namespace's conditions.

Driven by the commits themselves: each deletion of something inside a terminating namespace asks for another look, so no
time is waited out where a real controller, which only has its caches, sleeps. An object that was let in just before its
namespace ended is found the same way.

Source: the namespace, service account and root CA controllers of kube-controller-manager 1.34, by behaviour.
"""

from collections.abc import Sequence

from tensorfusion.embedded.calls import Call, DeleteOptions, Propagation
from tensorfusion.embedded.creation import create
from tensorfusion.embedded.deletion import delete
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.namespace_conditions import Remains, update_conditions
from tensorfusion.embedded.objects import JsonObject, decode_object
from tensorfusion.embedded.operations import Operations
from tensorfusion.embedded.ownership import may_be_deleting, metadata_of
from tensorfusion.embedded.pace import Pace
from tensorfusion.embedded.store import EventKind, ObjectKey, Record, RevisionMismatch, StoreEvent
from tensorfusion.embedded.strategies import NAMESPACE_FINALIZER
from tensorfusion.embedded.updates import modify
from tensorfusion.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from tensorfusion.runtime.controller import DONE, Controller, Result

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"

_WORKERS = 4
_RETRY = 5.0
_SETTLE = 0.02
"""Seconds in which the deletions inside a terminating namespace gather: not each is worth a look at the rest."""

_DESCRIPTION = "kubernetes.io/description"
_ROOT_CA_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)
_COMPANIONS = frozenset({(SERVICE_ACCOUNTS.id, DEFAULT_ACCOUNT), (CONFIG_MAPS.id, ROOT_CA)})


class Namespaces:
    """Runs beside the API in the same process. ``prepare`` before serving, then ``run`` until cancelled.

    ``root_ca`` is the PEM text of the certificate authority that clients inside the cluster should trust.
    """

    def __init__(self, operations: Operations, *, root_ca: str) -> None:
        self._operations = operations
        self._store = operations.store
        self._kinds = operations.kinds
        self._root_ca = root_ca
        self._controller = Controller("namespaces", self, clock=operations.clock, workers=_WORKERS)
        self._pace = Pace()
        self._terminating: set[str] = set()
        self._store.on_commit(self._committed)

    async def prepare(self) -> None:
        """Make the system's namespaces and see to every namespace once."""
        for name in SYSTEM_NAMESPACES:
            await self._ensure(name)
        for record in self._store.scan(NAMESPACES.id):
            if metadata_of(record).deleting:
                self._terminating.add(record.key.name)
                self._controller.queue.add(Key("", record.key.name))
            else:
                await self._furnish(record.key.name)

    async def run(self) -> None:
        """See to namespaces until cancelled."""
        await self._controller.run()

    def _committed(self, events: Sequence[StoreEvent]) -> None:
        """Queue the namespaces that a commit concerns. On the path of every write: it must stay this short."""
        for event in events:
            resource, namespace, name = event.record.key
            if not namespace:
                if resource == NAMESPACES.id:
                    self._controller.queue.add(Key("", name))
            elif namespace in self._terminating:
                self._controller.queue.add(Key("", namespace), after=_SETTLE)
            elif (resource, name) in _COMPANIONS or (
                event.kind is EventKind.ADDED and self._store.get(_namespace_key(namespace)) is None
            ):
                self._controller.queue.add(Key("", namespace))

    async def reconcile(self, key: Key) -> Result:
        """Bring one namespace to where it should be: furnished, ended, or back, if it is one of the system's."""
        record = self._store.get(_namespace_key(key.name))
        if record is None:
            self._terminating.discard(key.name)
            if key.name in SYSTEM_NAMESPACES:
                await self._ensure(key.name)
            else:
                await self._empty(key.name)  # what was let in just before the namespace ended
            return DONE
        if metadata_of(record).deleting:
            self._terminating.add(key.name)
            return await self._end(record)
        await self._furnish(key.name)
        return DONE

    # --- birth ---

    async def _ensure(self, name: str) -> None:
        if self._store.get(_namespace_key(name)) is None:
            await self._create(self._kinds.by_id(NAMESPACES.id), "", {"metadata": {"name": name}}, "kube-apiserver")

    async def _furnish(self, namespace: str) -> None:
        """Every namespace has its default account and the certificate of the API's authority."""
        if self._store.get(ObjectKey(SERVICE_ACCOUNTS.id, namespace, DEFAULT_ACCOUNT)) is None:
            account: JsonObject = {"metadata": {"name": DEFAULT_ACCOUNT}}
            await self._create(self._kinds.by_id(SERVICE_ACCOUNTS.id), namespace, account)
        kind = self._kinds.by_id(CONFIG_MAPS.id)
        record = self._store.get(ObjectKey(CONFIG_MAPS.id, namespace, ROOT_CA))
        if record is None:
            await self._create(kind, namespace, self._certificate({"metadata": {"name": ROOT_CA}}))
            return
        current = decode_object(record.data)
        if self._certificate(current) != current:
            await modify(self._operations, kind, namespace, ROOT_CA, self._certificate, Call.system())

    def _certificate(self, current: JsonObject) -> JsonObject:
        """The ConfigMap with what it must hold; labels and other annotations are its owner's."""
        metadata = current["metadata"]
        annotations = metadata.get("annotations") or {}
        described = {**annotations, _DESCRIPTION: annotations.get(_DESCRIPTION) or _ROOT_CA_DESCRIPTION}
        return {**current, "metadata": {**metadata, "annotations": described}, "data": {"ca.crt": self._root_ca}}

    async def _create(
        self, kind: Kind, namespace: str, obj: JsonObject, manager: str = "kube-controller-manager"
    ) -> None:
        obj = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind, **obj}
        try:
            await create(self._operations, kind, namespace, obj, Call.system(manager))
        except AlreadyExists:
            return
        except (Forbidden, NotFound):
            if self._lives(namespace):
                raise  # otherwise it ended meanwhile, and needs no furniture

    def _lives(self, namespace: str) -> bool:
        record = self._store.latest(_namespace_key(namespace))
        return not namespace or (record is not None and not metadata_of(record).deleting)

    # --- end ---

    async def _end(self, record: Record) -> Result:
        """Delete what is inside; when nothing is left, let the namespace go."""
        obj = decode_object(record.data)
        if NAMESPACE_FINALIZER not in (obj.get("spec") or {}).get("finalizers", ()):
            return DONE
        name = record.key.name
        remains = await self._empty(name)
        try:
            await self._say(name, record.uid, remains)
        except NotFound:
            return DONE  # finalized by somebody else
        if remains.failures:
            return Result(requeue_after=_RETRY)
        if not remains.counts:
            await self._finalize(name, record.uid)
        return DONE  # what remains is waited for: its deletion is the next event

    async def _empty(self, namespace: str) -> Remains:
        """Delete the content of a namespace, pods before the rest, and say what is still there."""
        remains = Remains()
        await self._delete_all(PODS.id, namespace, remains)
        if not remains.counts:
            for resource in self._store.resources():
                await self._delete_all(resource, namespace, remains)
        return remains

    async def _delete_all(self, resource: str, namespace: str, remains: Remains) -> None:
        try:
            kind = self._kinds.by_id(resource)
        except NotFound:
            return  # left over from a kind that is no longer served: nobody can see or delete it
        if not kind.namespaced:
            return
        options = DeleteOptions(propagation=Propagation.BACKGROUND)
        for record in self._store.scan(resource, namespace):
            await self._pace.step()
            if may_be_deleting(record) and metadata_of(record).deleting:
                continue
            try:
                await delete(self._operations, kind, namespace, record.key.name, options, Call.system())
            except NotFound:
                continue
            except ApiError as error:
                remains.failures.append(str(error))
        for record in self._store.scan(resource, namespace):
            await self._pace.step()
            remains.finalizers.update(metadata_of(record).finalizers)
            remains.counts[kind.resource.plural, kind.resource.group] += 1

    async def _say(self, name: str, uid: str, remains: Remains) -> None:
        """Write what is in the way into the namespace's conditions, if it is news."""
        now = self._operations.now()

        def change(current: JsonObject) -> JsonObject:
            if current["metadata"]["uid"] == uid:
                current["status"] = update_conditions(current.get("status") or {}, remains, now=now)
            return current

        kind = self._kinds.by_id(NAMESPACES.id)
        await modify(self._operations, kind, "", name, change, Call.system(), subresource="status")

    async def _finalize(self, name: str, uid: str) -> None:
        """Take the namespace's own finalizer away, which removes it unless somebody else holds it too."""
        record = self._store.latest(_namespace_key(name))
        if record is None or record.uid != uid:
            return
        obj = decode_object(record.data)
        spec = obj["spec"]
        spec["finalizers"] = [item for item in spec.get("finalizers", ()) if item != NAMESPACE_FINALIZER]
        if not spec["finalizers"]:
            del spec["finalizers"]
        try:
            await self._operations.write(self._kinds.by_id(NAMESPACES.id), record, obj, Call.system())
        except RevisionMismatch as error:
            raise Conflict(f'namespaces "{name}" was changed while it was finalized; trying again') from error


def _namespace_key(name: str) -> ObjectKey:
    return ObjectKey(NAMESPACES.id, "", name)
