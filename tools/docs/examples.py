"""One page with every example manifest: what it shows, and the manifest itself."""

from pathlib import Path

from pages import Page


def pages(folder: Path) -> list[Page]:
    """The page of the examples."""
    lines = [
        "# Examples",
        "",
        "Each file works as it is on a cluster of `tensorfusion up`: `kubectl apply -f examples/FILE`.",
        "`make demo` applies all of them and says what became of each.",
        "",
    ]
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text()
        remark = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
        body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        lines += [f"## {file.name}", "", " ".join(remark), "", "```yaml", body.strip(), "```", ""]
    return [Page("examples.md", "\n".join(lines))]
