"""A Portkey configuration to a route and its tree. Every error names the place in the configuration.

What is not honoured is refused and not passed over: a guardrail that does not run is worse than an error.

``custom_host`` is an address of the caller's choice, which the gateway would ask from where it stands: it is refused
unless it is one that the caller may name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from tensorfusion.model.common import SecretReference
from tensorfusion.model.llm_route import RouteStrategy
from tensorfusion.policy.routing.compiler import MOST_TARGETS
from tensorfusion.policy.routing.portkey.errors import InvalidConfig, kind_of
from tensorfusion.policy.routing.portkey.queries import DEEPEST, Facts, read_query
from tensorfusion.policy.routing.portkey.settings import caching_of, headers_of, retry_of, statuses_of, weights_of
from tensorfusion.policy.routing.portkey.tree import Balance, Conditional, Fallback, Leaf, Node, TreeWalk
from tensorfusion.policy.routing.portkey.values import (
    Json,
    object_of,
    plain,
    refuse_field,
    shown,
    text_of,
    under,
    whole_of,
)
from tensorfusion.policy.routing.rotation import Rotation
from tensorfusion.policy.routing.route import PUBLIC_PROVIDERS, RetryRules, Route, Target

LONGEST = 64 << 10
"""Bytes of a configuration."""

_SHARED = frozenset(
    {"name", "strategy", "targets", "weight", "retry", "request_timeout", "override_params", "custom_host", "cache"}
)
_OF_LEAVES = frozenset(
    {"provider", "api_key", "virtual_key", "forward_headers", "resource_name", "deployment_id", "api_version"}
)
_GUARDRAILS = frozenset(
    {"input_guardrails", "output_guardrails", "before_request_hooks", "after_request_hooks"}
    | {"default_input_guardrails", "default_output_guardrails"}
)
_PROVIDERS = {"azure-openai": "azure", "ollama": "custom"}
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_AZURE_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?")

Hosts = Callable[[str], bool]
"""Whether a URL is one that may be asked."""


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """The credential that a name stands for. One that says its provider is sent there, to ``host`` where that says one,
    and nowhere else."""

    secret: SecretReference
    provider: str = ""
    host: str = ""


SecretOf = Callable[[str], VirtualKey | None]


def no_host(url: str) -> bool:
    """None is."""
    return False


def every_host(url: str) -> bool:
    """Every one is."""
    return True


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration as a route (its targets are the leaves) and the tree that decides among them."""

    route: Route
    root: Node
    conditional: bool
    """Some condition looks at the request: its facts are needed."""

    def walk(self, facts: Facts) -> TreeWalk:
        """The walk of one request, for its ``Attempts``."""
        return TreeWalk(self.root, facts)


def read_config(
    text: bytes | str,
    *,
    name: str,
    namespace: str = "",
    custom_hosts: Hosts = no_host,
    secret_of: SecretOf = lambda _: None,
) -> Config:
    """Read one configuration.

    ``custom_hosts`` says which addresses the caller may name. ``secret_of`` finds the credential that a
    ``virtual_key`` stands for.

    Raises:
        InvalidConfig: it cannot be used; the error names the place in it.
    """
    if len(text) > LONGEST:
        raise InvalidConfig("", f"wanted at most {LONGEST} bytes, found {len(text)}")
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidConfig("", f"no JSON: {error}") from None
    return config_of(found, name=name, namespace=namespace, custom_hosts=custom_hosts, secret_of=secret_of)


def config_of(
    found: Json,
    *,
    name: str,
    namespace: str = "",
    custom_hosts: Hosts = no_host,
    secret_of: SecretOf = lambda _: None,
) -> Config:
    """``read_config`` of a value that was decoded already."""
    reader = _Reader(custom_hosts=custom_hosts, secret_of=secret_of)
    top = plain(object_of(found, ""))
    root = reader.node(top, "", _Inherited(), depth=0)
    route = Route(
        namespace=namespace,
        name=name,
        targets=tuple(reader.targets),
        strategy=RouteStrategy.PRIORITY,
        caching=caching_of(top["cache"], "cache") if "cache" in top else None,
    )
    return Config(route, root, reader.conditional)


def read_configs(text: bytes | str) -> Mapping[str, Json]:
    """A file of configurations by id: ``{"ID": {...}}`` or ``[{"id": "ID", "config": {...}}]``.

    Each is read by ``config_of`` when it is known for whom.

    Raises:
        InvalidConfig: the file has another form.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidConfig("", f"no JSON: {error}") from None
    if isinstance(found, list):
        entries = [object_of(one, f"[{at}]") for at, one in enumerate(found)]
        for at, entry in enumerate(entries):
            if not isinstance(entry.get("id"), str) or not isinstance(entry.get("config"), dict):
                raise InvalidConfig(f"[{at}]", "wanted id (a string) and config (an object)")
        return {entry["id"]: entry["config"] for entry in entries}
    configs = object_of(found, "")
    for key, one in configs.items():
        if not isinstance(one, dict):
            raise InvalidConfig(key, f"wanted a configuration (an object), found {kind_of(one)}")
    return configs


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a target takes over from those above it."""

    retry: RetryRules | None = None
    timeout: float | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    host: str = ""


