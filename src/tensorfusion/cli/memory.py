"""Memory of processes as proportional set size: shared pages are counted once over all of them.

Source: Linux /proc/PID/smaps_rollup.
"""

from collections.abc import Iterable
from pathlib import Path


def pss_bytes(pids: Iterable[int]) -> int:
    """The sum of the processes' proportional set sizes; a process that has ended counts nothing."""
    return sum(_pss(pid) for pid in set(pids))


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return 0
