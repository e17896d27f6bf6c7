"""What a gateway without Kubernetes is told by files: routes, keys, credentials, where to listen.

A file holds several YAML documents: LLMRoute and LLMKey objects as the API has them, Secrets, and at most one document
without a kind, the settings (``settings``).

Everything wrong in it is told, one line each, and then nothing of it is used.
"""

import base64
import binascii
import contextlib
import hashlib
import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.gateway.documents import parts_of
from tensorfusion.gateway.keys.file import parse_keys, read_keys
from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.gateway.portkey_store import VIRTUAL_IN, Kept, read_kept
from tensorfusion.gateway.secrets import Reference, Secrets
from tensorfusion.gateway.settings import DEFAULT_NAMESPACE, SecretSource, Settings, check_settings, portkey_file_of
from tensorfusion.model.common import SecretReference
from tensorfusion.model.llm_key import LLMKey
from tensorfusion.model.llm_route import LLMRoute, LLMSelector
from tensorfusion.model.strict import convert
from tensorfusion.policy.dialects.convert import convert as in_schema
from tensorfusion.policy.routing.portkey.reading import VirtualKey, config_of, every_host, read_configs
from tensorfusion.policy.routing.route import Route, Target
from tensorfusion.policy.routing.routes import Routes

_MOST_BYTES: Final = 16 << 20
_SUFFIXES: Final = (".yaml", ".yml")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Json = Any  # Any: YAML of any shape


@dataclass(frozen=True, slots=True)
class Configuration:
    """All of it, checked. ``files`` are those it was read from, ``path`` is what was named."""

    path: Path
    settings: Settings
    routes: tuple[LLMRoute, ...]
    keys: tuple[KeyRecord, ...]
    file_keys: tuple[KeyRecord, ...]
    """Those of them that the file of keys says."""
    secrets: Secrets
    files: tuple[Path, ...]
    compiled: Routes = field(compare=False)
    """``routes``, made here because it takes long; where no key is asked for, whoever comes may take them all, from
    whatever namespace they are."""
    documents: Mapping[str, LLMRoute] = field(default_factory=dict, compare=False)
    """Routes by the text of their document."""
    portkey: Mapping[str, Json] = field(default_factory=dict, compare=False)
    """Configurations by id."""
    kept: Kept = field(default_factory=Kept, compare=False)
    """Those of namespaces."""
    revision: str = field(default="", compare=False)

    def addresses(self, route: Route, target: Target) -> Sequence[str]:
        """URLs of a target without an endpoint."""
        return self.settings.pools.get(target.pool, ()) if target.pool and not target.endpoint else ()

    @property
    def folder(self) -> Path:
        """Where files that it names are looked for."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def key_file(self) -> Path | None:
        return self.folder / self.settings.key_file if self.settings.key_file else None

    @property
    def portkey_file(self) -> Path | None:
        """Where configurations and virtual keys of namespaces are kept."""
        return portkey_file_of(self.settings, self.folder)

    @property
    def asks_for_keys(self) -> bool:
        """A file of keys whose last one was taken away opens nothing."""
        return bool(self.keys or self.settings.key_file)


class WrongConfiguration(ConfigError):
    """Everything that is wrong with it, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\nerror: ".join(problems))


def read_configuration(
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    listen: str = "",
    before: "Configuration | None" = None,
) -> Configuration:
    """The configuration in a file, or in the YAML files of a folder. ``listen`` goes before what they say. Routes that
    stand there as in the configuration ``before`` are not parsed again.

    Raises:
        WrongConfiguration: something of it cannot be used.
    """
    folder = path if path.is_dir() else path.parent
    known = before.documents if before is not None else {}
    reader = _Reader(os.environ if environ is None else environ, folder, known)
    for source in sources_of(path):
        with reader.noting():
            reader.read(source)
    return reader.finish(path, listen)


