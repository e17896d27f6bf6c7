"""One node of real processes on a machine at a time: users and loopback addresses of pods are the machine's.

A second one would give them out a second time, and end the first one's programs by their user. The claim is a name in
the kernel's socket space: it goes with the process that holds it, however that ends.
"""

import contextlib
import socket
from collections.abc import Iterator

from tensorfusion.errors import ConfigError

_NAME = "\0tensorfusion-process-node"


@contextlib.contextmanager
def sole_node() -> Iterator[None]:
    """Hold the machine's claim.

    Raises:
        ConfigError: another cluster's node process holds it.
    """
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(_NAME)
        except OSError as error:
            raise ConfigError(
                "--run-processes: another cluster runs pods as processes of this machine, and users and addresses of "
                "pods are there once: end it with `tensorfusion down --data DIR`, or start this one without the option"
            ) from error
        yield
