"""The quotas of all namespaces: followed through the store's commits, asked in admission.

A namespace without quotas costs one look into a dict for each write. Between the check and the hold there is no await,
and what is held is counted as used, so concurrent writes never go over.
"""

from collections.abc import Callable, Sequence

from tensorfusion.embedded.access.users import SYSTEM
from tensorfusion.embedded.calls import Asked, Operation
from tensorfusion.embedded.objects import decode_object
from tensorfusion.embedded.quotas.account import Account
from tensorfusion.embedded.statuses import forbidden
from tensorfusion.embedded.store import EventKind, Record, Store, StoreEvent
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES

_MAY_GROW = frozenset({PERSISTENT_VOLUME_CLAIMS.id, SERVICES.id})
_PHASE = "status.phase"


class Quotas:
    """``on_new`` is called with the key of a quota that came or changed, ``on_change`` when its sum has changed."""

    def __init__(self, store: Store) -> None:
        self.on_new: Callable[[Key], None] = _nobody
        self.on_change: Callable[[Key], None] = _nobody
        self._store = store
        self._spaces: dict[str, dict[str, Account]] = {}
        for record in store.scan(RESOURCE_QUOTAS.id):
            self._open(record)
        store.on_commit(self._follow)

    def account(self, namespace: str, name: str) -> Account | None:
        return self._spaces.get(namespace, {}).get(name)

    def charge(self, asked: Asked) -> None:
        """Check a write that is ready for the store and keep room for it until ``asked.settle`` gives it back.

        Raises:
            Forbidden: a quota of the namespace is used up, or wants the pod to say what it needs.
        """
        accounts = self._spaces.get(asked.namespace)
        obj = asked.obj
        if accounts is None or obj is None or asked.subresource or asked.call.user is SYSTEM:
            return
        resource = asked.kind.resource.id
        old = None if asked.operation is Operation.CREATE else asked.old
        if old is not None and resource not in _MAY_GROW:
            return
        concerned = [accounts[name] for name in sorted(accounts) if resource in accounts[name].resources]
        for account in concerned:
            why = account.problem(resource, obj, old)
            if why:
                raise forbidden(asked.kind.resource, asked.name, why)
        uid = obj["metadata"]["uid"]
        held = [(account, account.hold(uid, account.increase(resource, obj, old))) for account in concerned]
        if held:
            asked.settle.append(lambda: _settle(uid, held))

    # --- following ---

    def _follow(self, events: Sequence[StoreEvent]) -> None:
        for event in events:
            namespace = event.record.key.namespace
            if event.record.key.resource == RESOURCE_QUOTAS.id:
                self._follow_quota(event)
            accounts = self._spaces.get(namespace)
            if accounts is not None:
                self._count(event, accounts)

    def _follow_quota(self, event: StoreEvent) -> None:
        namespace, name = event.record.key.namespace, event.record.key.name
        if event.kind is not EventKind.DELETED:
            self._open(event.record)
            self.on_new(Key(namespace, name))
            return
        accounts = self._spaces.get(namespace, {})
        accounts.pop(name, None)
        if not accounts:
            self._spaces.pop(namespace, None)

    def _open(self, record: Record) -> None:
        """Start an account, or start it anew when the quota is about something else now."""
        account = Account(decode_object(record.data))
        accounts = self._spaces.setdefault(record.key.namespace, {})
        known = accounts.get(account.name)
        if known is not None and (known.shown_hard, known.scopes) == (account.shown_hard, account.scopes):
            return
        for resource in account.resources:
            for found in self._store.scan(resource, record.key.namespace):
                account.count(found.uid, account.usage(resource, decode_object(found.data)))
        accounts[account.name] = account

    def _count(self, event: StoreEvent, accounts: dict[str, Account]) -> None:
        record = event.record
        resource = record.key.resource
        obj = None
        for account in accounts.values():
            if resource not in account.resources:
                continue
            if event.kind is EventKind.DELETED:
                changed = account.count(record.uid, {})
            elif account.knows(record.uid) and _is_same(event) and not account.scopes:
                continue
            else:
                obj = decode_object(record.data) if obj is None else obj
                changed = account.count(record.uid, account.usage(resource, obj))
            if changed:
                self.on_change(Key(record.key.namespace, account.name))


def _is_same(event: StoreEvent) -> bool:
    """Whether a change of a pod is none to quotas: they ask only whether it has ended. Saves decoding it."""
    record, previous = event.record, event.previous
    if record.key.resource != PODS.id or previous is None:
        return False
    return record.fields.get(_PHASE) == previous.fields.get(_PHASE)


def _settle(uid: str, held: Sequence[tuple[Account, int]]) -> None:
    for account, number in held:
        account.release(uid, number)


def _nobody(key: Key) -> None:
    """Nobody wants to know."""
