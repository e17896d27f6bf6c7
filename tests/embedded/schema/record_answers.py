"""Ask a real API server all cases of ``cases.yaml`` and write down what it says.

python tests/embedded/schema/record_answers.py --assets DIR [--check]
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2] / "tools")]

from recording import arguments_of, settle
from test_real_answers import ANSWERS_FILE, CASES, SUITE, built, changed, comparable, label

from facts.server import Server, running_server
from tensorfusion.embedded.kinds import Kinds

KINDS = Kinds.builtin()
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def main() -> None:
    arguments = arguments_of(__doc__)
    with tempfile.TemporaryDirectory() as folder, running_server(arguments.assets, Path(folder)) as server:
        server.request("POST", CRDS, SUITE["definition"])
        server.request("POST", "/api/v1/nodes", {"metadata": {"name": "unused"}})
        while server.request("GET", "/apis/x.io/v1/foos")[0] != 200:
            pass
        answers = {label(case): asked(server, case) for case in CASES}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in answers.items())
    settle(arguments, ANSWERS_FILE, f"{{\n{lines}\n}}\n", dict)


def asked(server: Server, case: dict[str, Any]) -> dict[str, Any]:
    """The server's answer to one case; nothing is left behind."""
    base = SUITE["bases"][case["base"]]
    kind = KINDS.of_kind(base["apiVersion"], base["kind"])
    collection = kind.resource.path("default") if kind else "/apis/x.io/v1/namespaces/default/foos"
    query = f"?fieldValidation={case.get('strict', 'Warn')}"
    obj = built(case)
    if "update" not in case:
        return answer(server, *server.request("POST", f"{collection}{query}&dryRun=All", obj))
    status, stored = server.request("POST", collection + query, obj)
    assert status == 201, stored
    path = f"{collection}/{stored['metadata']['name']}"
    try:
        return answer(server, *server.request("PUT", f"{path}{query}&dryRun=All", changed(case, stored)))
    finally:
        server.request("DELETE", path, {"gracePeriodSeconds": 0})


def answer(server: Server, status: int, body: dict[str, Any]) -> dict[str, Any]:
    if status >= 400:
        causes = (body.get("details") or {}).get("causes") or []
        listed = sorted({(cause["field"], cause["reason"], cause["message"]) for cause in causes})
        message = "" if listed else body["message"]  # with causes their order in the message is chance
        return {"status": status, "message": message, "causes": listed}
    return {"status": 200, "object": comparable(body), "warnings": warnings_of(server)}


def warnings_of(server: Server) -> list[str]:
    """The texts of the Warning headers, without their code and quotes."""
    quoted = (header.split(" ", 2)[2] for header in server.warnings)
    return sorted(text[1:-1].replace('\\"', '"') for text in quoted)


if __name__ == "__main__":
    main()
