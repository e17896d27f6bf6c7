"""Files that are followed: when what they say is in force."""

import asyncio
from pathlib import Path

import yaml

from tensorfusion.gateway.configuring import Configuration, read_configuration
from tensorfusion.gateway.reloading import Following
from tensorfusion.testing.clock import VirtualClock
from test_program import write, written

URL = "http://127.0.0.1:1/v1"


class Restless(VirtualClock):
    """While somebody waits, a file is written anew."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.times = 0

    async def sleep(self, seconds: float) -> None:
        self.times += 1
        assert self.times < 1000, "it is waited for without an end"
        self._path.write_text(yaml.safe_dump({"keys": [{"name": f"k{self.times}", "hash": f"{self.times:064x}"}]}))


async def test_a_file_that_is_written_all_the_time_keeps_nothing_from_coming_into_force(tmp_path: Path) -> None:
    path, keys = tmp_path / "routes.yaml", tmp_path / "keys.yaml"
    keys.write_text("keys: []\n")
    write(path, {"keyFile": "keys.yaml"}, written(URL))
    clock, used = Restless(keys), list[Configuration]()
    following = Following(read_configuration(path), read=lambda: read_configuration(path), clock=clock, use=used.append)
    write(path, {"keyFile": "keys.yaml"}, written(URL, name="new"))
    await following.look()
    assert [str(route.key) for route in used[0].routes] == ["default/new"]


async def test_what_is_as_it_was_again_is_in_force_again(tmp_path: Path) -> None:
    """Keys were perhaps brought up to date meanwhile."""
    path = tmp_path / "routes.yaml"
    write(path, written(URL))
    right, used, apart = path.read_text(), list[Configuration](), list[str]()

    async def use_keys() -> None:
        apart.append("keys")

    clock = VirtualClock()
    following = Following(
        read_configuration(path),
        read=lambda: read_configuration(path),
        clock=clock,
        use=used.append,
        use_keys=use_keys,
    )
    for text in ("kind: LLMRoute\n", right):
        path.write_text(text)
        looking = asyncio.ensure_future(following.look())
        while not looking.done():
            await clock.advance(1)
    assert (apart, len(used), following.complaint) == (["keys"], 1, "")
