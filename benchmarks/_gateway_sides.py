"""Who is measured by the gateway's benchmarks: the test backend itself, the gateway in front of it, and its peers.

Each is started as its users start it, with one process, and its key asked for where it has keys.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tensorfusion.gateway.keys.secret import new_secret

MODEL = "sim-small"
_READY_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Side:
    """A server under load: what a request to it says beside its body, and the model's name there."""

    name: str
    port: int
    pid: int
    fields: Sequence[str]
    model: str = MODEL


@contextmanager
def backend(*arguments: str, core: int) -> Iterator[Side]:
    """``tensorfusion testserver llm``, which remembers no requests."""
    command = [sys.executable, "-m", "tensorfusion", "testserver", "llm", "--port", "0", "--seen", "0", *arguments]
    process = _started(command, core, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode()
        yield Side("direct", int(address.rpartition(":")[2]), process.pid, ("Authorization: Bearer none",))
    finally:
        _end(process)


@contextmanager
def relay(to: Side, *, core: int) -> Iterator[Side]:
    """A process that hands bytes on and does nothing else."""
    command = [sys.executable, str(Path(__file__).with_name("_relay.py")), str(to.port)]
    process = _started(command, core, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield Side("relay", int(process.stdout.readline()), process.pid, to.fields)
    finally:
        _end(process)


def routes_of(
    port: int, log: Path, *, more: Mapping[str, object] | None = None, settings: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """Settings, and a route: a key with limits of its own (so high that they never hold), a route that is matched by
    the model's name and has limits, too, prices, and a log. ``settings`` are further ones, ``more`` is of the route."""
    limits = {"requestsPerMinute": 60_000_000, "tokensPerMinute": 2_000_000_000, "maxConcurrent": 100_000}
    whole: dict[str, Any] = {
        "keys": [
            {"name": "bench", "namespace": "default", "keyFrom": {"env": "BENCH_KEY"}, "models": ["bench*"]}
            | {"rateLimit": limits}
        ],
        "log": {"file": str(log)},
        **(settings or {}),
    }
    target = {"name": "a", "provider": "vllm", "model": MODEL, "endpoint": f"http://127.0.0.1:{port}/v1"}
    target |= {"costPer1MInput": "0.15", "costPer1MOutput": "0.6"}
    route: dict[str, Any] = {
        "apiVersion": "tensor-fusion.ai/v1",
        "kind": "LLMRoute",
        "metadata": {"name": "bench", "namespace": "default"},
        "spec": {
            "strategy": "priority",
            "selector": {"modelPattern": "^bench-[a-z]+$"},
            "targets": [target],
            "rateLimit": limits,
            **(more or {}),
        },
    }
    return [whole, route]


@contextmanager
def gateway(file: Path, *, core: int, name: str = "gateway") -> Iterator[Side]:
    """Ours, of a configuration as ``routes_of`` makes it: one process."""
    key = new_secret().reveal()
    command = [sys.executable, "-m", "tensorfusion", "gateway", "--config", str(file), "--listen", "127.0.0.1:0"]
    process = _started(command, core, stderr=subprocess.PIPE, environ={"BENCH_KEY": key})
    try:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        if "127.0.0.1:" not in line:
            raise SystemExit(line + process.stderr.read().decode())
        found = int(line.split("127.0.0.1:")[1].split()[0])
        yield Side(name, found, process.pid, (f"Authorization: Bearer {key}",), "bench-model")
    finally:
        _end(process)


@contextmanager
def litellm(program: Path, ports: Mapping[str, int], folder: Path, core: int) -> Iterator[Side]:
    """LiteLLM's proxy: one worker, a master key, no database. ``ports`` are backends by the name of a model."""
    key = "sk-" + secrets.token_hex(16)
    file = folder / "litellm.yaml"
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_base": f"http://127.0.0.1:{port}/v1",
                "api_key": "none",
            },
        }
        for name, port in ports.items()
    ]
    config = {
        "model_list": models,
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }
    file.write_text(yaml.safe_dump(config))
    found = free_port()
    command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(found), "--num_workers", "1"]
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    process = _started(command, core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, environ=environ)
    try:
        _wait(process, f"http://127.0.0.1:{found}/health/liveliness", "litellm")
        yield Side("litellm", found, process.pid, (f"Authorization: Bearer {key}",), next(iter(ports)))
    finally:
        _end(process)


@contextmanager
def portkey(package: Path, port: int, core: int) -> Iterator[Side]:
    """Portkey's gateway, told by each request where to go. It has no keys of its own."""
    found = free_port()
    command = ["node", "build/start-server.js", f"--port={found}", "--headless"]
    environ = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    process = _started(
        command, core, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, environ=environ, folder=package
    )
    try:
        _wait(process, f"http://127.0.0.1:{found}/", "portkey")
        yield Side("portkey", found, process.pid, portkey_fields(port))
    finally:
        _end(process)


def portkey_fields(port: int) -> Sequence[str]:
    """What a request says to Portkey's gateway for it to ask the backend there."""
    return (
        "Authorization: Bearer none",
        "x-portkey-provider: openai",
        f"x-portkey-custom-host: http://127.0.0.1:{port}/v1",
    )


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(
    command: Sequence[str],
    core: int,
    *,
    stdout: int | None = None,
    stderr: int | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """On one core, with its children."""
    os.sched_setaffinity(0, {core})  # inherited, so that no thread of it escapes
    try:
        return subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env={**os.environ, **(environ or {})}, cwd=folder
        )
    finally:
        os.sched_setaffinity(0, {CORES[0]})


CORES = sorted(os.sched_getaffinity(0))


def _wait(process: subprocess.Popen[bytes], url: str, name: str) -> None:
    by = time.monotonic() + _READY_SECONDS
    while time.monotonic() < by:
        if process.poll() is not None:
            raise SystemExit(f"{name} ended with {process.returncode} before it was ready")
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"{name} was not ready within {_READY_SECONDS:g} s")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
