"""Asks Kubernetes' CEL: builds the program in ``tools/kube/cel`` (needs go) and speaks to it."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "tools" / "kube" / "cel"
BATCH = 200  # requests under way at a time: neither pipe may fill up


def oracle_program() -> Path:
    """The built oracle; building takes about two minutes the first time.

    ``TENSORFUSION_CEL_ORACLE`` names one that is built already.
    """
    if given := os.environ.get("TENSORFUSION_CEL_ORACLE"):
        return Path(given)
    text = b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tensorfusion"
    program = cache / f"cel-oracle-{hashlib.sha256(text).hexdigest()[:16]}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        new = program.with_suffix(f".{os.getpid()}")
        environment = os.environ | {"CGO_ENABLED": "0"}
        subprocess.run(["go", "build", "-trimpath", "-o", str(new), "."], cwd=SOURCE, env=environment, check=True)
        new.replace(program)
    return program


def ask(
    requests: Iterable[dict[str, Any]], program: Path | None = None, *, may_crash: bool = False
) -> list[dict[str, Any]]:
    """The answers to the requests, in their order. ``may_crash``: an answer may be ``{"problem": "panic: ..."}``."""
    lines = [json.dumps(request, ensure_ascii=False) for request in requests]
    text = "".join(line + "\n" for line in lines)
    done = subprocess.run([str(program or oracle_program())], input=text.encode(), stdout=subprocess.PIPE, check=True)
    answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
    assert len(answers) == len(lines), f"{len(lines)} requests, {len(answers)} answers"
    for line, answer in zip(lines, answers, strict=True):
        problem = answer.get("problem", "")
        assert not problem or (may_crash and problem.startswith("panic")), f"{problem}: {line}"
    return answers
