"""Where keys are kept: LLMKey objects of a cluster, or a YAML file of a gateway without one.

A key here is what is written of it, as JSON: ``name``, ``namespace``, the fields of an LLMKey's spec, and what the
place knows beside (``createdAt``, ``lastUsedAt``). The key itself is in none of it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import yaml

from tensorfusion.cli.session import default_namespace, with_client
from tensorfusion.cli.tenancy import write_secret
from tensorfusion.errors import AlreadyExists, ConfigError, Conflict, NotFound
from tensorfusion.gateway.keys.file import DEFAULT_NAMESPACE, load, parse_entries
from tensorfusion.model.resources import LLM_KEYS

if TYPE_CHECKING:
    from tensorfusion.kube.client import Client

Json = dict[str, Any]  # Any: JSON
Change = Callable[[Json], Json]

_BESIDE: Final = ("name", "namespace", "createdAt", "lastUsedAt")
"""Fields of a key that are not of an object's spec."""


class Place(Protocol):
    """Keeps keys. ``namespace`` empty is the place's own default."""

    def all(self, namespace: str) -> list[Json]:
        """The keys of a namespace, or of every one; by namespace and name."""
        ...

    def get(self, name: str, namespace: str) -> Json:
        """One key.

        Raises:
            ConfigError: there is none of that name.
        """
        ...

    def add(self, key: Json, namespace: str) -> Json:
        """A new key, as it is then kept.

        Raises:
            ConfigError: there is one of that name.
        """
        ...

    def change(self, name: str, namespace: str, change: Change) -> Json:
        """One key, changed: nothing that another does in between is lost.

        Raises:
            ConfigError: there is none of that name, or somebody else changed it meanwhile.
        """
        ...

    def remove(self, name: str, namespace: str) -> None:
        """Take a key away.

        Raises:
            ConfigError: there is none of that name.
        """
        ...


class Objects:
    """LLMKeys of the cluster that the options mean."""

    def __init__(self, kubeconfig: Path | None, data: Path | None) -> None:
        self._where = (kubeconfig, data)

    def all(self, namespace: str) -> list[Json]:
        async def fetch(client: "Client") -> list[Json]:
            return (await client.list(LLM_KEYS, dict, namespace=namespace)).items

        return sorted(map(_of_object, with_client(*self._where, fetch)), key=_order)

    def get(self, name: str, namespace: str) -> Json:
        place = self._namespace(namespace)

        async def fetch(client: "Client") -> Json:
            return await client.get(LLM_KEYS, dict, name, namespace=place)

        try:
            return _of_object(with_client(*self._where, fetch))
        except NotFound as error:
            raise _missing(name, place) from error

    def add(self, key: Json, namespace: str) -> Json:
        place = self._namespace(namespace)
        body = {
            "apiVersion": LLM_KEYS.api_version,
            "kind": LLM_KEYS.kind,
            "metadata": {"name": key["name"], "namespace": place},
            "spec": _spec(key),
        }

        async def make(client: "Client") -> Json:
            made: Json = await client.create(LLM_KEYS, body, namespace=place)
            return made

        try:
            return _of_object(with_client(*self._where, make))
        except AlreadyExists as error:
            raise _taken(key["name"], place) from error

    def change(self, name: str, namespace: str, change: Change) -> Json:
        place = self._namespace(namespace)

        async def work(client: "Client") -> Json:
            found: Json = await client.get(LLM_KEYS, dict, name, namespace=place)
            wanted = _spec(change(_of_object(found)))
            patch: Json = {
                "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
                "spec": {**dict.fromkeys(found["spec"].keys() - wanted.keys()), **wanted},
            }
            changed: Json = await client.patch(
                LLM_KEYS, name, patch, namespace=place
            )  # refused if it changed meanwhile
            return changed

        try:
            return _of_object(with_client(*self._where, work))
        except NotFound as error:
            raise _missing(name, place) from error
        except Conflict as error:
            raise ConfigError(
                f"key {place}/{name}: somebody else changed it just now: look at it, then again"
            ) from error

    def remove(self, name: str, namespace: str) -> None:
        place = self._namespace(namespace)

        async def work(client: "Client") -> None:
            await client.delete(LLM_KEYS, name, namespace=place)

        try:
            with_client(*self._where, work)
        except NotFound as error:
            raise _missing(name, place) from error

    def _namespace(self, asked: str) -> str:
        return asked or default_namespace(*self._where)


class InFile:
    """A file of keys. It is written anew with every change, by its owner alone to read, and whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self, namespace: str) -> list[Json]:
        keys = [{"namespace": DEFAULT_NAMESPACE, **key} for key in self._read()]
        return sorted((key for key in keys if namespace in ("", key["namespace"])), key=_order)

    def get(self, name: str, namespace: str) -> Json:
        place = namespace or DEFAULT_NAMESPACE
        for key in self.all(place):
            if key["name"] == name:
                return key
        raise _missing(name, place)

    def add(self, key: Json, namespace: str) -> Json:
        place = namespace or DEFAULT_NAMESPACE
        made = {"name": key["name"], "namespace": place, **key}
        with self._writing() as keys:
            if any(_is(one, key["name"], place) for one in keys):
                raise _taken(key["name"], place)
            keys.append(made)
        return made

    def change(self, name: str, namespace: str, change: Change) -> Json:
        place = namespace or DEFAULT_NAMESPACE
        with self._writing() as keys:
            for number, key in enumerate(keys):
                if _is(key, name, place):
                    keys[number] = changed = change({"namespace": place, **key})
                    return changed
            raise _missing(name, place)

    def remove(self, name: str, namespace: str) -> None:
        place = namespace or DEFAULT_NAMESPACE
        with self._writing() as keys:
            left = [key for key in keys if not _is(key, name, place)]
            if len(left) == len(keys):
                raise _missing(name, place)
            keys[:] = left

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
        folder = os.open(self._path.absolute().parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # of the folder: the file itself is replaced
            keys = self._read() if self._path.exists() else []
            yield keys
            self._check(keys)
            write_secret(self._path, yaml.safe_dump({"keys": keys}, sort_keys=False, width=118))
        finally:
            os.close(folder)


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


def _is(key: Json, name: str, namespace: str) -> bool:
    return key.get("name") == name and key.get("namespace", DEFAULT_NAMESPACE) == namespace


def _order(key: Json) -> tuple[str, str]:
    return key["namespace"], key["name"]


def _missing(name: str, namespace: str) -> ConfigError:
    return ConfigError(f"key {namespace}/{name}: there is none: see `tensorfusion gateway keys list`")


def _taken(name: str, namespace: str) -> ConfigError:
    return ConfigError(
        f"key {namespace}/{name}: there is one already: choose another name, or give it a new key with "
        f"`tensorfusion gateway keys rotate {name}`"
    )