class _Reader:
    """Collects what documents say, and everything that is wrong with them."""

    def __init__(self, environ: Mapping[str, str], folder: Path, known: Mapping[str, LLMRoute]) -> None:
        self._environ = environ
        self._folder = folder
        self._problems: list[str] = []
        self._settings: Settings | None = None
        self._routes: dict[str, LLMRoute] = {}
        self._known = known
        self._documents: dict[str, LLMRoute] = {}
        self._keys: list[KeyRecord] = []
        self._file_keys: list[KeyRecord] = []
        self._secrets: dict[Reference, str] = {}
        self._files: list[Path] = []
        self._portkey: Mapping[str, Json] = {}
        self._kept = Kept()
        self._hash = hashlib.sha256()

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """What goes wrong in here is noted, and the rest is read all the same."""
        try:
            yield
        except (ConfigError, InvalidRequest) as error:
            self._problems.append(str(error))

    def read(self, source: Path) -> None:
        """Raises ConfigError: it cannot be read, or is no YAML."""
        text = self._text(source)
        try:
            documents = self._parsed(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise ConfigError(f"{source}: is no YAML: {' '.join(str(error).split())}") from error
        for number, (part, document) in enumerate(documents, start=1):
            at = f"{source} (document {number})" if len(documents) > 1 else str(source)
            with self.noting():
                if isinstance(document, LLMRoute):
                    self._add_route(at, document, part)
                else:
                    self._take(at, document, part)

    def _parsed(self, text: str) -> list[tuple[str, Json]]:
        """The documents, each with its own text where that is known; a route that is known is not parsed again.

        Raises:
            yaml.YAMLError, RecursionError, ValueError: it is no YAML.
        """
        try:
            parts = [(part, self._known.get(part) or yaml.load(part, Loader=_LOADER)) for part in parts_of(text)]  # noqa: S506
        except (yaml.YAMLError, RecursionError, ValueError):
            parts = [("", one) for one in yaml.load_all(text, Loader=_LOADER)]  # it knows which line
        return [(part, one) for part, one in parts if one is not None]

    def finish(self, path: Path, listen: str) -> Configuration:
        """All of it, checked together. Raises WrongConfiguration."""
        settings = self._settings or Settings()
        if listen:
            settings = msgspec.structs.replace(settings, listen=listen)
        with self.noting():
            check_settings(settings, str(path))
        owners: dict[bytes, str] = {}
        for record in self._keys:
            for digest in record.digests:
                other = owners.setdefault(digest.sha256, record.id)
                if other != record.id:
                    self._problems.append(f"keys {other} and {record.id} have one hash: make a key for each")
        routes = tuple(self._routes.values())
        revision = self._hash.hexdigest()[:12]
        asks = bool(self._keys or settings.key_file)
        compiled = Routes.compile(routes if asks else map(_opened, routes), revision, one_author=True)
        self._problems += map(str, compiled.problems)
        if not routes and not self._problems:
            self._problems.append(f"{path}: wanted at least one LLMRoute, found none")
        if not asks and not self._problems and not _is_loopback(settings.address[0]):
            self._problems.append(
                f"{path}: listen: {settings.listen} is open to others, and no key is configured: make one with "
                "`tensorfusion gateway keys create NAME --file keys.yaml` and set keyFile: keys.yaml, "
                "or listen on 127.0.0.1"
            )
        if self._problems:
            raise WrongConfiguration(self._problems)
        return Configuration(
            path=path,
            settings=settings,
            routes=routes,
            keys=tuple(self._keys),
            file_keys=tuple(self._file_keys),
            secrets=Secrets(self._secrets),
            files=tuple(self._files),
            compiled=compiled,
            documents=self._documents,
            portkey=self._portkey,
            kept=self._kept,
            revision=revision,
        )

    def _take(self, at: str, document: Json, part: str = "") -> None:
        """Raises ConfigError, InvalidRequest."""
        if not isinstance(document, dict):
            raise ConfigError(f"{at}: wanted an object or settings, found {type(document).__name__}")
        match document.get("kind"):
            case None:
                self._take_settings(at, document)
            case "LLMRoute":
                self._take_route(at, document, part)
            case "LLMKey":
                key = convert(_in_schema(at, document), LLMKey, at)
                name, namespace = key.metadata.name, key.metadata.namespace or DEFAULT_NAMESPACE
                self._keys.append(record_of(key.spec, name=name, namespace=namespace, at=f"{at}: spec", operator=True))
            case "Secret":
                self._take_secret(at, document)
            case "List":
                for place, item in enumerate(document.get("items") or ()):
                    with self.noting():
                        self._take(f"{at} items[{place}]", item)
            case kind:
                raise ConfigError(f"{at}: wanted LLMRoute, LLMKey, Secret or settings without a kind, found {kind!r}")

    def _take_route(self, at: str, document: Json, part: str) -> None:
        route = convert(_in_schema(at, document), LLMRoute, at)
        meta = msgspec.structs.replace(route.metadata, namespace=route.metadata.namespace or DEFAULT_NAMESPACE)
        self._add_route(at, msgspec.structs.replace(route, metadata=meta), part)

    def _add_route(self, at: str, route: LLMRoute, part: str) -> None:
        """Raises ConfigError."""
        name = str(route.key)
        if not route.metadata.name:
            raise ConfigError(f"{at}: metadata.name: wanted a name, found none")
        if name in self._routes:
            raise ConfigError(f"{at}: there is an LLMRoute {name} already: give this one another name")
        self._routes[name] = route
        if part:
            self._documents[part] = route

    def _take_secret(self, at: str, document: Json) -> None:
        meta = document.get("metadata") or {}
        name, namespace = meta.get("name"), meta.get("namespace") or DEFAULT_NAMESPACE
        if not isinstance(name, str):
            raise ConfigError(f"{at}: metadata.name: wanted a name, found none")
        for field_name, decode in (("data", _from_base64), ("stringData", str)):
            for key, value in (document.get(field_name) or {}).items():
                try:
                    self._secrets[namespace, name, key] = decode(value)
                except (ValueError, binascii.Error) as error:
                    raise ConfigError(f"{at}: {field_name}.{key}: wanted text in base64") from error

    def _take_settings(self, at: str, document: Json) -> None:
        if self._settings is not None:
            raise ConfigError(f"{at}: there are settings already: one document without a kind is enough")
        self._settings = settings = convert(document, Settings, at)
        for place, source in enumerate(settings.secrets):
            with self.noting():
                self._secrets[source.namespace, source.name, source.key] = self._credential(
                    source, f"{at}: secrets[{place}] ({source.name})"
                )
        with self.noting():
            listed = document.get("keys") or ()
            self._keys += parse_keys(listed, at=f"{at}: keys", environ=self._environ, read=self._bytes)
        if settings.portkey_configs:
            with self.noting():
                self._portkey = self._configs(self._folder / settings.portkey_configs)
        if settings.key_file:
            with self.noting():
                found = self._folder / settings.key_file
                self._text(found)
                self._file_keys = read_keys(found, self._environ, read=self._bytes)
                self._keys += self._file_keys
        with self.noting():
            self._keep(portkey_file_of(settings, self._folder))

    def _keep(self, path: Path | None) -> None:
        """Read what namespaces keep; a file that is not there yet is followed. Raises ConfigError."""
        if path is None:
            return
        if not path.exists():
            self._files.append(path)
            return
        self._kept = read_kept(self._text(path), str(path))
        for namespace, entries in self._kept.virtual_keys.items():
            for name, entry in entries.items():
                self._secrets[namespace, name, VIRTUAL_IN] = entry.key

    def _configs(self, path: Path) -> Mapping[str, Json]:
        """Raises ConfigError: one of them cannot be used."""
        found = read_configs(self._text(path))
        for name, config in found.items():
            try:
                config_of(config, name=name, custom_hosts=every_host, secret_of=self._virtual)
            except InvalidRequest as error:
                raise ConfigError(f"{path}: {name}: {error}") from error
        return found

    def _virtual(self, name: str) -> VirtualKey | None:
        """What a virtual key stands for, in whatever namespace."""
        known = next((one for one in self._secrets if one[1] == name), None)
        if known is None:
            return None
        return VirtualKey(SecretReference(namespace=known[0], name=known[1], key=known[2]))

    def _credential(self, source: SecretSource, at: str) -> str:
        if bool(source.env) == bool(source.file):
            raise ConfigError(f"{at}: wanted env or file, found {'both' if source.env else 'neither'}")
        if source.env:
            value = self._environ.get(source.env, "")
            where = f"environment variable {source.env}"
        else:
            value = self._text(self._folder / source.file)
            where = source.file
        if not value.strip():
            raise ConfigError(f"{at}: {where} is {'empty' if source.file or source.env in self._environ else 'unset'}")
        return value.strip()

    def _bytes(self, path: str) -> bytes:
        """What is in a file that one of the documents names. Raises ConfigError."""
        return self._text(self._folder / path).encode()

    def _text(self, path: Path) -> str:
        """What is in a file, which is one of those that this configuration is made of. Raises ConfigError."""
        self._files.append(path)
        try:
            with path.open("rb") as file:
                data = file.read(_MOST_BYTES + 1)
            if len(data) > _MOST_BYTES:
                raise ConfigError(f"{path}: has more than {_MOST_BYTES} bytes")
            self._hash.update(data)
            return data.decode()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is no UTF-8") from error


def state_of(files: Sequence[Path]) -> tuple[object, ...]:
    """What changes when one of these does: written in place, or another one in its place."""
    found: list[object] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def sources_of(path: Path) -> list[Path]:
    """The file itself, or the YAML files of a folder."""
    if not path.is_dir():
        return [path]
    try:
        return sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES)
    except OSError:
        return []


def _in_schema(at: str, document: Json) -> Json:
    """The document in the schema of its kind, whatever dialect it is written in. Raises ConfigError."""
    done = in_schema(document)
    if done.refusals:
        raise ConfigError(f"{at}: {'; '.join(map(str, done.refusals))}")
    return done.document


def _opened(route: LLMRoute) -> LLMRoute:
    """For whoever comes, too."""
    found = route.spec.selector or LLMSelector()
    namespaces = {*(found.namespaces or (route.metadata.namespace,)), DEFAULT_NAMESPACE}
    selector = msgspec.structs.replace(found, namespaces=tuple(sorted(namespaces)))
    return msgspec.structs.replace(route, spec=msgspec.structs.replace(route.spec, selector=selector))


def _from_base64(text: Json) -> str:
    return base64.b64decode(text, validate=True).decode()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
