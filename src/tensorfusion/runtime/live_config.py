"""The configuration in force: the ConfigMap's, as it is now, or the last one that could be understood.

Follows the ConfigMap through an informer, so that a change takes effect within the moment in which a watch brings it. A
file that cannot be understood changes nothing: the log and an event on the ConfigMap say what is wrong with it.
"""

from collections.abc import Callable

import msgspec

from tensorfusion.errors import ConfigError
from tensorfusion.model import keys
from tensorfusion.model import resources as r
from tensorfusion.model.dynamic_config import CONFIG_MAP, FILE, DynamicConfig, parse_config
from tensorfusion.model.meta import Object
from tensorfusion.runtime.events import EventRecorder, EventType, reference_to
from tensorfusion.runtime.informer import Change
from tensorfusion.runtime.manager import Manager
from tensorfusion.telemetry.logs import get_logger

log = get_logger(__name__)


class ConfigMap(Object, frozen=True):
    """What is read of a ConfigMap."""

    data: dict[str, str] = msgspec.field(default_factory=dict)


class LiveConfig:
    """``current`` is in force; ``on_change`` handlers hear when it is another one."""

    def __init__(self, manager: Manager, *, recorder: EventRecorder | None = None) -> None:
        self.current = DynamicConfig()
        self._recorder = recorder
        self._handlers: list[Callable[[], None]] = []
        found = manager.informer(
            r.CONFIG_MAPS, ConfigMap, namespace=keys.SYSTEM_NAMESPACE, fields=f"metadata.name={CONFIG_MAP}"
        )
        found.subscribe(self._on_change)

    def on_change(self, handler: Callable[[], None]) -> None:
        self._handlers.append(handler)

    def _on_change(self, change: Change[ConfigMap]) -> None:
        text = change.new.data.get(FILE, "") if change.new is not None else ""
        try:
            config = parse_config(text)
        except ConfigError as error:
            log.warning("the configuration cannot be used, the old one stays", config_map=change.key, error=error)
            if self._recorder is not None and change.new is not None:
                reference = reference_to(r.CONFIG_MAPS, change.new)
                message = f"the old configuration stays in force: {error}"
                self._recorder.record(reference, type_=EventType.WARNING, reason="InvalidConfig", message=message)
            return
        if config != self.current:
            self.current = config
            log.info("configuration changed", config_map=change.key)
            for handler in self._handlers:
                handler()
