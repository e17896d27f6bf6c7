"""Where a pod's own programs listen, so that a forwarded port never leads to somebody else's server on this machine."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_TABLES = (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6))
_LISTENS = "0A"
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound to


def addresses_of(pids: Iterable[int], port: int, *, own: str) -> list[str]:
    """The addresses at which these processes take connections on a port; ``own`` stands for all of them."""
    listeners = dict(_listeners(port))
    if not listeners:
        return []
    held = {inode for pid in pids for inode in _sockets(pid)}
    found = {own if address in _EVERYWHERE else address for inode, address in listeners.items() if inode in held}
    return sorted(found, key=lambda address: address != own)


def _listeners(port: int) -> Iterator[tuple[str, str]]:
    """Inode and address of every listening socket of the machine on a port."""
    for table, family in _TABLES:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].rpartition(":")
                if fields[3] == _LISTENS and int(number, 16) == port:
                    yield fields[9], _address(address, family)


def _address(text: str, family: int) -> str:
    """The kernel writes addresses as words of this machine's byte order."""
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return socket.inet_ntop(family, packed)


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208  # names are all we need
            with contextlib.suppress(OSError):
                target = str(Path(f"/proc/{pid}/fd/{name}").readlink())
                if target.startswith("socket:["):
                    yield target[8:-1]
