"""KubeSchedulerConfiguration: how pods of each scheduler name are placed, as people write it.

Read strictly: an unknown field, plugin or argument is an error that names the nearest known one, and what this
scheduler cannot do is refused with the reason, never passed over. What it need not do is accepted and noted
(``notes``), so that a file written for Kubernetes' own scheduler works here.

Source: Kubernetes 1.34 kubescheduler.config.k8s.io/v1; TensorFusion's scheduler-config.yaml.
"""

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
import yaml

from tensorfusion.errors import ConfigError
from tensorfusion.model import keys
from tensorfusion.model.scheduler_plugins import ARGS, NO_ARGS, PLUGINS, POINTS, WEIGHTS
from tensorfusion.model.strict import convert, unknown

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"
EVERY: Final = "*"
_HIGHEST_WEIGHT = 100

Json = dict[str, Any]  # Any: YAML of any shape
ArgsT = TypeVar("ArgsT", bound=msgspec.Struct)


class _Plugin(msgspec.Struct, frozen=True):
    name: str
    weight: int = 0


class _PluginSet(msgspec.Struct, frozen=True):
    enabled: tuple[_Plugin, ...] = ()
    disabled: tuple[_Plugin, ...] = ()


class _Plugins(msgspec.Struct, frozen=True, rename="camel"):
    pre_enqueue: _PluginSet | None = None
    queue_sort: _PluginSet | None = None
    pre_filter: _PluginSet | None = None
    filter: _PluginSet | None = None
    post_filter: _PluginSet | None = None
    pre_score: _PluginSet | None = None
    score: _PluginSet | None = None
    reserve: _PluginSet | None = None
    permit: _PluginSet | None = None
    pre_bind: _PluginSet | None = None
    bind: _PluginSet | None = None
    post_bind: _PluginSet | None = None
    multi_point: _PluginSet | None = None


class _PluginConfig(msgspec.Struct, frozen=True):
    name: str
    args: Json = {}


class _Profile(msgspec.Struct, frozen=True, rename="camel"):
    scheduler_name: str = keys.DEFAULT_SCHEDULER_NAME
    percentage_of_nodes_to_score: int | None = None
    plugins: _Plugins | None = None
    plugin_config: tuple[_PluginConfig, ...] = ()


class _ClientConnection(msgspec.Struct, frozen=True, rename="camel"):
    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = ""
    qps: float = 0
    burst: int = 0


class _LeaderElection(msgspec.Struct, frozen=True, rename="camel"):
    leader_elect: bool = True
    lease_duration: str = ""
    renew_deadline: str = ""
    retry_period: str = ""
    resource_lock: str = ""
    resource_name: str = ""
    resource_namespace: str = ""


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    parallelism: int | None = None
    leader_election: _LeaderElection | None = None
    client_connection: _ClientConnection | None = None
    enable_profiling: bool | None = None
    enable_contention_profiling: bool | None = None
    percentage_of_nodes_to_score: int | None = None
    pod_initial_backoff_seconds: int | None = None
    pod_max_backoff_seconds: int | None = None
    profiles: tuple[_Profile, ...] = ()
    extenders: tuple[Json, ...] = ()
    delay_cache_until_active: bool | None = None


