"""What can be changed while everything runs: ``config.yaml`` of the ConfigMap ``tensor-fusion-sys-config``.

Keys of parts that this version does not have are not looked at; a known key that cannot be understood makes the whole
file count for nothing, so that half of a change is never in force.

Source: TensorFusion's dynamic configuration.
"""

import re
from collections.abc import Iterator

import msgspec
import yaml

from tensorfusion.errors import ConfigError
from tensorfusion.model.meta import LabelSelector

CONFIG_MAP = "tensor-fusion-sys-config"
FILE = "config.yaml"

_URL = re.compile(r"https?://[^\s/@?#]+/?")
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})


class RuleSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Matches a pod when any of its parts does; without parts it matches none."""

    namespace_names: tuple[str, ...] = msgspec.field(default=(), name="namespaceNames")
    namespace_selector: LabelSelector | None = msgspec.field(default=None, name="namespaceSelector")
    pod_selector: LabelSelector | None = msgspec.field(default=None, name="podSelector")


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which pods: none of the excluded ones, and only the included ones where any are named."""

    includes: RuleSet | None = None
    excludes: RuleSet | None = None


class AutoMigration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether pods that ask for native GPUs are given shares instead."""

    enable: bool = False
    scope: Scope | None = None


class LlmGateway(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where pods find the AI gateway."""

    url: str = ""
    """``http://`` or ``https://``, host and port; empty leaves it to the command line."""


class DynamicConfig(msgspec.Struct, frozen=True):
    """The parts of the file that this version reads."""

    auto_migration: AutoMigration = msgspec.field(default_factory=AutoMigration, name="autoMigration")
    llm_gateway: LlmGateway = msgspec.field(default_factory=LlmGateway, name="llmGateway")
    preempt_cluster_wide: bool | None = msgspec.field(default=None, name="preemptClusterWideFromEnv")
    """Whether pods of other namespaces may be evicted for a pod; None leaves it to the command line."""


def parse_config(text: str) -> DynamicConfig:
    """The configuration in a file.

    Raises:
        ConfigError: it cannot be understood; the message names the key, the value wanted and the value found.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{FILE}: wanted YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return DynamicConfig()
    try:
        found = msgspec.convert(document, DynamicConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{FILE}: {error}") from error
    check_gateway_url(found.llm_gateway.url, f"{FILE}: llmGateway.url")
    scope = found.auto_migration.scope or Scope()
    for where, selector in _selectors(scope):
        for requirement in selector.match_expressions:
            if requirement.operator not in _OPERATORS:
                raise ConfigError(
                    f"{FILE}: autoMigration.scope.{where}: operator: wanted one of {', '.join(sorted(_OPERATORS))}, "
                    f"found {requirement.operator!r}"
                )
    return found


def check_gateway_url(url: str, where: str) -> None:
    """Return if pods can be told the URL; empty is none. Raises ConfigError."""
    if url and not _URL.fullmatch(url):
        raise ConfigError(f"{where}: wanted http:// or https://, host and port, found {url[:80]!r}")


def _selectors(scope: Scope) -> Iterator[tuple[str, LabelSelector]]:
    for side, rules in (("includes", scope.includes), ("excludes", scope.excludes)):
        if rules is not None and rules.namespace_selector is not None:
            yield f"{side}.namespaceSelector", rules.namespace_selector
        if rules is not None and rules.pod_selector is not None:
            yield f"{side}.podSelector", rules.pod_selector
