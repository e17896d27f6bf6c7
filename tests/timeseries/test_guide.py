"""The guide's example runs as it stands, and prints what the guide says."""

import asyncio
import re
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "metrics-store.md"


async def test_the_example_prints_what_the_guide_says(tmp_path: Path) -> None:
    text = GUIDE.read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    (tmp_path / "example.py").write_text(program)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "example.py", cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complaint = await process.communicate()
    assert complaint.decode() == ""
    assert said.decode() == printed
