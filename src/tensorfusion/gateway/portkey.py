"""Configurations of Portkey's that requests bring along: ``x-portkey-config``, as JSON or as the name of one in a file.

Each is read once and kept with a chooser and upstreams of its own, as a route would be; connections are shared with the
routes. A key that is bound to routes or models may not go around them by a configuration: the first is refused, of the
second every model that the configuration names is checked.

``custom_host`` is an address of the caller's choice that the gateway would ask from where it stands. It is honoured
where whoever reaches the gateway is on this machine already; else where whoever runs the gateway lists its host
(``custom_hosts``), and for keys whose ``metadata`` says ``customHosts: "true"``.

Source: Portkey's gateway, "Configs"; the platform's contract, 3.9.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tensorfusion.errors import InvalidRequest
from tensorfusion.gateway.apis import Call
from tensorfusion.gateway.asking import Asked
from tensorfusion.gateway.faults import Fault, invalid
from tensorfusion.gateway.keys.record import KeyRecord
from tensorfusion.gateway.portkey_store import VIRTUAL_IN as KEPT_IN
from tensorfusion.gateway.portkey_store import Kept
from tensorfusion.gateway.reading import UNREADABLE
from tensorfusion.gateway.seams import Key
from tensorfusion.gateway.secrets import Secrets
from tensorfusion.gateway.state import State, no_addresses
from tensorfusion.gateway.upstreams import Upstreams
from tensorfusion.model.common import SecretReference
from tensorfusion.policy.routing.chooser import Chooser
from tensorfusion.policy.routing.portkey.queries import Facts
from tensorfusion.policy.routing.portkey.reading import (
    Config,
    Hosts,
    VirtualKey,
    config_of,
    every_host,
    no_host,
    read_config,
)
from tensorfusion.policy.routing.state import Attempts

HEADER: Final = b"x-portkey-config"
METADATA: Final = b"x-portkey-metadata"
NAME: Final = "portkey"
"""Of the route in metrics and records: one for all configurations, which callers invent."""
VIRTUAL_IN: Final = "api-key"
"""The key in the Secret that a virtual key names."""
_MOST_KEPT: Final = 512
_AZURE: Final = ".openai.azure.com"
_MOST_METADATA: Final = 16 << 10

Json = Any  # Any: JSON of any shape


@dataclass(frozen=True, slots=True)
class Portkey:
    """One configuration, ready for requests."""

    config: Config
    chooser: Chooser
    upstreams: Upstreams

    def attempts(self, fields: Mapping[bytes, bytes], asked: Asked, call: Call) -> Attempts:
        """For one request. Raises Fault: its metadata is no object."""
        facts = Facts()
        if self.config.conditional:
            params = {name: _param(name, raw) for name, raw in asked.parts.items()}
            facts = Facts(_metadata(fields.get(METADATA, b"")), params, f"/v1/{call.path.partition('?')[0]}")
        return Attempts(self.config.walk(facts))


class Portkeys:
    """Those that came lately, of one state of the configuration."""

    def __init__(
        self, named: Mapping[str, Json] | None = None, hosts: Hosts = no_host, kept: Kept | None = None
    ) -> None:
        """``named`` are those of a file; ``hosts`` may be named by callers; ``kept`` are those of namespaces. Changed
        together with the state."""
        self.named = named or {}
        self.hosts = hosts
        self.kept = kept or Kept()
        self._state: State | None = None
        self._kept: dict[tuple[bytes, str, Hosts], Portkey] = {}

    def of(self, text: bytes, key: Key, state: State) -> Portkey:
        """The configuration that a request of the key brings along.

        Raises:
            Fault: it cannot be used.
            KeyRefused: the key may not.
        """
        if key.routes.patterns:
            raise Fault(
                403,
                "permission_error",
                f"key {key.id} is bound to routes: it may not bring a configuration along",
                code="route_not_allowed",
            )
        if state is not self._state:
            self._state = state
            self._kept.clear()
        hosts = self._hosts_of(key)
        which = (text, key.namespace, hosts)
        found = self._kept.get(which)
        if found is None:
            found = self._read(text, key.namespace, state, hosts=hosts)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[which] = found
        for target in found.config.route.targets:
            if target.model:
                key.require_model(target.model)
        return found

    def check(self, config: Json, namespace: str, kept: Kept, secrets: Secrets) -> Config:
        """A configuration of a namespace that is kept, or is to be, beside others.

        Raises:
            InvalidRequest, Fault: it cannot be used.
        """

        def secret_of(name: str) -> VirtualKey | None:
            return self._virtual(name, namespace, kept, secrets)

        found = config_of(config, name=NAME, namespace=namespace, custom_hosts=self.hosts, secret_of=secret_of)
        _require_own_credentials(found)
        return found

    def _virtual(self, name: str, namespace: str, kept: Kept, secrets: Secrets) -> VirtualKey | None:
        """What a virtual key stands for: a credential of whoever runs the gateway, or one that the namespace keeps."""
        reference = SecretReference(name=name, namespace=namespace, key=VIRTUAL_IN)
        if secrets.get(reference) is not None:
            return VirtualKey(reference)
        found = kept.virtual_keys.get(namespace, {}).get(name)
        if found is None:
            return None
        if found.host and not _is_azure(found.host) and not self.hosts(found.host):
            raise invalid(
                f"virtual key {name}: whoever runs the gateway no longer lists its address (portkey.customHosts)",
                param="x-portkey-config",
            )
        return VirtualKey(SecretReference(name=name, namespace=namespace, key=KEPT_IN), found.provider, found.host)

    async def close(self) -> None:
        """End their connections."""
        for found in self._kept.values():
            await found.upstreams.close()

    def _hosts_of(self, key: Key) -> Hosts:
        if not isinstance(key, KeyRecord):
            return every_host
        return self.hosts if key.metadata.get("customHosts") == "true" else no_host

    def _read(self, text: bytes, namespace: str, state: State, *, hosts: Hosts) -> Portkey:
        secrets = state.upstreams.secrets

        def secret_of(name: str) -> VirtualKey | None:
            return self._virtual(name, namespace, self.kept, secrets)

        try:
            if text.lstrip().startswith(b"{"):
                config = read_config(text, name=NAME, namespace=namespace, custom_hosts=hosts, secret_of=secret_of)
                _require_own_credentials(config)
            elif (found := self.kept.configs.get(namespace, {}).get(text.decode("latin-1"))) is not None:
                config = self.check(found.config, namespace, self.kept, secrets)
            else:
                named = self.named.get(text.decode("latin-1"))
                if named is None:
                    raise invalid(
                        f"there is no configuration {text[:64].decode('latin-1')!r}", param="x-portkey-config"
                    )
                config = config_of(named, name=NAME, namespace=namespace, custom_hosts=every_host, secret_of=secret_of)
        except InvalidRequest as error:
            raise invalid(f"x-portkey-config: {error}", param="x-portkey-config") from error
        upstreams = Upstreams((config.route,), secrets, addresses=no_addresses, adopt=state.upstreams)
        return Portkey(config, Chooser(config.route), upstreams)


def _require_own_credentials(config: Config) -> None:
    """Raises Fault: a caller's own address would be sent a credential that the caller cannot read.

    One that is kept goes to the address that was said with it."""
    for target in config.route.targets:
        secret = target.secret
        if secret is None or secret.key == KEPT_IN:
            continue
        if target.endpoint and not _is_azure(target.endpoint):
            raise invalid(
                f"x-portkey-config: target {target.name}: virtual_key goes to no custom_host: wanted api_key",
                param="x-portkey-config",
            )


def _is_azure(url: str) -> bool:
    """It is an address of Azure's own, whatever comes behind the host."""
    parts = urlsplit(url)
    return parts.scheme == "https" and (parts.hostname or "").endswith(_AZURE)


def _param(name: str, raw: msgspec.Raw) -> Json:
    """Raises Fault: it cannot be read."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE as error:
        raise invalid(f"{name} cannot be read: {error}", param=name) from error


def _metadata(text: bytes) -> Mapping[str, Json]:
    if not text:
        return {}
    try:
        if len(text) <= _MOST_METADATA:
            found: dict[str, Json] = msgspec.json.decode(text, type=dict[str, Json])
            return found
    except UNREADABLE:
        pass
    raise invalid("x-portkey-metadata: wanted a JSON object", param="x-portkey-metadata")