@dataclass(frozen=True, slots=True)
class PluginProfile:
    """One scheduler name: what is switched off, weights of scores, and arguments of plugins.

    ``off`` are plugins by extension point, without those that are switched on again by name.
    """

    name: str
    off: dict[str, frozenset[str]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    args: dict[str, msgspec.Struct] = field(default_factory=dict)

    def args_of(self, plugin: str, type_: type[ArgsT]) -> ArgsT | None:
        found = self.args.get(plugin)
        return found if isinstance(found, type_) else None


@dataclass(frozen=True, slots=True)
class SchedulerConfiguration:
    """The profiles, and what the file says that has no effect here."""

    profiles: tuple[PluginProfile, ...] = ()
    notes: tuple[str, ...] = ()


def parse_scheduler_configuration(text: str, file: str) -> SchedulerConfiguration:
    """The configuration in a file.

    Raises:
        ConfigError: it cannot be understood or followed; the message names file, key, what was wanted and found.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: wanted YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file}: wanted a {KIND}, found {type(document).__name__}")
    try:
        return _read(document)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error


def _read(document: Json) -> SchedulerConfiguration:
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if document.get(key) != wanted:
            raise ConfigError(f"{key}: wanted {wanted}, found {document.get(key)!r}")
    read = convert(document, _Document, "")
    if read.extenders:
        raise ConfigError("extenders: wanted none: this scheduler asks no other program; found some")
    notes = list(_notes(read))
    profiles: dict[str, PluginProfile] = {}
    for place, profile in enumerate(read.profiles):
        at = f"profiles[{place}]"
        if not profile.scheduler_name or profile.scheduler_name in profiles:
            wanted = "a name that no other profile has"
            raise ConfigError(f"{at}.schedulerName: wanted {wanted}, found {profile.scheduler_name!r}")
        _require_percentage(f"{at}.percentageOfNodesToScore", profile.percentage_of_nodes_to_score, notes)
        profiles[profile.scheduler_name] = _profile(profile, at)
    return SchedulerConfiguration(tuple(profiles.values()), tuple(notes))


def _notes(read: _Document) -> list[str]:
    """What is accepted and has no effect here, and why."""
    notes: list[str] = []
    _require_percentage("percentageOfNodesToScore", read.percentage_of_nodes_to_score, notes)
    for name, value, why in (
        ("parallelism", read.parallelism, "one core decides, over columns"),
        ("clientConnection", read.client_connection, "the connection is the control process's own"),
        ("leaderElection", read.leader_election, "it is always on; --lease-seconds says how long a Lease lasts"),
        ("podInitialBackoffSeconds", read.pod_initial_backoff_seconds, "it is 1 second"),
        ("podMaxBackoffSeconds", read.pod_max_backoff_seconds, "it is 10 seconds"),
        ("enableProfiling", read.enable_profiling, "figures are at /metrics and /debug/state"),
        ("enableContentionProfiling", read.enable_contention_profiling, "figures are at /metrics and /debug/state"),
        ("delayCacheUntilActive", read.delay_cache_until_active, "a replica that waits follows the watch"),
    ):
        if value is not None:
            notes.append(f"{name} has no effect: {why}")
    return notes


def _require_percentage(at: str, value: int | None, notes: list[str]) -> None:
    if value is None:
        return
    if not 0 <= value <= 100:
        raise ConfigError(f"{at}: wanted 0 to 100, found {value}")
    if 0 < value < 100:
        notes.append(f"{at} {value} has no effect: all nodes are scored, in columns, which takes no longer")


def _profile(profile: _Profile, at: str) -> PluginProfile:
    off, weights = _plugins(profile.plugins or _Plugins(), f"{at}.plugins")
    args: dict[str, msgspec.Struct] = {}
    for place, config in enumerate(profile.plugin_config):
        where = f"{at}.pluginConfig[{place}]"
        if config.name not in PLUGINS:
            raise unknown(f"{where}.name", "plugin", config.name, PLUGINS)
        if config.name in args:
            raise ConfigError(f"{where}.name: wanted each plugin once, found {config.name} again")
        if config.name not in ARGS:
            if config.args:
                why = NO_ARGS.get(config.name, "it takes no arguments")
                raise ConfigError(f"{where}.args: wanted none for {config.name}, found some: {why}")
            continue
        args[config.name] = convert(config.args, ARGS[config.name], f"{where}.args")
    return PluginProfile(profile.scheduler_name, off, weights, args)


def _plugins(plugins: _Plugins, at: str) -> tuple[dict[str, frozenset[str]], dict[str, int]]:
    """What is off at each point, and the weights of scores. A point's own words go before those of ``multiPoint``."""
    general = plugins.multi_point or _PluginSet()
    _require_plugins(general, None, f"{at}.multiPoint")
    weights = {plugin.name: plugin.weight for plugin in general.enabled if plugin.weight}
    off: dict[str, frozenset[str]] = {}
    for point, name in zip(POINTS, _Plugins.__struct_fields__[: len(POINTS)], strict=True):
        own: _PluginSet | None = getattr(plugins, name)
        there = {plugin for plugin, points in PLUGINS.items() if point in points}
        gone = _named(general.disabled, there) - _named(general.enabled, there)
        if own is not None:
            _require_plugins(own, point, f"{at}.{point}")
            gone = (gone | _named(own.disabled, there)) - _named(own.enabled, there)
            if point == "score":
                weights |= {plugin.name: plugin.weight for plugin in own.enabled if plugin.weight}
        if gone:
            off[point] = frozenset(gone)
    return off, {**WEIGHTS, **weights}


def _named(plugins: tuple[_Plugin, ...], there: set[str]) -> set[str]:
    """The plugins of one point that a list means."""
    names = {plugin.name for plugin in plugins}
    return there if EVERY in names else names & there


def _require_plugins(plugins: _PluginSet, point: str | None, at: str) -> None:
    """Refuse plugins that do not exist, or do not act at this point.

    Raises:
        ConfigError: there is one.
    """
    for side, named in (("enabled", plugins.enabled), ("disabled", plugins.disabled)):
        for place, plugin in enumerate(named):
            where = f"{at}.{side}[{place}]"
            if plugin.name == EVERY and side == "disabled":
                continue
            if plugin.name not in PLUGINS:
                raise unknown(f"{where}.name", "plugin", plugin.name, PLUGINS)
            if point is not None and point not in PLUGINS[plugin.name]:
                points = ", ".join(one for one in POINTS if one in PLUGINS[plugin.name])
                raise ConfigError(f"{where}.name: {plugin.name} does not act at {point}: it acts at {points}")
            if plugin.weight and (side == "disabled" or point not in (None, "score")):
                raise ConfigError(f"{where}.weight: wanted none here: a weight belongs to an enabled score")
            if not 0 <= plugin.weight <= _HIGHEST_WEIGHT:
                raise ConfigError(f"{where}.weight: wanted 1 to {_HIGHEST_WEIGHT}, found {plugin.weight}")
