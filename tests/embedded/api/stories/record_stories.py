"""Tell every story to a real API server and write down what it answers.

python tests/embedded/api/stories/record_stories.py --assets DIR [--check]
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parents[3] / "tools")]

from recording import arguments_of, settle, steps_of
from test_stories import RECORDS_FILE, STORIES, tell

from facts.server import Server, running_server

# What ours does not do to objects either. The rest of a real server's admission stays on.
WITHOUT = (
    "ServiceAccount,RuntimeClass,DefaultStorageClass,TaintNodesByCondition,DefaultIngressClass,"
    "StorageObjectInUseProtection,PersistentVolumeClaimResize"
)


def main() -> None:
    arguments = arguments_of(__doc__)
    with tempfile.TemporaryDirectory() as folder, running_server(arguments.assets, Path(folder), without=WITHOUT) as it:
        records = {name: told(it, f"story-{number}", steps) for number, (name, steps) in enumerate(STORIES.items())}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(found, sort_keys=True)}" for name, found in records.items())
    settle(arguments, RECORDS_FILE, f"{{\n{lines}\n}}\n", steps_of)


def told(server: Server, namespace: str, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    status, made = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    assert status == 201, made

    def send(method: str, path: str, body: Any, content_type: str) -> tuple[int, Any, list[str]]:
        status, found = server.request(method, path, body, content_type=content_type)
        return status, found, server.warnings

    return tell(steps, namespace, send, time.sleep)


if __name__ == "__main__":
    main()
