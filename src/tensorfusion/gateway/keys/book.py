"""Who calls: the key of a request to the record of it, by one look into a dict.

**The look-up is no oracle.** What is looked up is not what the caller sent but SHA-256 of it. Timing can tell at most
how much of a stored hash equals the hash of a guess. To use that, the caller would have to make guesses whose hashes
begin as wanted, which costs 2^n hashes for n bits, and even the whole hash does not lead back to a key of 256 random
bits. Python's dict compares whole hash values, salted anew in each process, before it compares bytes. The digest found
is compared once more in constant time, so that nothing here depends on how dicts work.

Several sources (a file, objects of the API) fill one book. Where two keys have one hash, the one that was there first
is who calls: nobody takes over another's callers by writing down their hash. What a file says comes before objects.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from tensorfusion.clock import Clock
from tensorfusion.gateway.keys.errors import InvalidKey
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.keys.secret import LONGEST, PREFIX, SHOWN, digest_of
from tensorfusion.telemetry.logs import get_logger
from tensorfusion.wire.fields import Fields

_BEARER: Final = b"authorization"
KEY_FIELDS: Final = frozenset((_BEARER, b"x-api-key", b"api-key", b"x-portkey-api-key"))
"""Fields that may hold a key, in small letters."""
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_HOW: Final = "send it as `Authorization: Bearer tf-...`, or as x-api-key, api-key or x-portkey-api-key"

log = get_logger(__name__)


class Keys(Protocol):
    """What the gateway's front needs: who calls."""

    def find(self, fields: Fields) -> KeyRecord:
        """Whose the request with these header fields is.

        Raises:
            InvalidKey: nobody's: no key, an unknown one, or one that is disabled or past its end.
        """
        ...


@dataclass(slots=True)
class _Entry:
    """One hash: who calls with it, until when it is good, and who else claims it."""

    digest: bytes
    record: KeyRecord
    until: datetime | None
    claims: list[KeyRecord]


class KeyBook:
    """The keys of all sources. Changes take effect with the next ``find``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._sources: dict[str, dict[str, KeyRecord]] = {}
        self._used: set[str] = set()
        self.edition = 0
        """Another number whenever a key was added, changed or taken away."""

    def __len__(self) -> int:
        """Keys of all sources, disabled ones and those past their end included."""
        return sum(map(len, self._sources.values()))

    def find(self, fields: Fields) -> KeyRecord:
        """As ``Keys.find``. A field that holds no key of ours is passed over when another one does.

        Clients of some kinds send a provider's key along in ``Authorization``.
        """
        found: _Entry | None = None
        sent: bytes | None = None
        for name, value in fields:
            if (lower := name.lower()) not in KEY_FIELDS:
                continue
            text = _token(value) if lower == _BEARER else value.strip()
            if not text:
                continue
            sent = text
            if len(text) > LONGEST:
                continue
            digest = digest_of(text)
            entry = self._entries.get(digest)
            if entry is None or not hmac.compare_digest(entry.digest, digest):
                continue
            if found is not None and found.record is not entry.record:
                raise InvalidKey(f"two different keys ({found.record.id}, {entry.record.id}): send one")
            found = entry
        if found is None:
            raise InvalidKey(f"no API key: {_HOW}" if sent is None else f"{_named(sent)} is not known: {_HOW}")
        record = found.record
        if record.disabled or found.until is not None or record.expires_at is not None:
            self._require_good(found)
        self._used.add(record.id)
        return record

    def again(self, key: object, edition: int) -> bool:
        """Whether the fields that showed this key at that edition show it now, too, as they do as long as no key has
        changed and this one never ends; it counts as used then."""
        if edition != self.edition or not isinstance(key, KeyRecord) or key.ends:
            return False
        self._used.add(key.id)
        return True

    def _require_good(self, entry: _Entry) -> None:
        record = entry.record
        if record.disabled:
            raise InvalidKey(f"key {record.id} is disabled: ask who gave it to you for another one")
        for end, what in ((record.expires_at, "ended"), (entry.until, "was replaced, and was good until")):
            if end is not None and self._clock.now() >= end:
                moment = end.isoformat(timespec="seconds")
                raise InvalidKey(f"key {record.id} {what} {moment}: ask who gave it to you for the present one")

    def replace(self, source: str, records: Iterable[KeyRecord]) -> None:
        """What a source holds, from now on and in all."""
        wanted = {record.id: record for record in records}
        for gone in [known for known in self._sources.get(source, ()) if known not in wanted]:
            self.drop(source, gone)
        for record in wanted.values():
            self.put(source, record)

    def put(self, source: str, record: KeyRecord) -> None:
        """One key of a source, new or changed."""
        self.edition += 1
        self.drop(source, record.id)
        self._sources.setdefault(source, {})[record.id] = record
        for digest in _hashes(record):
            entry = self._entries.get(digest)
            self._settle(digest, [*(entry.claims if entry else ()), record])

    def drop(self, source: str, id: str) -> None:
        """A source has the key no more. Nothing happens where it never had."""
        self.edition += 1
        record = self._sources.get(source, {}).pop(id, None)
        for digest in _hashes(record) if record is not None else ():
            entry = self._entries[digest]
            self._settle(digest, [claim for claim in entry.claims if claim is not record])

    def take_used(self) -> frozenset[str]:
        """Ids of the keys that were used since this was last asked."""
        used = frozenset(self._used)
        self._used.clear()
        return used

    def get(self, id: str) -> KeyRecord | None:
        """The key of that id (``namespace/name``); None where no source has one."""
        return next((records[id] for records in self._sources.values() if id in records), None)

    def all(self) -> Iterable[KeyRecord]:
        """Every key of every source."""
        return (record for records in self._sources.values() for record in records.values())

    def _settle(self, digest: bytes, claims: list[KeyRecord]) -> None:
        """Say whose a hash is: of those that claim it, who was there first."""
        if not claims:
            del self._entries[digest]
            return
        first = min(claims, key=_age)
        until = next(one.until for one in first.digests if one.sha256 == digest)
        self._entries[digest] = _Entry(digest, first, until, claims)
        for claim in claims:
            if claim is not first:
                log.warning("two keys have one hash: the later one lets nobody in", key=claim.id, first=first.id)


def _hashes(record: KeyRecord) -> Iterable[bytes]:
    """Each once, though whoever wrote the record may have named one twice."""
    return dict.fromkeys(one.sha256 for one in record.digests)


def _age(record: KeyRecord) -> tuple[datetime, str]:
    return record.created_at or _FIRST, record.id


def _token(value: bytes) -> bytes:
    """What ``Authorization`` holds by the scheme Bearer, in any case. Source: RFC 6750 2.1, RFC 9110 11.1."""
    scheme, _, token = value.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _named(sent: bytes) -> str:
    """A key as it is named to who sent it: its beginning, if it is one of ours."""
    ours = sent.startswith(PREFIX.encode())
    return f"the API key {sent[:SHOWN].decode(errors='replace')}…" if ours else "the API key"
