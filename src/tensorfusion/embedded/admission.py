"""Admission: what happens to a write between its author and the store.

First the server's own completions, then mutating webhooks; if a webhook changed the object, the completions run once
more and webhooks that asked for it are called again. Later, when the object is final and valid, the server's own
refusals and the validating webhooks. Nothing here writes.
"""

from tensorfusion.embedded.access.escalation import CHECKED, check_grant
from tensorfusion.embedded.access.rbac import Rbac
from tensorfusion.embedded.access.rules import Attributes
from tensorfusion.embedded.access.users import User
from tensorfusion.embedded.calls import Asked, Call, Operation
from tensorfusion.embedded.kind import Kind
from tensorfusion.embedded.limits import Limits
from tensorfusion.embedded.objects import encode_object
from tensorfusion.embedded.pod_admission import PodAdmission
from tensorfusion.embedded.quotas.quotas import Quotas
from tensorfusion.embedded.statuses import forbidden, not_found
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.embedded.webhooks import Passes, Webhooks
from tensorfusion.errors import FieldCause
from tensorfusion.model.resources import NAMESPACES, PODS

PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class Admission:
    """The chain, in order."""

    def __init__(self, store: Store, rbac: Rbac, webhooks: Webhooks, *, run_processes: bool = False) -> None:
        self._store = store
        self._rbac = rbac
        self._webhooks = webhooks
        self._pods = PodAdmission(store, run_processes=run_processes)
        self._limits = Limits(store)
        self.quotas = Quotas(store)

    def check_create(self, kind: Kind, namespace: str, name: str, user: User) -> None:
        """Creating by another verb needs the right to create.

        Raises:
            Forbidden: it is missing.
        """
        resource = kind.resource
        asked = Attributes("create", resource.group, resource.plural, name=name, namespace=namespace)
        self._rbac.check(user, asked)

    async def mutate(self, asked: Asked) -> None:
        """Complete and mutate ``asked.obj``.

        Raises:
            ApiError: refused, or a webhook whose failure counts could not be called.
        """
        self._check_namespace(asked)
        self._complete(asked)
        await self._call_mutating(asked)

    async def _call_mutating(self, asked: Asked) -> None:
        hooks = self._webhooks.mutating(asked)
        if not hooks:
            return
        passes = Passes()
        if not await self._webhooks.mutate(asked, hooks, passes):
            return
        if asked.kind.resource.id == PODS.id:  # nothing else is completed
            before = encode_object(asked.wanted)
            self._complete(asked)
            if encode_object(asked.wanted) != before:
                passes.object_changed()
        if passes.wants_second:
            passes.is_second = True
            await self._webhooks.mutate(asked, hooks, passes)

    async def consult(self, asked: Asked) -> None:
        """Ask the webhooks alone, about a question that nothing is stored of.

        Raises:
            ApiError: as ``mutate`` and ``validate``.
        """
        await self._call_mutating(asked)
        await self._webhooks.validate(asked, self._webhooks.validating(asked))

    def is_watched(self, operation: Operation, kind: Kind) -> bool:
        """Whether any webhook wants to hear of such writes."""
        asked = Asked(operation, kind, "", "", Call.system())
        return bool(self._webhooks.mutating(asked) or self._webhooks.validating(asked))

    async def validate(self, asked: Asked) -> None:
        """Refuse what may not be written.

        Raises:
            ApiError: refused, or a webhook whose failure counts could not be called.
        """
        if asked.operation is Operation.DELETE:
            _protect(asked)
        elif asked.obj is not None and not asked.subresource and asked.kind.resource.id in CHECKED:
            check_grant(self._rbac, asked.call.user, asked.kind.resource, asked.obj, old=asked.old)
        self._limits.check(asked)
        hooks = self._webhooks.validating(asked)
        if hooks:
            await self._webhooks.validate(asked, hooks)
        self.quotas.charge(asked)

    def _complete(self, asked: Asked) -> None:
        if asked.kind.resource.id == PODS.id:
            self._limits.complete(asked)
            self._pods.admit(asked)

    def _check_namespace(self, asked: Asked) -> None:
        """Only a namespace that exists and stays takes new objects."""
        if asked.operation is not Operation.CREATE or not asked.namespace or asked.subresource:
            return
        if asked.kind.resource.id == NAMESPACES.id:
            return
        found = self._store.latest(ObjectKey(NAMESPACES.id, "", asked.namespace))
        if found is None:
            raise not_found(NAMESPACES, asked.namespace)
        if found.fields.get("status.phase") == "Terminating":
            raise forbidden(
                asked.kind.resource,
                asked.name,
                f"unable to create new content in namespace {asked.namespace} because it is being terminated",
                causes=(
                    FieldCause(
                        "metadata.namespace", f"namespace {asked.namespace} is being terminated", "NamespaceTerminating"
                    ),
                ),
            )


def _protect(asked: Asked) -> None:
    if asked.kind.resource.id == NAMESPACES.id and asked.name in PROTECTED_NAMESPACES:
        raise forbidden(NAMESPACES, asked.name, "this namespace may not be deleted")
