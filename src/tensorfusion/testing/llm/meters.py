"""What a simulated model server counts, under the names that vLLM gives it.

Written by hand: a request changes a few plain integers, and the text is made when somebody reads it.

Source: vLLM production metrics (V1); Prometheus text format 0.0.4; Gateway API inference extension, model server
protocol (``vllm:lora_requests_info``).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tensorfusion.testing.llm.engine import Engine
from tensorfusion.testing.llm.settings import Settings

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_TTFT: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
_WHOLE: Final = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0)


class Histogram:
    """Seconds by their size."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        below = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}",{labels}}} {below}'
        yield f"{name}_sum{{{labels}}} {self.total}"
        yield f"{name}_count{{{labels}}} {below}"


class Meter:
    """Of one model, with its adapters."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished: Counter[str] = Counter()
        self.first_token = Histogram(_TTFT)
        self.whole = Histogram(_WHOLE)


class Meters:
    """Of all models of a server."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._models = {name: Meter() for name in settings.models}
        self._base = next(iter(self._models.values()))
        self._running_adapters = dict.fromkeys(settings.adapters, 0)
        self._waiting_adapters = dict.fromkeys(settings.adapters, 0)

    def of(self, model: str) -> Meter:
        """Of a model that is served; an adapter's is that of the first model."""
        return self._models.get(model, self._base)

    def runs(self, model: str, by: int) -> Meter:
        """One more, or less, is running: on this one."""
        meter = self.of(model)
        meter.running += by
        if model in self._running_adapters:
            self._running_adapters[model] += by
        return meter

    def waits(self, model: str, by: int) -> None:
        """One more, or less, is waiting."""
        self.of(model).waiting += by
        if model in self._waiting_adapters:
            self._waiting_adapters[model] += by

    def text(self, now: float) -> str:
        """All of it. ``now`` is in seconds since 1970: the one gauge of adapters that is newest counts."""
        lines: list[str] = []
        for name, kind, value in (
            ("num_requests_running", "gauge", lambda meter: meter.running),
            ("num_requests_waiting", "gauge", lambda meter: meter.waiting),
            ("kv_cache_usage_perc", "gauge", lambda meter: self._engine.kv_usage),
            ("prompt_tokens_total", "counter", lambda meter: meter.prompt_tokens),
            ("generation_tokens_total", "counter", lambda meter: meter.generation_tokens),
        ):
            lines.append(f"# TYPE vllm:{name} {kind}")
            lines += [f"vllm:{name}{{{_labels(model)}}} {value(meter)}" for model, meter in self._models.items()]
        lines.append("# TYPE vllm:request_success_total counter")
        for model, meter in self._models.items():
            for reason in ("stop", "length", "abort"):
                labels = f'finished_reason="{reason}",{_labels(model)}'
                lines.append(f"vllm:request_success_total{{{labels}}} {meter.finished[reason]}")
        for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
            lines.append(f"# TYPE vllm:{name} histogram")
            for model, meter in self._models.items():
                histogram = meter.first_token if name.startswith("time") else meter.whole
                lines += histogram.lines(f"vllm:{name}", _labels(model))
        if self._settings.adapters:
            running, waiting = (
                ",".join(name for name in self._settings.adapters if counts[name])
                for counts in (self._running_adapters, self._waiting_adapters)
            )
            labels = (
                f'max_lora="{len(self._settings.adapters)}",running_lora_adapters="{_escaped(running)}",'
                f'waiting_lora_adapters="{_escaped(waiting)}"'
            )
            lines += ["# TYPE vllm:lora_requests_info gauge", f"vllm:lora_requests_info{{{labels}}} {now}"]
        return "\n".join(lines) + "\n"


def _labels(model: str) -> str:
    return f'engine="0",model_name="{_escaped(model)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
