"""The life of one container: start, probe, restart with growing pauses, stop.

One task a container. Being cancelled ends the watching, never the program: that is how a node process that is
restarted leaves its workloads alone. ``stop`` is what ends a program.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tensorfusion.clock import Clock, timestamp
from tensorfusion.embedded.processes.attempts import (
    Attempt,
    Ending,
    Program,
    attempts_in,
    drop_unstarted,
    forget_old,
    start,
)
from tensorfusion.embedded.processes.commands import Context
from tensorfusion.embedded.processes.fields import expand
from tensorfusion.embedded.processes.images import Images, find_program
from tensorfusion.embedded.processes.logs import last_words
from tensorfusion.embedded.processes.places import PodPlace
from tensorfusion.embedded.processes.probes import HandlerFailed, Target, run_handler
from tensorfusion.embedded.processes.restarts import BackOff, Timing, starts_again
from tensorfusion.embedded.processes.volumes import working_folder
from tensorfusion.embedded.processes.waiting import (
    CONFIG_ERROR,
    CRASH_BACK_OFF,
    CREATING,
    IMAGE_BACK_OFF,
    IMAGE_ERROR,
    Waiting,
)
from tensorfusion.model.meta import Raw
from tensorfusion.units import Rounding, to_bytes

_NICE, _NICE_WITHOUT_REQUEST = 5, 10
_MOST_TERMINATION_MESSAGE = 4096
_READ_SECONDS = 5.0
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Say(Protocol):
    """Tells users what happened: an event of the pod."""

    def __call__(self, reason: str, message: str, *, warning: bool = False) -> None: ...


class Prepare(Protocol):
    """The user and the environment of a container, or ``Waiting``."""

    async def __call__(self, container: Raw, image_env: dict[str, str]) -> tuple[int | None, dict[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Housing:
    """What the containers of one pod share. ``changed`` is called when the pod's status has to be written."""

    pod: str
    uid: str
    place: PodPlace
    address: str
    grace: float
    images: Images
    timing: Timing
    clock: Clock
    say: Say
    changed: Callable[[], None]
    prepare: Prepare


