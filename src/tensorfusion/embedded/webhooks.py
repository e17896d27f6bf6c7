"""Calling admission webhooks over HTTPS, and what a failure of one means.

Connections are kept alive, one pool for all webhooks; TLS contexts are made once per CA bundle. Mutating webhooks
are called one after the other, each seeing what the one before made; validating webhooks are called at the same
time.

Source: Kubernetes, "Dynamic Admission Control".
"""

import asyncio
import base64
import binascii
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from tensorfusion.cel import CelError
from tensorfusion.embedded.calls import Asked
from tensorfusion.embedded.meters import WEBHOOK_FAILURES, WEBHOOK_SECONDS
from tensorfusion.embedded.objects import decode_object, encode_object
from tensorfusion.embedded.patch import json_patch, parse_json_patch
from tensorfusion.embedded.selectors import LabelTerms
from tensorfusion.embedded.statuses import forbidden
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.embedded.webhook_index import FailurePolicy, Hook, HookIndex
from tensorfusion.embedded.webhook_review import ReviewError, Verdict, decode_review, encode_review
from tensorfusion.errors import ApiError, FieldCause, ServerError
from tensorfusion.model.resources import MUTATING_WEBHOOKS, NAMESPACES, VALIDATING_WEBHOOKS
from tensorfusion.telemetry.logs import get_logger

_MOST_CONNECTIONS = 64
_KEEP_ALIVE_SECONDS = 60
_MOST_ANSWER = 16 << 20

log = get_logger(__name__)


class _CallFailed(Exception):
    """The webhook could not be asked or did not answer usably."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one pass of mutating webhooks did: whether the object changed, and which webhooks want to see it again."""

    changed: bool
    hooks: tuple[Hook, ...]


