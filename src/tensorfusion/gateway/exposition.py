"""Metrics of all workers of one port: whichever of them is scraped tells the sum.

A scrape comes to any worker. Were each to tell its own, counters would go up and down from one scrape to the next. So
every worker writes what it counted into a file of its own, every few seconds and at its end, and adds up all files when
it is scraped. What a worker that has ended had counted stays counted: its file stays as long as the supervisor, without
its gauges.

Rejected: a label for each worker. It would multiply every series, and a worker that is replaced would start new ones.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from tensorfusion.telemetry.metrics import REGISTRY

VARIABLE: Final = "TF_GATEWAY_METRICS"
"""The folder in which workers of one port meet."""
_MOST: Final = ("process_start_time_seconds", "process_max_fds", "tensorfusion_build_info")
"""Of these there is no sum."""
_SUFFIX: Final = ".metrics"

Sample = tuple[str, dict[str, str], float]


class Family(msgspec.Struct, array_like=True):
    """One metric as a worker counted it."""

    name: str
    text: str
    type: str
    samples: list[Sample]


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(list[Family])


class Exposition:
    """Of one process; ``folder`` None: it is the only one."""

    def __init__(self, folder: Path | None, *, registry: CollectorRegistry = REGISTRY) -> None:
        self._folder = folder
        self._registry = registry
        self._file = folder / f"{os.getpid()}{_SUFFIX}" if folder is not None else None

    def response(self) -> tuple[bytes, str]:
        """The text of /metrics and its content type."""
        if self._folder is None:
            return generate_latest(self._registry), CONTENT_TYPE_LATEST
        merged = _Merged([_families(self._registry), *self._others()])
        return generate_latest(merged), CONTENT_TYPE_LATEST

    def write(self, *, last: bool = False) -> None:
        """Leave what was counted for the others; ``last``: without what holds only while this process lives.

        Raises:
            OSError: it cannot be written.
        """
        if self._file is None:
            return
        families = _families(self._registry)
        if last:
            families = [one for one in families if one.type != "gauge"]
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(_encoder.encode(families))
        draft.replace(self._file)

    def _others(self) -> Iterator[list[Family]]:
        if self._folder is None:
            return
        for path in self._folder.glob(f"*{_SUFFIX}"):
            if path == self._file:
                continue
            with contextlib.suppress(OSError, msgspec.DecodeError):  # a worker that is just beginning, or gone
                families = _decoder.decode(path.read_bytes())
                yield families if _lives(path.stem) else [one for one in families if one.type != "gauge"]


class _Merged:
    """What several processes counted, as one registry."""

    def __init__(self, processes: Iterable[list[Family]]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        heads: dict[str, Family] = {}
        sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for families in self._processes:
            for family in families:
                heads.setdefault(family.name, family)
                found = sums.setdefault(family.name, {})
                for name, labels, value in family.samples:
                    key = name, tuple(labels.items())
                    known = found.get(key)
                    if known is None:
                        found[key] = value
                    else:
                        found[key] = max(known, value) if name in _MOST else known + value
        for name, head in heads.items():
            metric = Metric(name, head.text, head.type)
            for (sample, pairs), value in sums[name].items():
                metric.add_sample(sample, dict(pairs), value)
            yield metric


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """Inside, the workers that are started meet in one folder, which is gone behind it."""
    with tempfile.TemporaryDirectory(prefix="tensorfusion-gateway-") as folder:
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def folder_of_workers() -> Path | None:
    """Where the workers of this process's port meet; None where it is the only one."""
    found = os.environ.get(VARIABLE, "")
    return Path(found) if found else None


def _families(registry: CollectorRegistry) -> list[Family]:
    return [
        Family(one.name, one.documentation, one.type, [(each.name, each.labels, each.value) for each in one.samples])
        for one in registry.collect()
    ]


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return False
    return True
