"""What the control process loads when it starts: its start is part of every user's first impression."""

import subprocess
import sys


def test_the_control_process_starts_without_what_only_the_api_process_needs() -> None:
    lines = "import sys, tensorfusion.cli.composition\nprint(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split()
    assert "tensorfusion.scheduler.service" in loaded
    rooms = ("tensorfusion.embedded.schema", "tensorfusion.cel", "tensorfusion.embedded.store")
    assert not [name for name in loaded if name.startswith(rooms)]
