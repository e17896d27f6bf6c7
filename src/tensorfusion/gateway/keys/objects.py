"""Keys that are objects: LLMKeys of the API into the book, and when they were used back into their status.

A change arrives by the watch, within milliseconds: an object that is disabled, changed or being deleted lets nobody in
with the next request. While the API cannot be reached the keys stay as they were.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ApiError, ConfigError, NotFound
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.kube.api import Api
from tensorfusion.model.keys import SYSTEM_NAMESPACE
from tensorfusion.model.llm_key import LLMKey, LLMKeySpec
from tensorfusion.model.meta import Key
from tensorfusion.model.resources import LLM_KEYS
from tensorfusion.runtime.informer import Change, Informer
from tensorfusion.telemetry.logs import get_logger

SOURCE: Final = "objects"
USED_SECONDS: Final = 60.0
"""Between two writes of when a key was used."""

log = get_logger(__name__)


def follow(informer: Informer[LLMKey], book: KeyBook) -> None:
    """Keep the book's part of objects equal to the informer's cache."""

    def apply(changes: Sequence[Change[LLMKey]]) -> None:
        for change in changes:
            record = _record(change.new) if change.new is not None and not change.new.metadata.deleting else None
            if record is None:
                book.drop(SOURCE, str(change.key))
            else:
                book.put(SOURCE, record)

    informer.subscribe_batch(apply)


def checked(key: LLMKey) -> KeyRecord:
    """The record of an object.

    Raises:
        ConfigError: it cannot be used: nobody gets in by half a key.
    """
    meta = key.metadata
    try:
        created = datetime.fromisoformat(meta.creation_timestamp) if meta.creation_timestamp else None
    except ValueError as error:
        raise ConfigError(f"metadata.creationTimestamp: is no time: {meta.creation_timestamp}") from error
    return record_in(key.spec, name=meta.name, namespace=meta.namespace, at="spec", created_at=created)


def record_in(spec: LLMKeySpec, *, name: str, namespace: str, at: str, created_at: datetime | None = None) -> KeyRecord:
    """The record of a key of a cluster: whoever may make keys in the gateway's own namespace is who runs it.

    Raises:
        ConfigError: it cannot be used.
    """
    operator = namespace == SYSTEM_NAMESPACE
    return record_of(spec, name=name, namespace=namespace, at=at, created_at=created_at, operator=operator)


def _record(key: LLMKey) -> KeyRecord | None:
    """None, and a line in the log, where the object cannot be used."""
    try:
        return checked(key)
    except ConfigError as error:
        log.warning("an LLMKey cannot be used: it lets nobody in", key=str(key.key), error=str(error))
        return None


class UsedTimes:
    """Writes ``status.lastUsedAt``, at most once a minute for each key, from however many gateways."""

    def __init__(self, client: Api, informer: Informer[LLMKey], book: KeyBook, *, clock: Clock) -> None:
        self._client = client
        self._informer = informer
        self._book = book
        self._clock = clock

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        while True:
            await self._clock.sleep(USED_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write down the keys that were used since the last time. What fails is written the next time it is used."""
        now = self._clock.now()
        for used in sorted(self._book.take_used()):
            namespace, _, name = used.partition("/")
            found = self._informer.cache.get(Key(namespace, name))
            if found is None or _is_fresh(found.status.last_used_at, now):
                continue
            try:
                patch = {"status": {"lastUsedAt": timestamp(now)}}
                await self._client.patch(LLM_KEYS, name, patch, namespace=namespace, subresource="status")
            except NotFound:
                continue  # deleted meanwhile
            except ApiError as error:
                log.warning("when a key was used could not be written", key=used, error=str(error))
                return  # the others would most probably fail, too


def _is_fresh(text: str | None, now: datetime) -> bool:
    """Another gateway wrote it just now."""
    if not text:
        return False
    try:
        return now - datetime.fromisoformat(text) < timedelta(seconds=USED_SECONDS / 2)
    except ValueError:
        return False
