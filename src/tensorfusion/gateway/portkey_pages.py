"""``/v1/configs`` and ``/v1/virtual-keys``: what a namespace keeps for requests that name it in ``x-portkey-config``.

For keys with scope ``admin``, each within its own namespace: what is another's is not there. A configuration is checked
by the reader that requests meet, and holds no credential. A virtual key is never told again, and is bound, when it is
made, to one provider and one address: who may name it in a configuration cannot have it sent anywhere else.

Source: Portkey's API, "Configs" and "Virtual keys"; the platform's contract, 3.1 and 3.9.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from tensorfusion.clock import Clock, timestamp
from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.gateway.faults import Fault, invalid
from tensorfusion.gateway.handling import Inquiry, Pace, missing, page_of
from tensorfusion.gateway.keys.file import NAME
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.pages import Page
from tensorfusion.gateway.portkey import VIRTUAL_IN as IN_SECRETS
from tensorfusion.gateway.portkey import Portkeys
from tensorfusion.gateway.portkey_store import (
    Kept,
    KeptConfig,
    KeptVirtualKey,
    PortkeyFile,
    StoreFull,
    with_entry,
    without_entry,
)
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.model.common import SecretReference
from tensorfusion.policy.routing.portkey.reading import LONGEST, azure_address, known_provider
from tensorfusion.policy.routing.route import PUBLIC_PROVIDERS
from tensorfusion.telemetry.logs import get_logger

CONFIGS: Final = b"/v1/configs"
VIRTUAL_KEYS: Final = b"/v1/virtual-keys"
_LONGEST_NAME: Final = 128
_LONGEST_KEY: Final = 4096
_SLUG: Final = re.compile(r"[^a-z0-9]+")
_ADDRESS: Final = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_CREDENTIALS: Final = ("api_key", "apiKey")
Json = dict[str, Any]  # Any: JSON
Found = TypeVar("Found")
log = get_logger(__name__)


class PortkeyPages:
    """``file`` is where they are kept now, None where nowhere; ``portkeys`` are those that requests meet, and
    ``secrets`` the credentials that they may name beside."""

    def __init__(
        self,
        file: Callable[[], PortkeyFile | None],
        *,
        portkeys: Callable[[], Portkeys],
        secrets: Callable[[], Secrets],
        clock: Clock,
    ) -> None:
        self._file = file
        self._portkeys = portkeys
        self._secrets = secrets
        self._clock = clock
        self._pace = Pace(clock)

    async def configs(self, asked: Inquiry) -> Page:
        """``/v1/configs[/id]``. Raises Fault, KeyRefused."""
        giver, below = asked.administrator(), asked.below
        match asked.method, len(below):
            case "POST", 0:
                return await self._keep_config(asked, giver, "")
            case (("GET" | "HEAD"), 0):
                kept = await self._read()
                entries = kept.configs.get(giver.namespace, {})
                return page_of({"object": "list", "data": [_config(name, one) for name, one in entries.items()]})
            case (("GET" | "HEAD"), 1):
                found = (await self._read()).configs.get(giver.namespace, {}).get(below[0])
                if found is None:
                    raise _no_config()
                return page_of({**_config(below[0], found), "config": found.config})
            case "PUT", 1:
                return await self._keep_config(asked, giver, below[0])
            case "DELETE", 1:
                return await self._delete(giver, below[0], "config")
        raise asked.refuse_method(*(("GET", "POST") if not below else ("GET", "PUT", "DELETE")))

    async def virtual_keys(self, asked: Inquiry) -> Page:
        """``/v1/virtual-keys[/name]``. Raises Fault, KeyRefused."""
        giver, below = asked.administrator(), asked.below
        match asked.method, len(below):
            case "POST", 0:
                return await self._keep_virtual_key(asked, giver, "")
            case (("GET" | "HEAD"), 0):
                entries = (await self._read()).virtual_keys.get(giver.namespace, {})
                return page_of({"object": "list", "data": [_virtual_key(name, one) for name, one in entries.items()]})
            case "PUT", 1:
                return await self._keep_virtual_key(asked, giver, below[0])
            case "DELETE", 1:
                return await self._delete(giver, below[0], "virtual_key")
        raise asked.refuse_method(*(("GET", "POST") if not below else ("PUT", "DELETE")))

    async def _keep_config(self, asked: Inquiry, giver: KeyRecord, known: str) -> Page:
        document, now = asked.json(), timestamp(self._clock.now())
        _only(document, ("name", "config"))
        namespace = giver.namespace
        name = _word(document, "name", _LONGEST_NAME) if "name" in document or not known else ""
        config: Json | None = None
        if "config" in document or not known:
            config = self._checked(document.get("config"), namespace, await self._read())

        def change(kept: Kept) -> tuple[Kept, tuple[str, KeptConfig]]:
            entries = kept.configs.get(namespace, {})
            before = entries.get(known)
            if known and before is None:
                raise _no_config()
            key = known or _new_id(name, entries)
            entry = KeptConfig(
                name=name or (before.name if before is not None else ""),
                config=config if config is not None else (before.config if before is not None else {}),
                created_at=before.created_at if before is not None else now,
                updated_at=now,
            )
            return msgspec.structs.replace(kept, configs=with_entry(kept.configs, namespace, key, entry)), (key, entry)

        key, entry = await self._change(namespace, change)
        log.info("configuration kept", config=f"{namespace}/{key}", by=giver.id)
        return page_of({**_config(key, entry), "config": entry.config}, 200 if known else 201)

    def _checked(self, config: object, namespace: str, kept: Kept) -> Json:
        """A configuration that requests of the namespace can use. Raises Fault."""
        if isinstance(config, str):
            try:
                config = msgspec.json.decode(config)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                raise invalid("config: wanted a configuration as an object, found text that is no JSON") from None
        if not isinstance(config, dict):
            raise invalid(f"config: wanted a configuration as an object, found {type(config).__name__}", param="config")
        size = len(msgspec.json.encode(config))
        if size > LONGEST:
            raise invalid(f"config: wanted at most {LONGEST} bytes, found {size}", param="config")
        try:
            holds = any(name in _CREDENTIALS for name in _names(config))
        except RecursionError:
            raise invalid("config: wanted fewer things in each other", param="config") from None
        if holds:
            raise invalid(
                "config: api_key: a configuration that is kept holds no credential: keep it with POST "
                "/v1/virtual-keys and name it as virtual_key",
                param="config",
            )
        try:
            self._portkeys().check(config, namespace, kept, self._secrets())
        except InvalidRequest as error:
            raise invalid(f"config: {error}", param="config") from error
        return config

    async def _keep_virtual_key(self, asked: Inquiry, giver: KeyRecord, known: str) -> Page:
        document, now, namespace = asked.json(), timestamp(self._clock.now()), giver.namespace
        if known:
            _only(document, ("key", "note"))
        else:
            _only(document, ("name", "provider", "key", "customHost", "resourceName", "note"))
        name = known or document.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise invalid("name: wanted lower-case letters, digits, '-' and '.', 253 at most", param="name")
        key = _word(document, "key", _LONGEST_KEY) if "key" in document or not known else ""
        if not key.isascii() or " " in key:
            raise invalid("key: wanted a credential of printable ASCII characters without spaces", param="key")
        note = _word(document, "note", _LONGEST_NAME) if document.get("note") else ""
        provider, host = ("", "") if known else self._bound(document)
        if not known and self._secrets().get(SecretReference(name=name, namespace=namespace, key=IN_SECRETS)):
            raise _exists(name)

        def change(kept: Kept) -> tuple[Kept, KeptVirtualKey]:
            before = kept.virtual_keys.get(namespace, {}).get(name)
            if known and before is None:
                raise _no_virtual_key()
            if not known and before is not None:
                raise _exists(name)
            entry = KeptVirtualKey(provider=provider, key=key, created_at=now, host=host, note=note)
            if before is not None:
                entry = msgspec.structs.replace(before, key=key or before.key, note=note or before.note)
            return msgspec.structs.replace(
                kept, virtual_keys=with_entry(kept.virtual_keys, namespace, name, entry)
            ), entry

        entry = await self._change(namespace, change)
        log.info("virtual key kept", virtual_key=f"{namespace}/{name}", provider=entry.provider, by=giver.id)
        return page_of(_virtual_key(name, entry), 200 if known else 201)

    def _bound(self, document: Mapping[str, Any]) -> tuple[str, str]:
        """The provider that a credential is for, and its address where it is not the provider's own. Raises Fault."""
        provider = known_provider(_word(document, "provider", _LONGEST_NAME))
        host = str(document.get("customHost") or "").rstrip("/")
        if host:
            if not _ADDRESS.fullmatch(host) or len(host) > _LONGEST_KEY:
                raise invalid("customHost: wanted a URL with http:// or https://, without credentials or a query")
            if not self._portkeys().hosts(host):
                raise invalid(
                    "customHost: whoever runs the gateway lists the hosts that may be named (portkey.customHosts), and "
                    "this one is not among them",
                    param="customHost",
                )
            return provider, host
        if provider == "azure":
            resource = {"resource_name": document["resourceName"]} if "resourceName" in document else {}
            try:
                return provider, azure_address(resource, "")
            except InvalidRequest as error:
                raise invalid(f"resourceName: {error}", param="resourceName") from error
        if provider not in PUBLIC_PROVIDERS:
            raise invalid(
                f"customHost: wanted the address of provider {provider[:64]!r}, which has none of its own",
                param="customHost",
            )
        return provider, ""

    async def _delete(self, giver: KeyRecord, name: str, kind: str) -> Page:
        namespace = giver.namespace

        def change(kept: Kept) -> tuple[Kept, None]:
            if kind == "config":
                if name not in kept.configs.get(namespace, {}):
                    raise _no_config()
                return msgspec.structs.replace(kept, configs=without_entry(kept.configs, namespace, name)), None
            if name not in kept.virtual_keys.get(namespace, {}):
                raise _no_virtual_key()
            left = without_entry(kept.virtual_keys, namespace, name)
            return msgspec.structs.replace(kept, virtual_keys=left), None

        await self._change(namespace, change)
        log.info("deleted", kind=kind, what=f"{namespace}/{name}", by=giver.id)
        return page_of({"id": name, "object": kind, "deleted": True})

    async def _read(self) -> Kept:
        file = self._kept_in()
        try:
            return await asyncio.to_thread(file.read)
        except ConfigError as error:
            raise _unkept(error) from error

    async def _change(self, namespace: str, change: Callable[[Kept], tuple[Kept, Found]]) -> Found:
        file = self._kept_in()
        self._pace.take(namespace)
        try:
            return await asyncio.to_thread(file.change, namespace, change)
        except StoreFull as error:
            raise Fault(409, "invalid_request_error", str(error), code="too_much_kept") from error
        except ConfigError as error:
            raise _unkept(error) from error

    def _kept_in(self) -> PortkeyFile:
        file = self._file()
        if file is None:
            raise Fault(
                501,
                "invalid_request_error",
                "this gateway keeps no configurations and virtual keys: it does so with a file of keys (keyFile) or "
                "with portkey.file, and not yet where its keys are objects of a cluster. Bring them along in "
                "x-portkey-config",
                code="no_portkey_store",
            )
        return file


