"""Run what a client asked for on its streams: a command in a container, or the container's own input and output."""

import asyncio
import contextlib
from collections.abc import Sequence

from tensorfusion.embedded.processes import attempts, remote
from tensorfusion.embedded.processes.commands import Session
from tensorfusion.embedded.processes.container import Container
from tensorfusion.embedded.processes.logs import follow_raw
from tensorfusion.embedded.processes.pipes import chunks
from tensorfusion.embedded.processes.remote import Input, InputEnd, Remote, Resize, Wanted
from tensorfusion.errors import BadRequest

_DRAIN_SECONDS = 1.0


async def execute(container: Container, command: Sequence[str], wanted: Wanted, client: Remote) -> None:
    """Run a command in a container for a client; the command ends with the connection and with the container."""
    try:
        session = Session(command, container.context(), stdin=wanted.stdin, tty=wanted.tty)
    except BadRequest as error:
        await client.finish(remote.failed(str(error), code=400))
        return
    except OSError as error:
        await client.finish(remote.failed(f"the command cannot be started: {error}"))
        return
    outputs = [asyncio.create_task(_pass_output(session.output, "stdout", client, wanted=wanted.stdout))]
    if session.error >= 0:
        outputs.append(asyncio.create_task(_pass_output(session.error, "stderr", client, wanted=wanted.stderr)))
    inputs = asyncio.create_task(_pass_input(session, client))
    ended = asyncio.create_task(session.wait())
    container_ended = asyncio.create_task(_until_ended(container))
    try:
        await asyncio.wait((inputs, ended, container_ended), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            session.kill()
        code = await ended
        await asyncio.wait(outputs, timeout=_DRAIN_SECONDS)
        await client.finish(remote.exited(code))
    finally:
        for task in (*outputs, inputs, ended, container_ended):
            task.cancel()
        await asyncio.gather(*outputs, inputs, ended, container_ended, return_exceptions=True)
        session.kill()
        session.close()


async def attach(container: Container, wanted: Wanted, client: Remote) -> None:
    """Give a client what the container writes from now on, and the container what the client types."""
    attempt = container.attempt
    if attempt is None or not container.running:
        await client.finish(remote.failed(f"container {container.name} is not running", code=400))
        return
    into = None
    if wanted.stdin and container.spec.get("stdin"):
        with contextlib.suppress(OSError):
            into = attempts.Input(attempt.input)
    output = asyncio.create_task(_follow(container, attempt, wanted, client))
    inputs = asyncio.create_task(_type(into, client, once=bool(container.spec.get("stdinOnce"))))
    try:
        await asyncio.wait((output, inputs), return_when=asyncio.FIRST_COMPLETED)
        if output.done():
            ended = attempt.ending()
            await client.finish(remote.exited(ended.code) if ended is not None else remote.success())
    finally:
        for task in (output, inputs):
            task.cancel()
        await asyncio.gather(output, inputs, return_exceptions=True)
        if into is not None:
            into.close()


async def _follow(container: Container, attempt: attempts.Attempt, wanted: Wanted, client: Remote) -> None:
    lines = follow_raw(container.log(attempt.number), running=lambda: attempt.running)
    async for stream, text in lines:
        if getattr(wanted, stream, False):
            await client.write(stream, text)


async def _type(into: attempts.Input | None, client: Remote, *, once: bool) -> None:
    """Until the client is gone."""
    try:
        async for event in client.events():
            if into is None:
                continue
            match event:
                case Input(data):
                    await into.write(data)
                case InputEnd() if once:
                    await into.end()
                case Resize(rows, columns):
                    await into.resize(rows=rows, columns=columns)
        if into is not None and once:
            await into.end()
    except OSError:
        await asyncio.Event().wait()  # the program ended; its output says so


async def _until_ended(container: Container) -> None:
    if container.attempt is not None:
        await container.attempt.wait()


async def _pass_output(descriptor: int, stream: str, client: Remote, *, wanted: bool) -> None:
    async for chunk in chunks(descriptor):
        if wanted:
            await client.write(stream, chunk)


async def _pass_input(session: Session, client: Remote) -> None:
    async for event in client.events():
        match event:
            case Input(data):
                await session.write(data)
            case InputEnd():
                session.end_input()
            case Resize(rows, columns):
                session.resize(rows=rows, columns=columns)
