"""Where keys are kept: LLMKey objects of a cluster, or a YAML file of a gateway without one.

A key here is what is written of it, as JSON: ``name``, ``namespace``, the fields of an LLMKey's spec, and what the
place knows beside (``createdAt``, ``lastUsedAt``). The key itself is in none of it.

Commands and the pages of administrators use the same places.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from tensorfusion.errors import AlreadyExists, ConfigError, Conflict, NotFound
from tensorfusion.gateway.keys.file import KeyEntry, load, namespace_of, parse_entries
from tensorfusion.gateway.keys.objects import record_in
from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.kube.api import Api
from tensorfusion.model.llm_key import LLMKeySpec
from tensorfusion.model.resources import LLM_KEYS
from tensorfusion.model.strict import convert
from tensorfusion.private_files import only_writer, write_secret

Json = dict[str, Any]  # Any: JSON
Change = Callable[[Json], Json]

MOST_BYTES: Final = 8 << 20
"""Of a file."""
_BESIDE: Final = ("name", "namespace", "createdAt", "lastUsedAt", "operator")
"""Fields of a key that are not of an object's spec."""
_ELSEWHERE: Final = bytes(32)
"""In the place of the hash of a key whose text lies somewhere else."""
_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class KeyMissing(ConfigError):
    """There is no key of that name."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(f"key {namespace}/{name}: there is none: see `tensorfusion gateway keys list`")


class KeyTaken(ConfigError):
    """There is a key of that name already."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(
            f"key {namespace}/{name}: there is one already: choose another name, or give it a new key with "
            f"`tensorfusion gateway keys rotate {name}`"
        )


class KeyChanged(ConfigError):
    """Somebody else changed it meanwhile."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(f"key {namespace}/{name}: somebody else changed it just now: look at it, then again")


class PlaceFull(ConfigError):
    """A gateway could not read more."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: has {MOST_BYTES} bytes of keys, the most there can be: delete some")


class Place(Protocol):
    """Keeps keys."""

    def record(self, key: Json) -> KeyRecord:
        """One of its keys as a gateway knows it.

        Raises:
            ConfigError: it is none.
        """
        ...

    async def all(self, namespace: str) -> list[Json]:
        """The keys of a namespace, or with an empty one of all; by namespace and name."""
        ...

    async def get(self, name: str, namespace: str) -> Json:
        """One key.

        Raises:
            KeyMissing: there is none of that name.
        """
        ...

    async def add(self, key: Json, namespace: str) -> Json:
        """A new key, as it is then kept.

        Raises:
            KeyTaken: there is one of that name.
        """
        ...

    async def change(self, name: str, namespace: str, change: Change) -> Json:
        """One key, changed: nothing that another does in between is lost. What ``change`` raises leaves it as it is.

        Raises:
            KeyMissing: there is none of that name.
            KeyChanged: somebody else changed it meanwhile.
        """
        ...

    async def remove(self, name: str, namespace: str, check: Callable[[Json], None] = lambda _: None) -> None:
        """Take a key away. What ``check`` raises, which looks at it before, leaves it there.

        Raises:
            KeyMissing: there is none of that name.
            KeyChanged: somebody else changed it meanwhile.
        """
        ...


class KeyObjects:
    """LLMKeys of a cluster. Every call raises the ``ApiError`` tree, too."""

    def __init__(self, client: Api) -> None:
        self._client = client

    def record(self, key: Json) -> KeyRecord:
        spec = convert(_spec(key), LLMKeySpec, "key")
        return record_in(spec, name=key["name"], namespace=key["namespace"], at="key")

    async def all(self, namespace: str) -> list[Json]:
        found = (await self._client.list(LLM_KEYS, dict, namespace=namespace)).items
        return sorted(map(_of_object, found), key=_order)

    async def get(self, name: str, namespace: str) -> Json:
        return _of_object(await self._object(name, namespace))

    async def add(self, key: Json, namespace: str) -> Json:
        body = {
            "apiVersion": LLM_KEYS.api_version,
            "kind": LLM_KEYS.kind,
            "metadata": {"name": key["name"], "namespace": namespace},
            "spec": _spec(key),
        }
        try:
            return _of_object(await self._client.create(LLM_KEYS, body, namespace=namespace))
        except AlreadyExists as error:
            raise KeyTaken(key["name"], namespace) from error

    async def change(self, name: str, namespace: str, change: Change) -> Json:
        found = await self._object(name, namespace)
        wanted = _spec(change(_of_object(found)))
        patch: Json = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},  # refused if it changed meanwhile
            "spec": _difference(found["spec"], wanted),
        }
        try:
            return _of_object(await self._client.patch(LLM_KEYS, name, patch, namespace=namespace))
        except NotFound as error:
            raise KeyMissing(name, namespace) from error
        except Conflict as error:
            raise KeyChanged(name, namespace) from error

    async def remove(self, name: str, namespace: str, check: Callable[[Json], None] = lambda _: None) -> None:
        found = await self._object(name, namespace)
        check(_of_object(found))
        meta = found["metadata"]
        try:
            await self._client.delete(
                LLM_KEYS,
                name,
                namespace=namespace,
                uid=meta.get("uid"),
                resource_version=meta.get("resourceVersion"),
            )
        except NotFound as error:
            raise KeyMissing(name, namespace) from error
        except Conflict as error:
            raise KeyChanged(name, namespace) from error

    async def _object(self, name: str, namespace: str) -> Json:
        try:
            found: Json = await self._client.get(LLM_KEYS, dict, name, namespace=namespace)
        except NotFound as error:
            raise KeyMissing(name, namespace) from error
        return found


