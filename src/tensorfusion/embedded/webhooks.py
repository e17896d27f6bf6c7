"""Calling admission webhooks over HTTPS, and what a failure of one means.

Connections are kept alive, one pool for each address, trust and name; TLS contexts are made once per CA bundle in use.
Mutating webhooks are called one after the other, each seeing what the one before made; validating webhooks are called
at the same time.

Source: Kubernetes, "Dynamic Admission Control".
"""

import asyncio
import base64
import binascii
import ssl
import time
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from tensorfusion.cel import CelError
from tensorfusion.embedded.calls import Asked, Operation
from tensorfusion.embedded.kinds import Kinds
from tensorfusion.embedded.meters import WEBHOOK_FAILURES, WEBHOOK_SECONDS
from tensorfusion.embedded.objects import decode_object
from tensorfusion.embedded.patch import json_patch, parse_json_patch
from tensorfusion.embedded.selectors import LabelTerms
from tensorfusion.embedded.statuses import forbidden, internal_error
from tensorfusion.embedded.store import ObjectKey, Store
from tensorfusion.embedded.webhook_index import FailurePolicy, Hook, HookIndex, Match
from tensorfusion.embedded.webhook_review import ReviewError, Shown, Verdict, decode_review, encode_review, request_of
from tensorfusion.errors import BadRequest, Invalid, TooLarge
from tensorfusion.model.resources import MUTATING_WEBHOOKS, NAMESPACES, SERVICES, VALIDATING_WEBHOOKS
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.wire.errors import NotReached, WireError
from tensorfusion.wire.messages import origin_of
from tensorfusion.wire.pool import Pool

_MOST_CONNECTIONS = 64
_KEEP_ALIVE_SECONDS = 60
_MOST_ANSWER = 16 << 20
_MOST_LINES = 128
_FIELDS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tensorfusion-apiserver"}

log = get_logger(__name__)


class _CallFailed(Exception):
    """The webhook could not be asked or did not answer usably."""


class _Line(NamedTuple):
    """The connections to one address under one trust; ``gate`` bounds them."""

    pool: Pool
    gate: asyncio.Semaphore

    async def enter(self, seconds: float) -> float:
        """Pass the gate; returns what is left of so many seconds. A timer costs, and there is hardly ever a queue.

        Raises:
            TimeoutError: nobody left in time.
        """
        if not self.gate.locked():
            await self.gate.acquire()  # at once
            return seconds
        loop = asyncio.get_running_loop()
        came = loop.time()
        async with asyncio.timeout(seconds):
            await self.gate.acquire()
        return max(0.0, seconds - (loop.time() - came))


class Passes:
    """The two passes of one write through the mutating webhooks: who was called, and who has to be called again.

    A webhook whose policy is IfNeeded is called again when the object is changed after its call: by a later webhook, or
    by the server's own completions between the passes.
    """

    def __init__(self) -> None:
        self.is_second = False
        self._called: set[Hook] = set()
        self._again: set[Hook] = set()

    @property
    def wants_second(self) -> bool:
        return bool(self._again)

    def skips(self, hook: Hook) -> bool:
        """Nobody is called for the first time in the second pass."""
        return self.is_second and hook not in self._again

    def called(self, hook: Hook, *, changed: bool) -> None:
        if changed:
            self.object_changed()
        if hook.reinvoke:
            self._called.add(hook)

    def object_changed(self) -> None:
        """Somebody changed the object: who has seen it before may want to see it again."""
        self._again |= self._called
        self._called.clear()


