"""A leader that is stopped after deciding and wakes up later cannot oversell: admission refuses its epoch.

Two schedulers of one cluster: the first is paused between its decision and the Binding, the second takes over and fills
the device, the first goes on. The check shares no code with the product.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import Cluster


@contextmanager
def scheduler(
    cluster: Cluster, accounts: Path, root: Path, name: str, *pause: str
) -> Iterator[subprocess.Popen[bytes]]:
    """One more scheduler process for pods of a scheduler name of its own."""
    state = root / f"{name}.json"
    command = [sys.executable, "-m", "tensorfusion", "control", "--accounts", str(accounts)]
    command += ["--certificates", str(root / "pki"), "--state", str(state), "--http-port", "0"]
    command += ["--components", "scheduler", "--identity", name, *pause]
    with (root / f"{name}.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            process.wait(20)
