"""What a run puts in the place of time and of people: nobody sleeps, and nobody is told anything."""

from datetime import UTC, datetime

from tensorfusion.model.core import Pod
from tensorfusion.scheduler.reports import Reports


class RunClock:
    """The time of the run, in milliseconds since 1970."""

    def __init__(self, start: int) -> None:
        self.at = start

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at / 1000, UTC)

    def monotonic(self) -> float:
        return self.at / 1000

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError("nobody sleeps in a run")


class Silent(Reports):
    """Nobody is told anything."""

    def __init__(self) -> None:
        """Nothing is kept."""

    def held_back(self, pod: Pod, *, event: str, message: str) -> None: ...

    def gang_placed(self, pod: Pod, words: str) -> None: ...
