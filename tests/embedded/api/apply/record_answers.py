"""Play the scenarios on a real API server and write down what it says.

python tests/embedded/api/apply/record_answers.py --assets DIR [--check]
"""

import json
import ssl
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from recording import arguments_of, settle, steps_of
from scenarios import ANSWERS_FILE, SCENARIOS, Ask, Player, definition

from tensorfusion.testing.control_plane import ControlPlane, control_plane

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def main() -> None:
    arguments = arguments_of(__doc__)
    with tempfile.TemporaryDirectory() as folder, control_plane(arguments.assets, Path(folder)) as plane:
        answers = recorded(asker(plane))
    lines = []
    for name, steps in answers.items():
        inner = ",\n ".join(json.dumps(step, sort_keys=True) for step in steps)
        lines.append(f"{json.dumps(name)}: [\n {inner}]")
    settle(arguments, ANSWERS_FILE, "{\n" + ",\n".join(lines) + "\n}\n", steps_of)


def asker(plane: ControlPlane) -> Ask:
    """Requests to a control plane as its administrator."""
    trust = ssl.create_default_context(cafile=str(plane.folder / "ca.crt"))
    token = yaml.safe_load(plane.kubeconfig.read_text())["users"][0]["user"]["token"]

    def ask(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any, list[str]]:
        all_headers = {**headers, "Authorization": f"Bearer {token}", "Accept": "application/json"}
        request = urllib.request.Request(plane.server + path, data=body, method=method, headers=all_headers)
        try:
            with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
                return answer.status, json.loads(answer.read()), warnings(answer.headers.get_all("Warning"))
        except urllib.error.HTTPError as error:
            raw = error.read()
            return error.code, json.loads(raw) if raw.startswith(b"{") else {"message": raw.decode()}, []

    return ask


def warnings(headers: list[str] | None) -> list[str]:
    """The texts of Warning headers, without their code and quotes."""
    return [header.split(" ", 2)[2][1:-1].replace('\\"', '"') for header in headers or ()]


def recorded(ask: Ask) -> dict[str, list[dict[str, Any]]]:
    """The answers of a server to all scenarios."""
    status, answer, _ = ask("POST", CRDS, json.dumps(definition()).encode(), {"Content-Type": "application/json"})
    assert status == 201, answer
    while any(ask("GET", f"/apis/x.io/{version}/foos", None, {})[0] != 200 for version in ("v1", "v2")):
        time.sleep(0.1)
    time.sleep(1.0)  # the schema of a new kind reaches the field manager a moment later
    return {scenario["name"]: list(Player(ask, f"s-{n}").play(scenario)) for n, scenario in enumerate(SCENARIOS)}


if __name__ == "__main__":
    main()
