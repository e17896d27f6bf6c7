"""Which part of the machine's users and loopback addresses a node of real processes gives out.

They are the machine's, and a few clusters may have such a node at a time: each claims a block of slots of its own, so
that none ends another's programs by their user. A claim is a name in the kernel's socket space, which goes with the
process that holds it, however that ends; the block is kept in the cluster's folder, because pods outlive their node's
process and keep their slots.
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from tensorfusion.errors import ConfigError

BLOCKS = 4


@contextlib.contextmanager
def claimed_block(kept: Path) -> Iterator[int]:
    """Hold a block: the one that the file names, else the first that nobody holds, which is written there.

    Raises:
        ConfigError: all blocks are held by other clusters, or the kept one is.
    """
    try:
        wanted = [int(kept.read_text())]
    except (OSError, ValueError):
        wanted = list(range(BLOCKS))
    for block in wanted:
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0tensorfusion-process-node-{block}")
            except OSError:
                continue
            kept.write_text(str(block))
            yield block
            return
    raise ConfigError(
        "--run-processes: other clusters that run pods as processes of this machine hold the users and addresses that "
        "this one needs: end one with `tensorfusion down --data DIR`, or start this one without the option"
    )
