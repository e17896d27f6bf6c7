"""The kernel refuses for a while: read-only, full, broken, over quota."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tensorfusion.embedded.store import Store

FAILING = """
import asyncio, json, os, sys
from pathlib import Path
from tensorfusion.embedded.store import Store
from tensorfusion.errors import StoreUnwritable
from tensorfusion.testing.records import pod, record_maker

async def main():
    store = Store.open(Path(sys.argv[1]))
    acknowledged, refused = [], []
    for number in range(60):
        key = pod(f"p{number:03}")
        try:
            await store.put(key, expected=0, make=record_maker(key, "x" * 3000))
            acknowledged.append(key.name)
        except StoreUnwritable as error:
            refused.append(str(error))
    names = [record.key.name for record in store.scan("pods")]
    print(json.dumps({"acknowledged": acknowledged, "refused": refused, "names": names}))
    sys.stdout.flush()
    os._exit(0)  # as if killed: nothing is folded in

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("error", ["EROFS", "ENOSPC", "EIO", "EDQUOT"])
@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
async def test_a_file_system_that_refuses_for_a_while_loses_nothing(path: Path, call: str, error: str) -> None:
    """The kernel's own answers: read-only after an error, full, broken, over quota; then it works again."""
    process = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-o", "/dev/null", "-P", f"{path}-wal", "-e", f"inject={call}:error={error}:when=30..45"),
        *(sys.executable, "-c", FAILING, str(path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    if b"ptrace" in errors:
        pytest.skip("tracing is not permitted here")
    result = json.loads(output)
    assert result["refused"]
    assert all(f"{path}: the write could not be stored" in message for message in result["refused"])
    assert result["names"] == result["acknowledged"]
    assert result["acknowledged"][-1] == "p059", "it did not recover"
    async with Store.open(path) as reopened:
        assert [record.key.name for record in reopened.scan("pods")] == result["acknowledged"]
