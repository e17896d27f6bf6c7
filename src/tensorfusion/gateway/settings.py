"""The settings of a gateway: where it listens and counts, and where the rest of what it is told lies.

.. code-block:: yaml

    listen: 127.0.0.1:8787
    workers: 2
    keyFile: keys.yaml                 # what `tensorfusion gateway keys create --file keys.yaml` writes
    secrets:                           # what an apiKeySecret refers to, by reference
      - {name: openai, key: api-key, env: OPENAI_API_KEY}
      - {name: azure, key: api-key, file: /run/secrets/azure}
    pools: {shared-l4: ["http://10.0.0.7:8000/v1"]}   # replicas of targets that name a gpuPool
    limitsFile: /dev/shm/gateway.limits  # where all workers count; one for each configuration where unset
    limitsRedis: {env: REDIS_URL}          # or {url: "redis://10.0.0.5"}: gateways on several hosts count together
    log: {file: requests.jsonl}
    metrics: {url: "http://127.0.0.1:4000", env: METRICS_TOKEN}  # or file: PATH; with user: it is a password
    traces: {url: "http://127.0.0.1:4318", ratio: 0.1}
"""

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from tensorfusion.errors import ConfigError, InvalidRequest
from tensorfusion.gateway.custom_hosts import CustomHosts
from tensorfusion.gateway.portkey_store import path_beside
from tensorfusion.gateway.scraping import Scrape
from tensorfusion.model.durations import parse_duration
from tensorfusion.model.rules import Part, Rules

DEFAULT_NAMESPACE: Final = "default"
BUSY_POLL_MICROS: Final = 300
"""What a short answer takes in all, on a machine that wakes up slowly; words of a model come a hundred times slower."""
_LAST_PORT: Final = 65_535
_NANO: Final = 1_000_000_000

Json = Any  # Any: YAML of any shape


class SecretSource(Part, frozen=True):
    """Where one credential is."""

    name: Annotated[str, Rules("Name of the Secret that routes refer to.", required=True)]
    key: Annotated[str, Rules("Key in it.", required=True)]
    namespace: Annotated[str, Rules("Namespace of it.")] = DEFAULT_NAMESPACE
    env: Annotated[str, Rules("Name of an environment variable.")] = ""
    file: Annotated[str, Rules("Path of a file that holds nothing else.")] = ""


class RequestLog(Part, frozen=True):
    """Where records of requests go."""

    file: Annotated[str, Rules("Path of a file, a line a request; - is standard output.")] = ""


class MetricsSource(Part, frozen=True):
    """The store of time series that keeps records of requests: a GreptimeDB, or the embedded one."""

    url: Annotated[str, Rules("http:// or https://, host and port.", required=True)]
    database: Annotated[str, Rules("Name of the database in it.")] = "public"
    user: Annotated[str, Rules("Whose password the secret is; without one it is a bearer token.")] = ""
    env: Annotated[str, Rules("Name of an environment variable with the secret.")] = ""
    file: Annotated[str, Rules("Path of a file that holds nothing but the secret.")] = ""


class TraceCollector(Part, frozen=True):
    """Where spans of requests go, by OTLP over HTTP."""

    url: Annotated[str, Rules("http:// or https://, host and port, and a path before /v1/traces.", required=True)]
    ratio: Annotated[float, Rules("Which part is recorded of requests that bring no trace.")] = 1.0
    env: Annotated[str, Rules("Name of an environment variable with the value of the field Authorization.")] = ""
    service: Annotated[str, Rules("Name of the service in spans.")] = "tensorfusion-gateway"


class Tls(Part, frozen=True):
    """What the gateway shows to clients."""

    certificate: Annotated[str, Rules("Path of its chain, in PEM.", required=True)]
    key: Annotated[str, Rules("Path of its private key, in PEM.", required=True)]


class RedisSource(Part, frozen=True):
    """Where the limits of a cluster are counted."""

    url: Annotated[str, Rules("redis://, rediss:// or unix://, without a password.")] = ""
    env: Annotated[str, Rules("Name of an environment variable with the URL, where it has a password.")] = ""