class _Reader:
    def __init__(self, *, custom_hosts: Hosts, secret_of: SecretOf) -> None:
        self.custom_hosts = custom_hosts
        self.secret_of = secret_of
        self.targets: list[Target] = []
        self.conditional = False

    def node(self, found: dict[str, Json], path: str, above: _Inherited, *, depth: int) -> Node:
        if depth > DEEPEST:
            raise InvalidConfig(path, f"wanted targets at most {DEEPEST} deep in each other")
        _known_fields(found, path)
        if depth and "cache" in found:
            raise InvalidConfig(under(path, "cache"), "wanted at the top only: one request has one cache")
        inherited = self.inherited(found, path, above)
        if "targets" in found:
            return self.group(found, path, inherited, depth=depth)
        mode = object_of(found.get("strategy", {}), under(path, "strategy")).get("mode", "single")
        if mode != "single":
            raise InvalidConfig(under(path, "targets"), f"wanted targets for mode {mode!r}, found none")
        return self.leaf(found, path, inherited)

    def group(self, found: dict[str, Json], path: str, inherited: _Inherited, *, depth: int) -> Node:
        written = found["targets"]
        if not isinstance(written, list) or not written:
            raise InvalidConfig(
                under(path, "targets"), f"wanted a list of at least one target, found {kind_of(written)}"
            )
        objects = [object_of(one, under(path, f"targets[{at}]")) for at, one in enumerate(written)]
        where = under(path, "strategy")
        strategy = plain(object_of(found.get("strategy", {"mode": "single"}), where))
        mode = strategy.get("mode", "single")
        if mode == "single":
            objects = objects[:1]  # the others are never asked
        children = tuple(
            self.node(plain(one), under(path, f"targets[{at}]"), inherited, depth=depth + 1)
            for at, one in enumerate(objects)
        )
        match mode:
            case "single":
                return children[0]
            case "fallback":
                return Fallback(children, statuses_of(strategy.get("on_status_codes", []), f"{where}.on_status_codes"))
            case "loadbalance":
                return Balance(children, Rotation(weights_of(objects, path)))
            case "conditional":
                self.conditional = True
                return _conditional(strategy, where, children, objects)
            case _:
                raise InvalidConfig(
                    f"{where}.mode", f"wanted single, loadbalance, fallback or conditional, found {shown(mode)}"
                )

    def inherited(self, found: dict[str, Json], path: str, above: _Inherited) -> _Inherited:
        host = above.host
        if "custom_host" in found:
            where = under(path, "custom_host")
            host = text_of(found["custom_host"], where)
            if not _URL.fullmatch(host):
                raise InvalidConfig(where, "wanted a URL with http:// or https://, without credentials or a query")
            if not self.custom_hosts(host):
                raise InvalidConfig(
                    where,
                    "this key may not name this address: whoever runs the gateway lists those that may be named "
                    "(portkey.customHosts), for keys that say customHosts; or use a route",
                )
        parameters = above.parameters
        if "override_params" in found:
            parameters = {**parameters, **object_of(found["override_params"], under(path, "override_params"))}
        retry = retry_of(found["retry"], under(path, "retry")) if "retry" in found else above.retry
        timeout = above.timeout
        if "request_timeout" in found:
            timeout = whole_of(found["request_timeout"], under(path, "request_timeout"), 1, 3_600_000) / 1000
        return _Inherited(retry, timeout, parameters, host.rstrip("/"))

    def leaf(self, found: dict[str, Json], path: str, inherited: _Inherited) -> Leaf:
        if len(self.targets) >= MOST_TARGETS:
            raise InvalidConfig(path, f"wanted at most {MOST_TARGETS} targets in all")
        virtual = self.virtual_key(found, path)
        provider = _provider(found, path, virtual)
        parameters = dict(inherited.parameters)
        model = parameters.pop("model", "")
        if not isinstance(model, str):
            raise InvalidConfig(under(path, "override_params.model"), f"wanted a string, found {kind_of(model)}")
        if not model.isprintable():
            raise InvalidConfig(under(path, "override_params.model"), "wanted printable characters")
        endpoint = inherited.host
        if virtual is not None and virtual.provider:
            if endpoint or "resource_name" in found:
                raise InvalidConfig(
                    under(path, "virtual_key"),
                    "this one goes to the address that was said with it: leave custom_host and resource_name out",
                )
            endpoint = virtual.host
        if provider == "azure":
            endpoint = endpoint or azure_address(found, path)
            model = text_of(found["deployment_id"], under(path, "deployment_id")) if "deployment_id" in found else model
        if not endpoint and provider not in PUBLIC_PROVIDERS:
            raise InvalidConfig(
                under(path, "custom_host"), f"wanted the address of provider {provider!r}, which has none of its own"
            )
        credential = _credential(found, path, provider, virtual)
        name = text_of(found["name"], under(path, "name")) if "name" in found else path or provider
        if not name.isprintable():
            raise InvalidConfig(under(path, "name"), "wanted printable characters")
        if any(target.name == name for target in self.targets):
            name = path
        self.targets.append(
            Target(
                index=len(self.targets),
                name=name,
                provider=provider,
                model=model,
                endpoint=endpoint,
                secret=virtual.secret if virtual is not None else None,
                credential=credential,
                extra_parameters=parameters,
                retry=inherited.retry,
                timeout=inherited.timeout,
                forward_headers=headers_of(found.get("forward_headers", []), under(path, "forward_headers")),
            )
        )
        return Leaf(len(self.targets) - 1)

    def virtual_key(self, found: dict[str, Json], path: str) -> VirtualKey | None:
        """What stands for the key of a target that states none itself."""
        if "virtual_key" not in found or "api_key" in found:
            return None
        where = under(path, "virtual_key")
        name = text_of(found["virtual_key"], where)
        virtual = self.secret_of(name)
        if virtual is None:
            raise InvalidConfig(where, f"there is no virtual key {name[:64]!r}")
        return virtual


