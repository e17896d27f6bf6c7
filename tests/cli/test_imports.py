"""What a process loads when it starts: its start is part of every user's first impression, and each worker's memory."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("start", "wanted", "unneeded"),
    [
        (
            "tensorfusion.cli.composition",
            "tensorfusion.scheduler.service",
            ("tensorfusion.embedded.schema", "tensorfusion.cel", "tensorfusion.embedded.store"),
        ),
        ("tensorfusion.gateway.program", "tensorfusion.re2.patterns", ("tensorfusion.cel",)),
        ("tensorfusion.gateway.objects.program", "tensorfusion.kube.client", ("tensorfusion.cel",)),
        (
            "tensorfusion.cli.gateway",
            "tensorfusion.cli.gateway_keys",
            ("tensorfusion.kube.client", "tensorfusion.model.crd"),
        ),
    ],
    ids=["control", "gateway of files", "gateway of objects", "gateway commands"],
)
def test_a_process_starts_without_what_only_others_need(start: str, wanted: str, unneeded: tuple[str, ...]) -> None:
    lines = f"import sys, {start}\nprint(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split()
    assert wanted in loaded
    assert not [name for name in loaded if name.startswith(unneeded)]
