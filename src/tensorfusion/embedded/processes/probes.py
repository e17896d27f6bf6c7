"""Probes and lifecycle handlers: run a command, fetch a page, open a connection, wait.

Source: Probe and LifecycleHandler of core/v1; the words of failures are a kubelet's.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from tensorfusion.embedded.processes.commands import Context, run_command
from tensorfusion.errors import BadRequest
from tensorfusion.model.meta import Raw

_LONGEST_LINE = 8 << 10
_SUCCESS = range(200, 400)


class HandlerFailed(Exception):  # an outcome, caught where probes are counted
    """The handler's answer is no; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What handlers are pointed at. ``context`` raises OSError once the container has ended."""

    address: str
    ports: dict[str, int]
    context: Callable[[], Context]


async def run_handler(handler: Raw, target: Target, *, timeout: float | None) -> None:
    """Run one handler.

    Raises:
        HandlerFailed: it says no, or took longer than ``timeout`` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            await _run(handler, target, timeout)
    except TimeoutError as error:
        raise HandlerFailed(f"timed out after {timeout:g}s") from error
    except OSError as error:
        raise HandlerFailed(_words(error)) from error


async def _run(handler: Raw, target: Target, timeout: float | None) -> None:
    if command := (handler.get("exec") or {}).get("command"):
        try:
            code, output = await run_command(command, target.context(), timeout=timeout)
        except BadRequest as error:
            raise HandlerFailed(str(error)) from error
        if code != 0:
            raise HandlerFailed(output.strip() or f"command exited with code {code}")
    elif http := handler.get("httpGet"):
        await _get(http, target)
    elif tcp := handler.get("tcpSocket"):
        _, writer = await asyncio.open_connection(tcp.get("host") or target.address, _port(tcp["port"], target))
        writer.close()
    elif pause := handler.get("sleep"):
        await asyncio.sleep(pause["seconds"])
    else:
        raise HandlerFailed("only exec, httpGet and tcpSocket are served by process nodes")


async def _get(http: Raw, target: Target) -> None:
    host, port = http.get("host") or target.address, _port(http["port"], target)
    secure = (http.get("scheme") or "HTTP").upper() == "HTTPS"
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.34", "Accept": "*/*", "Connection": "close"}
    headers |= {header["name"]: header.get("value", "") for header in http.get("httpHeaders") or ()}
    path = http.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    context = _unverified() if secure else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=_LONGEST_LINE)
    try:
        writer.write("\r\n".join(lines).encode("latin-1", "replace"))
        await writer.drain()
        line = await reader.readline()
    except ValueError as error:
        raise HandlerFailed("the answer is no HTTP") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            writer.transport.abort()
    parts = line.split()
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        raise HandlerFailed("the answer is no HTTP")
    if int(parts[1]) not in _SUCCESS:
        raise HandlerFailed(f"HTTP probe failed with statuscode: {int(parts[1])}")


def _words(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).lower()


def _unverified() -> ssl.SSLContext:
    """Certificates of pods are not checked by probes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _port(port: int | str, target: Target) -> int:
    if isinstance(port, int):
        return port
    if port in target.ports:
        return target.ports[port]
    if port.isdecimal():
        return int(port)
    raise HandlerFailed(f'the container has no port named "{port}"')