class Webhooks:
    """Every admission webhook of one server. ``services`` maps ``namespace/name`` to the URL it is reached at."""

    def __init__(self, store: Store, *, services: dict[str, str] | None = None) -> None:
        self._store = store
        self._mutating = HookIndex(store, MUTATING_WEBHOOKS, services or {})
        self._validating = HookIndex(store, VALIDATING_WEBHOOKS, services or {})
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def mutating(self, asked: Asked) -> tuple[Hook, ...]:
        """Mutating webhooks whose rules cover the write."""
        return self._mutating.of(asked)

    def validating(self, asked: Asked) -> tuple[Hook, ...]:
        """Validating webhooks whose rules cover the write."""
        return self._validating.of(asked)

    async def mutate(self, asked: Asked, hooks: Sequence[Hook]) -> Round:
        """Let webhooks change ``asked.obj``, in order.

        Raises:
            ApiError: one denied, or failed and its failure counts.
        """
        changed = False
        called: list[Hook] = []
        again: dict[Hook, None] = {}
        for hook in hooks:
            if not self._concerns(hook, asked):
                continue
            verdict = await self._ask(hook, asked, mutating=True)
            if verdict is not None and verdict.operations and _patch(hook, asked, verdict):
                changed = True
                again.update(dict.fromkeys(called))
            if hook.reinvoke:
                called.append(hook)
        return Round(changed, tuple(hook for hook in hooks if hook in again))

    async def validate(self, asked: Asked, hooks: Sequence[Hook]) -> None:
        """Let webhooks refuse ``asked``.

        Raises:
            ApiError: one denied, or failed and its failure counts.
        """
        concerned = [hook for hook in hooks if self._concerns(hook, asked)]
        if len(concerned) == 1:
            await self._ask(concerned[0], asked, mutating=False)
        elif concerned:
            outcomes = await asyncio.gather(
                *(self._ask(hook, asked, mutating=False) for hook in concerned), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    # --- does it concern us ---

    def _concerns(self, hook: Hook, asked: Asked) -> bool:
        return (
            _labels_match(hook.objects, asked)
            and self._namespace_matches(hook.namespaces, asked)
            and _conditions_hold(hook, asked)
        )

    def _namespace_matches(self, terms: LabelTerms, asked: Asked) -> bool:
        if not terms.requirements:
            return True
        if asked.kind.resource.id == NAMESPACES.id:
            shown = asked.obj if asked.obj is not None else asked.old
            return terms.matches(((shown or {}).get("metadata") or {}).get("labels") or {})
        if not asked.namespace:
            return True
        record = self._store.get(ObjectKey(NAMESPACES.id, "", asked.namespace))
        return terms.matches(record.labels if record is not None else {})

    # --- asking ---

    async def _ask(self, hook: Hook, asked: Asked, *, mutating: bool) -> Verdict | None:
        """The webhook's answer; None when it failed and that is to be ignored."""
        uid, body = encode_review(asked)
        started = time.perf_counter()
        try:
            answer = await self._post(hook, body)
            verdict = decode_review(hook.name, uid, answer, mutating=mutating)
        except (_CallFailed, ReviewError) as error:
            message = f'failed calling webhook "{hook.name}": {error}'
            ignored = hook.failure_policy is FailurePolicy.IGNORE
            WEBHOOK_FAILURES.add((hook.name, str(ignored).lower()))
            if ignored:
                log.warning("webhook failed, ignored", webhook=hook.name, error=str(error))
                return None
            raise ServerError(f"Internal error occurred: {message}", causes=(FieldCause("", message, ""),)) from error
        asked.call.warnings.extend(verdict.warnings)
        rejected = "false" if verdict.denial is None else "true"
        kind = "admit" if mutating else "validating"
        WEBHOOK_SECONDS.observe((hook.name, asked.operation, rejected, kind), time.perf_counter() - started)
        if verdict.denial is not None:
            raise verdict.denial
        return verdict

    async def _post(self, hook: Hook, body: bytes) -> bytes:
        if not hook.url:
            raise _CallFailed(f'failed to call webhook: no address is known for service "{hook.service}"')
        url = f"{hook.url}{'&' if '?' in hook.url else '?'}timeout={hook.timeout:g}s"
        try:
            async with self._open().post(
                url,
                data=body,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                ssl=self._context(hook.ca_bundle),
                server_hostname=hook.server_name or None,
                timeout=aiohttp.ClientTimeout(total=hook.timeout),
                allow_redirects=False,
            ) as response:
                answer = await response.content.read(_MOST_ANSWER)
                if response.status != 200:
                    shown = answer[:200].decode("utf-8", "replace")
                    raise _CallFailed(f"failed to call webhook: the server answered {response.status}: {shown}")
                return answer
        except TimeoutError as error:
            raise _CallFailed(f'failed to call webhook: Post "{url}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _CallFailed(f'failed to call webhook: Post "{url}": {error}') from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=_MOST_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS
            )
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        return self._session

    def _context(self, ca_bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(ca_bundle)
        if context is None:
            try:
                pem = base64.b64decode(ca_bundle).decode("ascii") if ca_bundle else None
                context = ssl.create_default_context(cadata=pem)
            except (ssl.SSLError, binascii.Error, ValueError) as error:
                raise _CallFailed(
                    f"unable to load root certificates: unable to parse bytes as PEM block: {error}"
                ) from error
            self._contexts[ca_bundle] = context
        return context


def _labels_match(terms: LabelTerms, asked: Asked) -> bool:
    """Either the new or the old object has to match."""
    if not terms.requirements:
        return True
    return any(
        terms.matches((obj.get("metadata") or {}).get("labels") or {})
        for obj in (asked.obj, asked.old)
        if obj is not None
    )


def _conditions_hold(hook: Hook, asked: Asked) -> bool:
    """All match conditions; one that is false wins over one that fails.

    Raises:
        Forbidden: a condition failed and the failure policy is Fail.
    """
    failure: str = ""
    for name, condition in hook.conditions:
        try:
            if isinstance(condition, CelError):
                raise condition
            if not condition.test(object=asked.obj, old_object=asked.old, request=_request_of(asked)):
                return False
        except CelError as error:
            failure = failure or f"{name}: {error}"
    if not failure:
        return True
    if hook.failure_policy is FailurePolicy.IGNORE:
        log.warning("match condition failed, ignored", webhook=hook.name, error=failure)
        return False
    raise forbidden(
        asked.kind.resource, asked.name, f'webhook "{hook.name}": match condition could not be evaluated: {failure}'
    )


def _request_of(asked: Asked) -> dict[str, object]:
    """The ``request`` variable of match conditions."""
    resource, user = asked.kind.resource, asked.call.user
    group, version, kind = asked.shape or (resource.group, resource.version, resource.kind)
    return {
        "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "subResource": asked.subresource,
        "name": asked.name,
        "namespace": asked.namespace,
        "operation": asked.operation.value,
        "userInfo": {
            "username": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
        },
        "dryRun": asked.call.dry_run,
    }


def _patch(hook: Hook, asked: Asked, verdict: Verdict) -> bool:
    """Apply a webhook's patch; whether it changed anything.

    Raises:
        ServerError: the patch does not apply, whatever the failure policy: it may be what makes the object safe.
    """
    if asked.obj is None:
        raise ServerError(
            f'Internal error occurred: admission webhook "{hook.name}" attempted to modify the object, which is not '
            "supported for this operation"
        )
    try:
        patched = json_patch(decode_object(encode_object(asked.obj)), parse_json_patch(list(verdict.operations)))
    except ApiError as error:
        raise ServerError(f'Internal error occurred: admission webhook "{hook.name}": {error}') from error
    if not isinstance(patched, dict):
        raise ServerError(f'Internal error occurred: admission webhook "{hook.name}" made something that is no object')
    changed = patched != asked.obj
    asked.obj = patched
    return changed