class Webhooks:
    """Every admission webhook of one server. ``services`` maps ``namespace/name`` to the URL it is reached at."""

    def __init__(self, store: Store, kinds: Kinds, *, services: dict[str, str] | None = None) -> None:
        self._store = store
        self._mutating = HookIndex(store, kinds, MUTATING_WEBHOOKS, services or {})
        self._validating = HookIndex(store, kinds, VALIDATING_WEBHOOKS, services or {})
        self._lines: dict[tuple[str, str, str], _Line] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        lines, self._lines = self._lines, {}
        for line in lines.values():
            await line.pool.close()

    def mutating(self, asked: Asked) -> tuple[Match, ...]:
        """Mutating webhooks whose rules cover the write."""
        return () if asked.call.admitted else self._mutating.of(asked)

    def validating(self, asked: Asked) -> tuple[Match, ...]:
        """Validating webhooks whose rules cover the write."""
        return () if asked.call.admitted else self._validating.of(asked)

    async def mutate(self, asked: Asked, matches: Sequence[Match], passes: Passes) -> bool:
        """Let webhooks change ``asked.obj``, in order; whether any did.

        Raises:
            ApiError: one denied, or failed and its failure counts, or its patch cannot be applied.
        """
        any_changed = False
        for match in matches:
            hook, shown = match.hook, Shown(asked, match.kind)
            if not self._concerns(hook, shown) or passes.skips(hook):
                continue
            verdict = await self._ask(hook, shown, mutating=True)
            changed = verdict is not None and bool(verdict.operations) and _patch(hook, shown, verdict)
            any_changed = any_changed or changed
            passes.called(hook, changed=changed)
        return any_changed

    async def validate(self, asked: Asked, matches: Sequence[Match]) -> None:
        """Let webhooks refuse ``asked``.

        Raises:
            ApiError: one denied, or failed and its failure counts.
        """
        every = ((match.hook, Shown(asked, match.kind)) for match in matches)
        concerned = [(hook, shown) for hook, shown in every if self._concerns(hook, shown)]
        if len(concerned) == 1:
            await self._ask(*concerned[0], mutating=False)
        elif concerned:
            outcomes = await asyncio.gather(
                *(self._ask(hook, shown, mutating=False) for hook, shown in concerned), return_exceptions=True
            )
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    # --- does it concern us ---

    def _concerns(self, hook: Hook, shown: Shown) -> bool:
        return (
            _labels_match(hook.objects, shown.asked)
            and self._namespace_matches(hook.namespaces, shown.asked)
            and _conditions_hold(hook, shown)
        )

    def _namespace_matches(self, terms: LabelTerms, asked: Asked) -> bool:
        if not terms.requirements:
            return True
        if asked.kind.resource.id == NAMESPACES.id:
            if asked.operation is Operation.CREATE:
                return terms.matches(((asked.obj or {}).get("metadata") or {}).get("labels") or {})
            record = self._store.get(ObjectKey(NAMESPACES.id, "", asked.name))
            return terms.matches(record.labels if record is not None else {})
        if not asked.namespace:
            return True
        record = self._store.get(ObjectKey(NAMESPACES.id, "", asked.namespace))
        return terms.matches(record.labels if record is not None else {})

    # --- asking ---

    async def _ask(self, hook: Hook, shown: Shown, *, mutating: bool) -> Verdict | None:
        """The webhook's answer; None when it failed and that is to be ignored."""
        asked, (uid, body) = shown.asked, encode_review(shown)
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
            raise internal_error(message) from error
        asked.call.warnings.extend(warning for warning in verdict.warnings if warning.isprintable() and warning)
        rejected = "false" if verdict.denial is None else "true"
        kind = "admit" if mutating else "validating"
        WEBHOOK_SECONDS.observe((hook.name, asked.operation, rejected, kind), time.perf_counter() - started)
        if verdict.denial is not None:
            raise verdict.denial
        return verdict

    async def _post(self, hook: Hook, body: bytes) -> bytes:
        if not hook.url:
            raise _CallFailed(self._unreachable(hook))
        url = f"{hook.url}{'&' if '?' in hook.url else '?'}timeout={hook.timeout:g}s"
        try:
            line, target = await self._line(hook, url)
            left = await line.enter(hook.timeout)
            try:
                answer = await line.pool.request(
                    "POST", target, fields=_FIELDS, body=body, seconds=left, most=_MOST_ANSWER
                )
            finally:
                line.gate.release()
        except TimeoutError as error:
            raise _CallFailed(f'failed to call webhook: Post "{url}": context deadline exceeded') from error
        except (WireError, ValueError) as error:
            raise _CallFailed(f'failed to call webhook: Post "{url}": {_network_words(error)}') from error
        if not 200 <= answer.status <= 206:
            words = _refusal(answer.status, answer.field(b"content-type") or "", answer.body)
            raise _CallFailed(f"failed to call webhook: {words}")
        return answer.body

    def _unreachable(self, hook: Hook) -> str:
        """Why a service has no address: it is not there, or nobody said where it is reached."""
        namespace, _, name = hook.service.partition("/")
        if self._store.get(ObjectKey(SERVICES.id, namespace, name)) is None:
            url = f"https://{hook.server_name}:443/?timeout={hook.timeout:g}s"
            return f'failed to call webhook: Post "{url}": service "{name}" not found'
        return f'failed to call webhook: no address is known for service "{hook.service}"'

    async def _line(self, hook: Hook, url: str) -> tuple["_Line", str]:
        """The connections to a webhook's address, and the target there.

        Raises:
            ValueError: the URL cannot be called.
        """
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        key = (base, hook.ca_bundle, hook.server_name)
        line = self._lines.pop(key, None)
        if line is None:
            if len(self._lines) >= _MOST_LINES:  # certificates are renewed: the old trust's connections go
                await self._lines.pop(next(iter(self._lines))).pool.close()
            origin = origin_of(base, tls=self._context(hook.ca_bundle), server_name=hook.server_name or None)
            line = _Line(Pool(origin, idle_seconds=_KEEP_ALIVE_SECONDS), asyncio.Semaphore(_MOST_CONNECTIONS))
        self._lines[key] = line
        return line, f"{parts.path or '/'}?{parts.query}"

    def _context(self, ca_bundle: str) -> ssl.SSLContext:
        context = self._contexts.pop(ca_bundle, None)
        if context is None:
            try:
                pem = base64.b64decode(ca_bundle).decode("ascii") if ca_bundle else None
                context = ssl.create_default_context(cadata=pem)
            except (ssl.SSLError, binascii.Error, ValueError) as error:
                raise _CallFailed(
                    "could not get REST client: unable to load root certificates: unable to parse bytes as PEM block"
                ) from error
            if len(self._contexts) >= _MOST_LINES:
                del self._contexts[next(iter(self._contexts))]
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


