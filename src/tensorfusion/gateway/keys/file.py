"""Keys of a YAML file, for a gateway without Kubernetes.

.. code-block:: yaml

    keys:
      - name: ci
        namespace: team-red          # "default" where unset
        hash: 9f86d081884c7d65...    # what `tensorfusion gateway keys create --file` writes
        models: ["qwen3-*"]
        rateLimit: {requestsPerMinute: 60}
      - name: old-app
        keyFrom: {env: OLD_APP_KEY}  # or {file: /run/secrets/old-app}: a key that was made elsewhere

The other fields are those of an LLMKey's spec. A list can stand in a larger file, too: ``parse_keys`` reads it.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import yaml

from tensorfusion.errors import ConfigError
from tensorfusion.gateway.keys.record import KeyRecord, parse_time, record_of
from tensorfusion.gateway.keys.secret import LONGEST, PREFIX, SHORTEST, SHOWN, digest_of
from tensorfusion.model.llm_key import LLMKeySpec
from tensorfusion.model.rules import Part, Rules
from tensorfusion.model.strict import convert

DEFAULT_NAMESPACE: Final = "default"
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(rb"[!-~]+")

Json = Any  # Any: YAML of any shape
Read = Callable[[str], bytes]


class KeyFrom(Part, frozen=True):
    """Where the key itself is; it is read once, and its hash is kept."""

    env: Annotated[str, Rules("Name of an environment variable.")] = ""
    file: Annotated[str, Rules("Path of a file that holds nothing else.")] = ""


class KeyEntry(LLMKeySpec, frozen=True):
    """One key of a file."""

    name: Annotated[str, Rules("Its name.", required=True)] = ""
    namespace: Annotated[str, Rules("The namespace that it calls from.")] = DEFAULT_NAMESPACE
    key_from: Annotated[KeyFrom | None, Rules("In the place of a hash.")] = msgspec.field(default=None, name="keyFrom")
    created_at: Annotated[str, Rules("When it was made.")] = msgspec.field(default="", name="createdAt")
    operator: Annotated[bool, Rules("With scope admin: it is of whoever runs the gateway, so for all namespaces.")] = (
        True
    )


class KeyList(Part, frozen=True):
    """A file of keys."""

    keys: Annotated[tuple[KeyEntry, ...], Rules("The keys.")] = ()


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def parse_keys(
    documents: Sequence[Json], *, at: str, environ: Mapping[str, str] | None = None, read: Read = _read
) -> list[KeyRecord]:
    """The records of a list of keys; ``at`` is how messages name the list, such as ``gateway.yaml: keys``.

    ``read`` gives what is in a file that a key comes from: who follows files has to know of it.

    Raises:
        ConfigError: an entry that cannot be used: it is named, with what is wanted.
    """
    records: dict[str, KeyRecord] = {}
    owners: dict[bytes, str] = {}
    for place, entry in enumerate(parse_entries(documents, at=at)):
        record = _record(entry, f"{at}[{place}] ({entry.name})", os.environ if environ is None else environ, read)
        for digest in record.digests:
            if digest.sha256 in owners:
                raise ConfigError(f"{at}[{place}]: has the hash of key {owners[digest.sha256]}: make a key of its own")
            owners[digest.sha256] = record.id
        records[record.id] = record
    return list(records.values())


def parse_entries(documents: Sequence[Json], *, at: str) -> list[KeyEntry]:
    """The entries of a list of keys, without a look at what they point to.

    Raises:
        ConfigError: an unknown field, a wrong type, a name that is none or is there twice.
    """
    entries: dict[tuple[str, str], KeyEntry] = {}
    for place, document in enumerate(documents):
        entry = convert(_plain(document), KeyEntry, f"{at}[{place}]")
        for field, name in (("name", entry.name), ("namespace", entry.namespace)):
            if not NAME.fullmatch(name):
                raise ConfigError(
                    f"{at}[{place}].{field}: wanted lower-case letters, digits, '-' and '.', found {name[:80]!r}"
                )
        key = entry.namespace, entry.name
        if key in entries:
            raise ConfigError(f"{at}[{place}]: there is a key {'/'.join(key)} already: give this one another name")
        entries[key] = entry
    return list(entries.values())


def read_keys(path: Path, environ: Mapping[str, str] | None = None, *, read: Read = _read) -> list[KeyRecord]:
    """The records of a file of keys; ``read`` as for ``parse_keys``.

    Raises:
        ConfigError: the file cannot be read, or an entry cannot be used.
    """
    return parse_keys(load(path), at=f"{path}: keys", environ=environ, read=read)


def namespace_of(entry: Json) -> str:
    """Of an entry as it is written."""
    return str(entry.get("namespace", DEFAULT_NAMESPACE))


def load(path: Path) -> list[Json]:
    """The entries of a file of keys, as they are written.

    Raises:
        ConfigError: it cannot be read, is no YAML, or is no list of keys.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(
            f"{path}: is no YAML{where}: {getattr(error, 'problem', None) or 'it cannot be parsed'}"
        ) from (error)
    keys = (found or {}).get("keys", []) if isinstance(found or {}, dict) else None
    if not isinstance(keys, list) or (isinstance(found, dict) and set(found) - {"keys"}):
        raise ConfigError(f"{path}: wanted a list of keys under `keys:` and nothing else")
    plain: list[Json] = _plain(keys)
    return plain


def _record(entry: KeyEntry, at: str, environ: Mapping[str, str], read: Read) -> KeyRecord:
    if entry.key_from is None and not entry.hash:
        raise ConfigError(
            f"{at}: wanted hash or keyFrom, found neither: `tensorfusion gateway keys create --file` adds"
        )
    if entry.key_from is not None and entry.hash:
        raise ConfigError(f"{at}: wanted hash or keyFrom, found both: take one away")
    created = parse_time(entry.created_at, f"{at}.createdAt") if entry.created_at else None
    if entry.key_from is None:
        return record_of(
            entry, name=entry.name, namespace=entry.namespace, at=at, created_at=created, operator=entry.operator
        )
    key = _key(entry.key_from, f"{at}.keyFrom", environ, read)
    if key.startswith(PREFIX.encode()) and not entry.prefix:
        entry = msgspec.structs.replace(entry, prefix=key[:SHOWN].decode())
    digest = digest_of(key)
    return record_of(
        entry,
        name=entry.name,
        namespace=entry.namespace,
        at=at,
        digest=digest,
        created_at=created,
        operator=entry.operator,
    )


def _key(source: KeyFrom, at: str, environ: Mapping[str, str], read: Read) -> bytes:
    """A key that lies somewhere else. Its text goes no further than into its hash."""
    if bool(source.env) == bool(source.file):
        raise ConfigError(f"{at}: wanted env or file, found {'both' if source.env else 'neither'}")
    if source.env:
        where = f"environment variable {source.env}"
        found = environ.get(source.env, "").encode().strip()
    else:
        where = source.file
        try:
            found = read(source.file).strip()
        except OSError as error:
            raise ConfigError(f"{at}: {where} cannot be read: {error.strerror}") from error
    if not SHORTEST <= len(found) <= LONGEST or not _KEY.fullmatch(found):
        raise ConfigError(
            f"{at}: {where}: wanted a key of {SHORTEST} to {LONGEST} characters without spaces, "
            f"found {len(found)} {'characters' if found else '(it is empty or unset)'}"
        )
    return found


def _plain(value: Json) -> Json:
    """YAML reads times as times; the objects of the API have them as text."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z") + ("" if value.tzinfo else "Z")
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    return value
