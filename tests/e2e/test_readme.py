"""The README's terminal sessions are typed into a shell, and what comes out is what it shows; the tutorial's commands work.

The format: ``console`` blocks hold commands after ``$`` and what they print. ``<word>`` stands for a text without spaces that
differs each time, a line ``...`` for any number of lines; columns may be wider or narrower. A command that only looks is
asked again until it shows what is expected, as a person would.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster import kubectl_program

ROOT = Path(__file__).resolve().parent.parent.parent
LOOKS = re.compile(r"(\w+=\S+ )?(kubectl get|kubectl describe|tensorfusion (explain|top|status|doctor|get))\b")
PATIENCE = 40.0


@dataclass
class Step:
    """One command and what it should print."""

    command: str
    expected: list[str] = field(default_factory=list)


def steps(text: str) -> list[Step]:
    """The commands of every console block, in order."""
    found: list[Step] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line.removeprefix("$ ")))
            else:
                found[-1].expected.append(line)
    return found


def pattern(expected: list[str]) -> re.Pattern[str]:
    """What the output has to match, as a whole."""
    parts = []
    for line in expected:
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*?")
            continue
        words = [
            "".join(
                r"\S+" if re.fullmatch(r"<[a-z]+>", bit) else re.escape(bit) for bit in re.split(r"(<[a-z]+>)", word)
            )
            for word in line.split()
        ]
        parts.append(r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*\n")
    return re.compile("".join(parts))


class Shell:
    """Types commands; ``export`` lasts, the program and kubectl are the ones under test, the home is a folder of its own."""

    def __init__(self, home: Path) -> None:
        binaries = home / "bin"
        binaries.mkdir()
        program = f"{sys.executable} -m tensorfusion"
        (binaries / "tensorfusion").write_text(
            f'#!/bin/sh\nif [ "$1" = up ]; then set -- "$@" --port 0 --http-port 0; fi\nexec {program} "$@"\n'
        )
        (binaries / "pip").write_text("#!/bin/sh\necho installed\n")  # what is under test is installed
        kubectl = kubectl_program()
        if kubectl is not None:
            (binaries / "kubectl").symlink_to(kubectl)
        for file in binaries.iterdir():
            if not file.is_symlink():
                file.chmod(0o755)
        self.work = home / "work"
        self.work.mkdir()
        (self.work / "examples").symlink_to(ROOT / "examples")
        self.environment = {**os.environ, "HOME": str(home), "PATH": f"{binaries}:{os.environ['PATH']}"}
        for name in ("KUBECONFIG", "TENSORFUSION_DATA"):
            self.environment.pop(name, None)

    def type(self, command: str) -> str:
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value.replace("~", self.environment["HOME"])
            return ""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        return re.sub(r"^starting \.\.\. .*\n", "", done.stdout, flags=re.MULTILINE)


@pytest.fixture
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    import tempfile

    if request.config.getoption("--real"):
        pytest.skip("types the README's sessions on an embedded cluster")
    with tempfile.TemporaryDirectory(prefix="readme-") as home:  # short: a Unix socket's path is
        made = Shell(Path(home))
        try:
            yield made
        finally:
            made.type("tensorfusion down")


def test_the_readmes_sessions_go_as_they_are_shown(shell: Shell) -> None:
    script = steps((ROOT / "README.md").read_text())
    assert len(script) > 10
    known = shutil.which("kubectl", path=shell.environment["PATH"]) is not None
    for step in script:
        if "kubectl" in step.command:
            if not known and "apply" not in step.command:
                continue
            if not known:
                shell.type(step.command.replace("kubectl", "tensorfusion"))
                continue
        wanted, deadline = pattern(step.expected), time.monotonic() + PATIENCE
        while True:
            seen = shell.type(step.command)
            if wanted.fullmatch(seen):
                break
            again = LOOKS.match(step.command) and time.monotonic() < deadline
            assert again, f"$ {step.command}\n{seen}\nwanted:\n" + "\n".join(step.expected)
            time.sleep(0.3)


def test_the_tutorials_commands_work_in_its_order(shell: Shell) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    manifest = re.search(r"^```yaml\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert manifest is not None
    (shell.work / "notebook.yaml").write_text(manifest.group(1))
    commands = [
        line.partition("   #")[0].strip()
        for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    assert len(commands) > 20
    known = shutil.which("kubectl", path=shell.environment["PATH"]) is not None
    for command in commands:
        if known or "kubectl" not in command:
            seen = shell.type(f"{command} || echo '(failed)'" if not command.startswith("export ") else command)
            assert "(failed)" not in seen, f"$ {command}\n{seen}"


def test_the_format_tells_what_is_wrong() -> None:
    (first, second) = steps("```console\n$ a b\nNAME   AGE\nx      <age>\n$ c\n...\nlast\n```\n```yaml\n$ no\n```\n")
    assert (first.command, second.command) == ("a b", "c")
    assert pattern(first.expected).fullmatch("NAME AGE\nx   17s\n")
    assert not pattern(first.expected).fullmatch("NAME AGE\nx 17s\nmore\n")
    assert not pattern(first.expected).fullmatch("NAME AGE\ny 17s\n")
    assert pattern(second.expected).fullmatch("1\n2\nlast\n")
    assert pattern(second.expected).fullmatch("last\n")
    assert not pattern(second.expected).fullmatch("1\n2\n")
