"""Renew the tokens of our components once a day, beside everything else the supervisor does.

Apart from the supervisor because a renewal must neither stop the cluster when it fails nor hold the supervisor up while
it runs: the API that it talks to may be the very process that has to be restarted. The tokens last thirty days, so one
that could not be renewed today is no harm.
"""

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import IO

_EVERY = 24 * 3600.0
_AGAIN_AFTER = 60.0
_LONGEST = 120.0


class Renewal:
    """Runs a command again and again without waiting for it. Times are monotonic seconds, given by the caller."""

    def __init__(
        self, command: Sequence[str], *, say: Callable[[str], None], every: float = _EVERY, retry: float = _AGAIN_AFTER
    ) -> None:
        self._command = list(command)
        self._say = say
        self._every = every
        self._retry = retry
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self.due = float("inf")
        self._since = 0.0

    @property
    def running(self) -> bool:
        """A renewal is under way."""
        return self._process is not None

    def plan(self, now: float) -> None:
        """The first one is due a whole period from now: the start of a cluster makes fresh tokens."""
        self.due = now + self._every

    def tend(self, now: float) -> None:
        """Start what is due; see what became of what runs. Never waits, never raises."""
        if self._process is not None:
            self._look(now)
        elif now >= self.due:
            self._start(now)

    def stop(self) -> None:
        """End a renewal that runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _start(self, now: float) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._since = now
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._output
            )
        except OSError as error:
            self._failed(str(error), now)

    def _look(self, now: float) -> None:
        assert self._process is not None and self._output is not None  # noqa: S101 - the caller looked
        status = self._process.poll()
        if status is None:
            if now - self._since < _LONGEST:
                return
            self._process.kill()
            self._process.wait()
            self._failed(f"it took more than {_LONGEST:.0f} s", now)
        elif status != 0:
            self._output.seek(0)
            lines = self._output.read().decode(errors="replace").strip().splitlines() or ["no output"]
            self._failed(lines[-1].removeprefix("error: "), now)
        else:
            self._forget()
            self.due = now + self._every

    def _failed(self, why: str, now: float) -> None:
        self._say(f"tokens could not be renewed, trying again in {self._retry:.0f} s: {why}")
        self._forget()
        self.due = now + self._retry

    def _forget(self) -> None:
        self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None