def _config(name: str, entry: KeptConfig) -> Json:
    times = {"createdAt": entry.created_at, "updatedAt": entry.updated_at}
    return {"id": name, "object": "config", "name": entry.name, **times}


def _virtual_key(name: str, entry: KeptVirtualKey) -> Json:
    """Without the credential, and without a part of it."""
    found = {"id": name, "object": "virtual_key", "provider": entry.provider, "createdAt": entry.created_at}
    return {**found, "customHost": entry.host, "note": entry.note}


def _new_id(name: str, known: Mapping[str, object]) -> str:
    slug = _SLUG.sub("-", name.lower()).strip("-")[:32].rstrip("-") or "config"
    while (found := f"pc-{slug}-{secrets.token_hex(3)}") in known:
        pass
    return found


def _names(value: object) -> Iterator[str]:
    """The names of all fields, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _only(document: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in document:
        if name not in known:
            raise invalid(f"there is no field {name[:64]!r}: known are {', '.join(known)}", param=name[:64])


def _word(document: Mapping[str, Any], field: str, most: int) -> str:
    found = document.get(field)
    if not isinstance(found, str) or not 0 < len(found) <= most or not found.isprintable():
        raise invalid(f"{field}: wanted text of 1 to {most} printable characters, found something else", param=field)
    return found


def _no_config() -> Fault:
    return missing("the configuration", code="config_not_found")


def _no_virtual_key() -> Fault:
    return missing("the virtual key", code="virtual_key_not_found")


def _exists(name: str) -> Fault:
    return Fault(
        409,
        "invalid_request_error",
        f"there is a virtual key {name} already: choose another name, or give it a new key with PUT "
        f"/v1/virtual-keys/{name}",
        code="virtual_key_exists",
        param="name",
    )


def _unkept(error: ConfigError) -> Fault:
    """Why is for whoever runs the gateway."""
    log.warning("configurations and virtual keys cannot be read or written", error=str(error))
    return Fault(
        503,
        "internal_error",
        "configurations and virtual keys cannot be read or written now: ask whoever runs this gateway",
        code="portkey_store_unavailable",
        fields=((b"Retry-After", b"5"),),
    )