class PortkeySettings(Part, frozen=True):
    """What configurations of Portkey's may do."""

    custom_hosts: Annotated[tuple[str, ...], Rules("Hosts that a caller may name: names with *, networks.")] = (
        msgspec.field(default=(), name="customHosts")
    )
    file: Annotated[str, Rules("Where those that are kept lie; beside the file of keys where unset.")] = ""


class Settings(Part, frozen=True):
    """The document without a kind."""

    listen: Annotated[str, Rules("HOST:PORT.")] = "127.0.0.1:8787"
    workers: Annotated[int, Rules("Processes.", minimum=1)] = 1
    keys: Annotated[list[Json], Rules("Keys, as in a file of keys.")] = msgspec.field(default_factory=list)
    key_file: Annotated[str, Rules("A file of keys.")] = msgspec.field(default="", name="keyFile")
    limits_file: Annotated[str, Rules("Where limits are counted; a file in memory, of its own, where unset.")] = (
        msgspec.field(default="", name="limitsFile")
    )
    limits_redis: Annotated[RedisSource | None, Rules("Where gateways on several hosts count together.")] = (
        msgspec.field(default=None, name="limitsRedis")
    )
    secrets: Annotated[tuple[SecretSource, ...], Rules("Credentials of targets.")] = ()
    pools: Annotated[dict[str, list[str]], Rules("URLs by the name of a GPUPool.")] = msgspec.field(
        default_factory=dict
    )
    portkey_configs: Annotated[str, Rules("A file of Portkey configurations by id, in JSON.")] = msgspec.field(
        default="", name="portkeyConfigs"
    )
    portkey: Annotated[PortkeySettings, Rules("What configurations of Portkey's may do.")] = PortkeySettings()
    scrape: Annotated[Scrape, Rules("Who may read metrics without a key: loopback, key (nobody) or open.")] = (
        Scrape.LOOPBACK
    )
    log: Annotated[RequestLog, Rules("Records of requests.")] = RequestLog()
    metrics: Annotated[MetricsSource | None, Rules("Where records of requests can be asked for.")] = None
    traces: Annotated[TraceCollector | None, Rules("Where traces of requests go.")] = None
    tls: Annotated[Tls | None, Rules("Certificate.")] = None
    max_body: Annotated[int, Rules("Bytes of a request's body.", minimum=1)] = msgspec.field(
        default=32 << 20, name="maxBodyBytes"
    )
    busy_poll_micros: Annotated[
        int,
        Rules(
            "Where one thing keeps coming within so many microseconds of another, the next one is looked for as long "
            "instead of slept for; 0 always sleeps.",
            minimum=0,
            maximum=1000,
        ),
    ] = msgspec.field(default=BUSY_POLL_MICROS, name="busyPollMicros")
    drain: Annotated[str, Rules("How long requests may take to end when the gateway stops.")] = "30s"

    @property
    def drain_seconds(self) -> float:
        return parse_duration(self.drain) / _NANO

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


def portkey_file_of(settings: Settings, folder: Path) -> Path | None:
    """Where configurations and virtual keys of namespaces are kept; ``folder`` is where files are looked for."""
    if settings.portkey.file:
        return folder / settings.portkey.file
    return path_beside(folder / settings.key_file) if settings.key_file else None


def check_settings(settings: Settings, at: str) -> None:
    """Return if they can be used. Raises ConfigError."""
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > _LAST_PORT:
        raise ConfigError(f"{at}: listen: wanted HOST:PORT, found {settings.listen[:80]!r}")
    if settings.workers < 1:
        raise ConfigError(f"{at}: workers: wanted at least 1, found {settings.workers}")
    if settings.max_body < 1:
        raise ConfigError(f"{at}: maxBodyBytes: wanted at least 1, found {settings.max_body}")
    try:
        parse_duration(settings.drain)
    except InvalidRequest as error:
        raise ConfigError(f"{at}: drain: {error}") from error
    try:
        CustomHosts(settings.portkey.custom_hosts)
    except ConfigError as error:
        raise ConfigError(f"{at}: {error}") from error
    for name, urls in settings.pools.items():
        for place, url in enumerate(urls):
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"{at}: pools.{name}[{place}]: wanted http:// or https://, found {url[:80]!r}")