class Container:
    """One container of a pod. ``state`` and ``last_state`` are in the API's words."""

    def __init__(self, spec: Raw, housing: Housing, *, restart: str, before: Raw) -> None:
        """``before`` is the container's status in the API, empty when it has none."""
        self.spec = spec
        self.name: str = spec["name"]
        self._housing = housing
        self._restart = restart
        self.state: Raw = {"waiting": {"reason": CREATING}}
        self.last_state: Raw = {}
        self.ready = False
        self.started = False
        self.is_up = asyncio.Event()
        """Set while it runs and its startup probe, if any, has succeeded."""
        self.attempt: Attempt | None = None
        self.ending: Ending | None = None
        """How it ended for good."""
        self._stopping = False
        self._back_off = BackOff(housing.timing)
        self._image_back_off = BackOff(housing.timing, failures=1)
        self._uid: int | None = None
        self._adopted = False
        self._adopt(before)

    # --- what others ask ---

    @property
    def restarts(self) -> int:
        return self.attempt.number if self.attempt is not None else 0

    @property
    def running(self) -> bool:
        return "running" in self.state

    def log(self, number: int) -> Path:
        """The log of one attempt."""
        return self._housing.place.log(self.name, number)

    def context(self) -> Context:
        """Where commands run beside the program.

        Raises:
            OSError: it does not run.
        """
        pid = self.attempt.pid if self.attempt is not None else None
        if pid is None:
            raise ProcessLookupError(f"container {self.name} is not running")
        return Context.of(pid, cwd=str(working_folder(self._housing.place, self.spec)), uid=self._uid)

    # --- its life ---

    async def run(self) -> Ending:
        """Start it, and start it again as its policy says; returns how it ended for good."""
        while self.ending is None:
            if self.attempt is None or self.attempt.ending() is not None:
                await self._start_when_possible()
            ended = await self._accompany()
            if self._stopping or not starts_again(self._restart, exit_code=ended.code):
                self.ending = ended
                self._housing.changed()
                break
            await self._pause(ended)
        return self.ending

    async def stop(self, grace: float) -> None:
        """End it: preStop, SIGTERM, SIGKILL when ``grace`` seconds are over."""
        self._stopping = True
        if self.attempt is None:
            return
        if self.attempt.ending() is None:
            self._housing.say("Killing", f"Stopping container {self.name}")
            await self._end_attempt(grace)
        self.ready = self.started = False
        if "terminated" not in self.state:
            self.state = _terminated(await self.attempt.wait(), self._id(self.attempt))
        self._housing.changed()

    def _adopt(self, before: Raw) -> None:
        """Go on with what an earlier node process started: what was ready is, until a probe says otherwise."""
        folder = self._housing.place.container(self.name)
        drop_unstarted(folder)
        found = attempts_in(folder)
        if not found:
            return
        self.attempt = found[-1]
        self._back_off = BackOff(self._housing.timing, failures=min(self.attempt.number, 6))
        if len(found) > 1 and (earlier := found[-2].ending()) is not None:
            self.last_state = _terminated(earlier, self._id(found[-2]))
        ended = self.attempt.ending()
        if ended is None:
            self._adopted = True
            self.state = {"running": {"startedAt": self.attempt.started_at}}
            if before.get("containerID") == self.container_id:
                self.ready, self.started = bool(before.get("ready")), bool(before.get("started"))
        else:
            self.state = _terminated(ended, self._id(self.attempt))
            if not starts_again(self._restart, exit_code=ended.code):
                self.ending = ended

    async def _start_when_possible(self) -> None:
        """Start an attempt; waits as long as something is missing for it."""
        while True:
            try:
                program = await self._program()
                break
            except Waiting as problem:
                await self._wait_for(problem)
        self._adopted = False
        number = self.attempt.number + 1 if self.attempt is not None else 0
        if "terminated" in self.state:
            self.last_state = self.state
        place = self._housing.place
        self.attempt = await start(place.container(self.name) / str(number), program, place.log(self.name, number))
        forget_old(place.container(self.name), place.log(self.name, 0).parent, number)
        ended = self.attempt.ending()
        if ended is not None and ended.start_error:
            self._housing.say("Failed", f"Error: {ended.start_error}", warning=True)
            return
        self.state = {"running": {"startedAt": self.attempt.started_at or timestamp(self._housing.clock.now())}}
        self._housing.say("Started", f"Started container {self.name}")
        self._housing.changed()

    async def _wait_for(self, problem: Waiting) -> None:
        timing, say = self._housing.timing, self._housing.say
        self._wait_as(problem.reason, str(problem))
        if problem.reason != IMAGE_ERROR:
            say("Failed", f"Error: {problem}", warning=True)
            await self._housing.clock.sleep(timing.retry)
            return
        image = self.spec.get("image", "")
        say("Failed", str(problem), warning=True)
        pause = self._image_back_off.next()
        shown = min(timing.retry, pause)
        await self._housing.clock.sleep(shown)
        say("BackOff", f'Back-off pulling image "{image}"')
        self._wait_as(IMAGE_BACK_OFF, f'Back-off pulling image "{image}": {IMAGE_ERROR}: {problem}')
        await self._housing.clock.sleep(pause - shown)

    def _wait_as(self, reason: str, message: str) -> None:
        if "terminated" in self.state:
            self.last_state = self.state
        wanted = {"waiting": {"reason": reason, "message": message}}
        if self.state != wanted:
            self.state = wanted
            self._housing.changed()

    async def _program(self) -> Program:
        """What to run, all questions answered.

        Raises:
            Waiting: something is missing.
        """
        spec, place = self.spec, self._housing.place
        image = spec.get("image", "")
        meaning = self._housing.images.meaning(image)
        self._uid, env = await self._housing.prepare(spec, dict(meaning.env))
        if meaning.path:
            env["PATH"] = ":".join((*meaning.path, env["PATH"]))
        command = [expand(part, env) for part in spec.get("command") or ()]
        args = [expand(part, env) for part in spec.get("args") or ()]
        argv = [*command, *args] if command else [*meaning.entrypoint, *(args or meaning.args)]
        if not argv:
            raise Waiting(
                CONFIG_ERROR,
                f'container {self.name}: image "{image}" stands for this machine\'s own programs: give a command',
            )
        self._housing.say("Pulled", f'Container image "{image}" stands for programs of this machine')
        cwd = str(working_folder(place, spec))
        path = find_program(argv[0], env.get("PATH", _DEFAULT_PATH), cwd=cwd, uid=self._uid)
        self._housing.say("Created", f"Created container: {self.name}")
        amounts = spec.get("resources") or {}
        limit = (amounts.get("limits") or {}).get("memory")
        asks_cpu = "cpu" in (amounts.get("requests") or {}) or "cpu" in (amounts.get("limits") or {})
        return Program(
            path or "",
            argv,
            env,
            cwd,
            self._uid,
            nice=_NICE if asks_cpu else _NICE_WITHOUT_REQUEST,
            memory=to_bytes(str(limit), Rounding.DOWN) if limit else 0,
            tty=bool(spec.get("tty")),
            stdin=bool(spec.get("stdin")),
        )

    async def _accompany(self) -> Ending:
        """Probe an attempt until it has ended, and note how."""
        attempt = self.attempt
        if attempt is None:
            raise TypeError(f"container {self.name} has no attempt to accompany")
        watchers = [asyncio.create_task(self._watch_over(), name=f"probes {self.name}")]
        try:
            ended = await attempt.wait()
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)
        self.ready = self.started = False
        self.is_up.clear()
        message = await asyncio.to_thread(self._termination_message)
        if not message and ended.code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = await last_words(self.log(attempt.number))
        self.state = _terminated(ended, self._id(attempt), message)
        self._housing.changed()
        return ended

    async def _pause(self, ended: Ending) -> None:
        pause = self._back_off.next(ran_for=_seconds(ended))
        if pause <= 0:
            return
        housing = self._housing
        shown = f"{pause:g}s" if pause < 60 else f"{int(pause) // 60}m{int(pause) % 60}s"
        self._wait_as(
            CRASH_BACK_OFF, f"back-off {shown} restarting failed container={self.name} pod={housing.pod}({housing.uid})"
        )
        housing.say("BackOff", f"Back-off restarting failed container {self.name} in pod {housing.pod}", warning=True)
        await housing.clock.sleep(pause)

    # --- probes and hooks ---

    async def _watch_over(self) -> None:
        attempt = self.attempt
        if attempt is None or attempt.ending() is not None:
            return
        target = self._target()
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook and not self._adopted:
            try:
                await run_handler(hook, target, timeout=None)
            except HandlerFailed as problem:
                self._housing.say("FailedPostStartHook", f"PostStartHook failed: {problem}", warning=True)
                await self._end_attempt(self._housing.grace)
                return
        if (probe := self.spec.get("startupProbe")) and not await self._until(probe, "Startup", target):
            return
        self.started = True
        readiness, liveness = self.spec.get("readinessProbe"), self.spec.get("livenessProbe")
        if not readiness:
            self.ready = True
        self.is_up.set()
        self._housing.changed()
        async with asyncio.TaskGroup() as group:
            if readiness:
                group.create_task(self._keep_ready(readiness, target))
            if liveness:
                group.create_task(self._until(liveness, "Liveness", target, once=False))

    async def _until(self, probe: Raw, kind: str, target: Target, *, once: bool = True) -> bool:
        """Probe until it succeeds (``once``), or fails too often, which ends the attempt. True when it succeeded."""
        failures = 0
        await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
        while True:
            if await self._probe(probe, kind, target):
                failures = 0
                if once:
                    return True
            else:
                failures += 1
                if failures >= (probe.get("failureThreshold") or 3):
                    self._housing.say(
                        "Killing", f"Container {self.name} failed {kind.lower()} probe, will be restarted"
                    )
                    grace = probe.get("terminationGracePeriodSeconds")
                    await self._end_attempt(self._housing.grace if grace is None else grace)
                    return False
            await asyncio.sleep(probe.get("periodSeconds") or 10)

    async def _keep_ready(self, probe: Raw, target: Target) -> None:
        in_a_row, before = 1, self.ready
        await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
        while True:
            result = await self._probe(probe, "Readiness", target)
            in_a_row = in_a_row + 1 if result == before else 1
            before = result
            needed = (probe.get("successThreshold") or 1) if result else (probe.get("failureThreshold") or 3)
            if in_a_row >= needed and self.ready != result:
                self.ready = result
                self._housing.changed()
            await asyncio.sleep(probe.get("periodSeconds") or 10)

    async def _probe(self, probe: Raw, kind: str, target: Target) -> bool:
        try:
            await run_handler(probe, target, timeout=probe.get("timeoutSeconds") or 1)
        except HandlerFailed as problem:
            self._housing.say("Unhealthy", f"{kind} probe failed: {problem}", warning=True)
            return False
        return True

    def _target(self) -> Target:
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports") or () if port.get("name")}
        return Target(self._housing.address, ports, self.context)

    async def _end_attempt(self, grace: float) -> None:
        attempt = self.attempt
        if attempt is None:
            return
        deadline = self._housing.clock.monotonic() + grace
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            try:
                await run_handler(hook, self._target(), timeout=grace)
            except HandlerFailed as problem:
                self._housing.say("FailedPreStopHook", f"PreStopHook failed: {problem}", warning=True)
        attempt.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(deadline - self._housing.clock.monotonic(), 0.0)):
                await attempt.wait()
                return
        attempt.kill()
        await attempt.wait()

    # --- words ---

    def _id(self, attempt: Attempt) -> str:
        return f"process://{self._housing.uid}/{self.name}/{attempt.number}"

    @property
    def container_id(self) -> str:
        return self._id(self.attempt) if self.attempt is not None else ""

    def _termination_message(self) -> str:
        """What the program left to be said, read as its user: the file is in a folder that is the pod's."""
        stated = self.spec.get("terminationMessagePath") or "/dev/termination-log"
        path = self._housing.place.root(self.name) / stated.lstrip("/")
        if ".." in path.parts or not os.path.lexists(path):
            return ""
        uid = self._uid
        try:
            done = subprocess.run(  # a fixed program
                ["/usr/bin/head", "-c", str(_MOST_TERMINATION_MESSAGE), str(path)],
                capture_output=True,
                check=False,
                timeout=_READ_SECONDS,
                env={},
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
        except (OSError, subprocess.TimeoutExpired):  # no such program here, or the file is a pipe
            return ""
        return done.stdout.decode("utf-8", "replace")


def _terminated(ended: Ending, container_id: str, message: str = "") -> Raw:
    found: Raw = {"exitCode": ended.code, "reason": ended.reason, "containerID": container_id}
    if ended.signal:
        found["signal"] = ended.signal
    if message or ended.message:
        found["message"] = message or ended.message
    if ended.started_at:
        found["startedAt"] = ended.started_at
    if ended.finished_at:
        found["finishedAt"] = ended.finished_at
    return {"terminated": found}


def _seconds(ended: Ending) -> float:
    try:
        began, finished = (datetime.fromisoformat(text) for text in (ended.started_at, ended.finished_at))
    except ValueError:
        return 0.0
    return (finished - began).total_seconds()