def known_provider(name: str) -> str:
    """A provider by the name that it has here."""
    return _PROVIDERS.get(name, name)


def _provider(found: dict[str, Json], path: str, virtual: VirtualKey | None) -> str:
    where = under(path, "provider")
    bound = virtual.provider if virtual is not None else ""
    if "provider" not in found:
        if bound:
            return bound
        raise InvalidConfig(where, "wanted the name of a provider, or targets, found neither")
    provider = known_provider(text_of(found["provider"], where))
    if bound and provider != bound:
        raise InvalidConfig(where, f"wanted {bound!r}, which its virtual key is for, found {provider!r}")
    return provider


def _credential(found: dict[str, Json], path: str, provider: str, virtual: VirtualKey | None) -> str:
    """The key for the provider, where it is stated."""
    if "api_key" in found:
        key = text_of(found["api_key"], under(path, "api_key"))
        if not key.isascii() or not key.isprintable():
            raise InvalidConfig(under(path, "api_key"), "wanted a key of printable ASCII characters")
        return key
    if virtual is None and (provider in PUBLIC_PROVIDERS or provider == "azure"):
        raise InvalidConfig(
            under(path, "api_key"),
            f"wanted api_key or virtual_key for provider {provider!r}: the key of the gateway goes to no provider",
        )
    return ""


def _conditional(
    strategy: dict[str, Json], where: str, children: tuple[Node, ...], objects: list[dict[str, Json]]
) -> Conditional:
    names = {one["name"]: at for at, one in reversed(list(enumerate(objects))) if isinstance(one.get("name"), str)}

    def child(name: Json, path: str) -> int:
        if not isinstance(name, str) or name not in names:
            raise InvalidConfig(
                path, f"wanted the name of one of its targets ({', '.join(names)}), found {shown(name)}"
            )
        return names[name]

    written = strategy.get("conditions")
    if not isinstance(written, list) or not written:
        raise InvalidConfig(f"{where}.conditions", f"wanted a list of query and then, found {kind_of(written)}")
    conditions = []
    for at, one in enumerate(written):
        path = f"{where}.conditions[{at}]"
        condition = object_of(one, path)
        for name in ("query", "then"):
            if name not in condition:
                raise InvalidConfig(f"{path}.{name}", "wanted one, found none")
        conditions.append((read_query(condition["query"], f"{path}.query"), child(condition["then"], f"{path}.then")))
    default = child(strategy["default"], f"{where}.default") if "default" in strategy else None
    return Conditional(children, tuple(conditions), default)


def azure_address(found: Mapping[str, Json], path: str) -> str:
    """Of the Azure resource that is named. Raises InvalidConfig."""
    where = under(path, "resource_name")
    if "resource_name" not in found:
        raise InvalidConfig(where, "wanted the name of the Azure resource, or custom_host")
    name = text_of(found["resource_name"], where)
    if not _AZURE_NAME.fullmatch(name):
        raise InvalidConfig(where, "wanted letters, digits and -, for it becomes part of an address")
    return f"https://{name}.openai.azure.com"


def _known_fields(found: dict[str, Json], path: str) -> None:
    for name, value in found.items():
        if name in _GUARDRAILS:
            if value:
                raise InvalidConfig(
                    under(path, name), "guardrails are not run here: leave them out, or run them elsewhere"
                )
        elif name not in _SHARED and name not in _OF_LEAVES:
            refuse_field(name, path, tuple(_SHARED | _OF_LEAVES))