class KeysInFile:
    """A file of keys. It is written anew with every change, by its owner alone to read, and whole or not at all.

    Every call raises ``ConfigError``, too: the file cannot be read or written, or would be none afterwards.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, key: Json) -> KeyRecord:
        entry = convert({field: value for field, value in key.items() if field != "lastUsedAt"}, KeyEntry, "key")
        digest = None if entry.key_from is None else _ELSEWHERE
        return record_of(
            entry, name=entry.name, namespace=entry.namespace, at="key", digest=digest, operator=entry.operator
        )

    async def all(self, namespace: str) -> list[Json]:
        return await asyncio.to_thread(self._all, namespace)

    async def get(self, name: str, namespace: str) -> Json:
        for key in await self.all(namespace):
            if key["name"] == name:
                return key
        raise KeyMissing(name, namespace)

    async def add(self, key: Json, namespace: str) -> Json:
        return await asyncio.to_thread(self._add, key, namespace)

    async def change(self, name: str, namespace: str, change: Change) -> Json:
        return await asyncio.to_thread(self._change, name, namespace, change)

    async def remove(self, name: str, namespace: str, check: Callable[[Json], None] = lambda _: None) -> None:
        await asyncio.to_thread(self._remove, name, namespace, check)

    def _all(self, namespace: str) -> list[Json]:
        keys = [{**key, "namespace": namespace_of(key)} for key in self._read()]
        return sorted((key for key in keys if namespace in ("", key["namespace"])), key=_order)

    def _add(self, key: Json, namespace: str) -> Json:
        made = {"name": key["name"], "namespace": namespace, **key}
        with self._writing() as keys:
            if any(_is(one, key["name"], namespace) for one in keys):
                raise KeyTaken(key["name"], namespace)
            keys.append(made)
        return made

    def _change(self, name: str, namespace: str, change: Change) -> Json:
        with self._writing() as keys:
            for number, key in enumerate(keys):
                if _is(key, name, namespace):
                    keys[number] = changed = change({"namespace": namespace, **key})
                    return changed
            raise KeyMissing(name, namespace)

    def _remove(self, name: str, namespace: str, check: Callable[[Json], None]) -> None:
        with self._writing() as keys:
            for number, key in enumerate(keys):
                if _is(key, name, namespace):
                    check({"namespace": namespace, **key})
                    del keys[number]
                    return
            raise KeyMissing(name, namespace)

    def _read(self) -> list[Json]:
        keys: list[Json] = load(self._path)
        self._check(keys)
        return keys

    def _check(self, keys: list[Json]) -> None:
        """A file that a gateway would refuse is not changed, and none is written."""
        parse_entries(keys, at=f"{self._path}: keys")

    @contextmanager
    def _writing(self) -> Iterator[list[Json]]:
        """The keys, written back if nothing is wrong; one program at a time."""
        with only_writer(self._path):
            keys = self._read() if self._path.exists() else []
            yield keys
            self._check(keys)
            text = yaml.dump({"keys": keys}, Dumper=_DUMPER, sort_keys=False, width=118)
            if len(text) > MOST_BYTES:
                raise PlaceFull(self._path)
            write_secret(self._path, text)


def _of_object(found: Json) -> Json:
    meta = found["metadata"]
    key = {"name": meta["name"], "namespace": meta["namespace"], **found.get("spec", {})}
    if meta.get("creationTimestamp"):
        key["createdAt"] = meta["creationTimestamp"]
    if found.get("status", {}).get("lastUsedAt"):
        key["lastUsedAt"] = found["status"]["lastUsedAt"]
    return key


def _spec(key: Json) -> Json:
    return {field: value for field, value in key.items() if field not in _BESIDE}


def _difference(old: Json, new: Json) -> Json:
    """The merge patch that makes one of the other. Source: RFC 7396."""
    found: Json = dict.fromkeys(old.keys() - new.keys())
    for field, value in new.items():
        before = old.get(field)
        if isinstance(value, dict) and isinstance(before, dict):
            found[field] = _difference(before, value)
        else:
            found[field] = value
    return found


def _is(key: Json, name: str, namespace: str) -> bool:
    return key.get("name") == name and namespace_of(key) == namespace


def _order(key: Json) -> tuple[str, str]:
    return key["namespace"], key["name"]
