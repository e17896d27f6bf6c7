"""Keys on the road: what the command changes in a file is in force at every worker within a second."""

import asyncio
from pathlib import Path

from click.testing import CliRunner
from fronts import ask, chat, said, target

from tensorfusion.cli.gateway_keys import keys
from test_program import in_time, program, until_ready, write, written

OLD, NEW = "made-elsewhere-0123456789", "made-elsewhere-9876543210"


async def run(*arguments: str) -> str:
    """In a thread: a command has a loop of its own."""
    done = await asyncio.to_thread(CliRunner().invoke, keys, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.strip()


def bearer(key: str) -> bytes:
    return f"Authorization: Bearer {key}\r\n".encode()


async def test_a_key_that_is_rotated_or_revoked_is_so_within_a_second_at_all_workers(tmp_path: Path) -> None:
    path, file = tmp_path / "routes.yaml", str(tmp_path / "keys.yaml")
    old = await run("create", "ci", "--file", file)
    async with target(said("a")) as one:
        write(path, {"keyFile": file, "limitsFile": str(tmp_path / "limits")}, written(one.url))
        async with program(path, "--workers", "2") as running:
            await until_ready(running.port)

            async def all_say(key: str, status: int) -> tuple[float, int]:
                """Each request goes over a connection of its own, so to either worker; the seconds and the answers up to
                the last one that differs.
                """
                loop = asyncio.get_running_loop()
                began, last_other = loop.time(), (0.0, 0)
                asked = alike = 0
                async with asyncio.timeout(20):
                    while alike < 12:
                        asked += 1
                        if (await ask(running.port, chat(), fields=bearer(key))).status == status:
                            alike += 1
                        else:
                            alike, last_other = 0, (loop.time() - began, asked)
                return last_other

            assert await all_say(old, 200) == (0.0, 0)
            new = await run("rotate", "ci", "--file", file, "--overlap", "1h")
            assert in_time(*await all_say(new, 200))
            assert await all_say(old, 200) == (0.0, 0)
            await run("revoke", "ci", "--file", file, "--previous")
            assert in_time(*await all_say(old, 401))
            await run("revoke", "ci", "--file", file)
            assert in_time(*await all_say(new, 401))
            assert old[:9] not in str(running.told)
            assert new[:9] not in str(running.told)


async def test_a_key_of_a_mounted_secret_that_changes_is_read_again(tmp_path: Path) -> None:
    path, secret = tmp_path / "routes.yaml", tmp_path / "mounted"
    secret.write_text(OLD + "\n")
    entry = {"name": "ci", "keyFrom": {"file": "mounted"}}  # from where the configuration is
    async with target(said("a")) as one:
        write(path, {"keys": [entry], "limitsFile": str(tmp_path / "limits")}, written(one.url))
        async with program(path) as running:
            assert (await ask(running.port, chat(), fields=bearer(OLD))).status == 200
            secret.write_text(NEW)
            async with asyncio.timeout(20):
                while (await ask(running.port, chat(), fields=bearer(NEW))).status != 200:
                    await asyncio.sleep(0.02)
            assert (await ask(running.port, chat(), fields=bearer(OLD))).status == 401


async def test_a_key_ends_in_time_also_while_the_rest_of_the_configuration_cannot_be_used(tmp_path: Path) -> None:
    path, file = tmp_path / "routes.yaml", str(tmp_path / "keys.yaml")
    key, other = await run("create", "ci", "--file", file), await run("create", "other", "--file", file)
    async with target(said("a")) as one:
        inline = [{"name": "inline", "keyFrom": {"env": "INLINE"}}]
        write(path, {"keyFile": file, "keys": inline}, written(one.url))
        async with program(path, INLINE=OLD) as running:

            async def status(text: str) -> int:
                return (await ask(running.port, chat(), fields=bearer(text))).status

            assert [await status(one) for one in (key, other, OLD)] == [200, 200, 200]
            path.write_text(path.read_text() + "---\nkind: LLMRoute\nspec: {targets: [{nme: x}]}\n")
            async with asyncio.timeout(20):
                while not any("the old one stays in force" in line for line in running.told):
                    await asyncio.sleep(0.02)
            await run("revoke", "ci", "--file", file)
            loop = asyncio.get_running_loop()
            began, before = loop.time(), 0
            async with asyncio.timeout(20):
                while await status(key) != 401:
                    before += 1
            assert in_time(loop.time() - began, before)
            assert [await status(one) for one in (other, OLD)] == [200, 200]