def _conditions_hold(hook: Hook, shown: Shown) -> bool:
    """All match conditions; one that is false wins over one that fails.

    Raises:
        Forbidden: a condition failed and the failure policy is Fail.
    """
    if not hook.conditions:
        return True
    failures: list[str] = []
    obj, old, request = shown.obj, shown.old, request_of(shown)
    for condition in hook.conditions:
        if isinstance(condition, CelError):
            failures.append(str(condition))
            continue
        try:
            if not condition.test(object=obj, old_object=old, request=request):
                return False
        except CelError as error:
            failures.append(f"expression '{condition.source}' resulted in error: {error}")
    if not failures:
        return True
    failure = failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]"
    if hook.failure_policy is FailurePolicy.IGNORE:
        log.warning("match condition failed, ignored", webhook=hook.name, error=failure)
        return False
    raise forbidden(shown.asked.kind.resource, shown.asked.name, failure)


def _patch(hook: Hook, shown: Shown, verdict: Verdict) -> bool:
    """Apply a webhook's patch; whether it changed anything.

    Raises:
        ServerError: the patch does not apply or breaks the object, whatever the failure policy: it may be what makes
            the object safe.
    """
    asked, obj = shown.asked, shown.obj
    if obj is None:
        raise internal_error(
            f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this operation'
        )
    try:
        patched = json_patch(decode_object(shown.sent), parse_json_patch(list(verdict.operations)))
        if not isinstance(patched, dict):
            raise internal_error(f'admission webhook "{hook.name}" made something that is no object')
        if asked.shape is None:
            shown.kind.schema.prepare(patched)  # read like a client's object: unknown fields go, defaults come
    except (BadRequest, Invalid, TooLarge) as error:
        raise internal_error(_patch_words(str(error))) from error
    changed = patched != obj
    asked.obj = shown.back(patched)
    return changed


def _patch_words(text: str) -> str:
    """What is wrong with a patch, without what would be said of a client's."""
    text = text.removeprefix("the server rejected our request due to an error in our request: ")
    return text.partition(": ")[2] if "cannot be handled as a" in text else text


_REFUSALS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def _refusal(status: int, content_type: str, answer: bytes) -> str:
    """What an HTTP status of a webhook means, in the words of the original's client."""
    said = answer[:200].decode("utf-8", "replace").strip() if content_type.startswith("text/") else ""
    if status in _REFUSALS:
        return _REFUSALS[status]
    if status == 403:
        return said or "unknown"
    if status >= 500:
        return f'an error on the server ("{said or "unknown"}") has prevented the request from succeeding'
    return f"the server responded with the status code {status} but did not return more information"


def _network_words(error: Exception) -> str:
    """Why a webhook could not be reached."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        words = cause.verify_message or str(cause)
        if cause.verify_code in _UNKNOWN_AUTHORITY:
            words = "certificate signed by unknown authority"
        return f"tls: failed to verify certificate: x509: {words}"
    if isinstance(error, NotReached) and isinstance(cause, ConnectionRefusedError):
        return f"dial tcp {error.origin}: connect: connection refused"
    return str(error)


_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""OpenSSL's codes of certificates whose issuer it does not know."""
