"""Write docs/reference/guide-blocks.md from the rows that the tests run; ``--check`` only compares."""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ROWS = ROOT / "tests" / "e2e" / "seeds" / "rows.yaml"
PAGE = ROOT / "docs" / "reference" / "guide-blocks.md"
OUTCOMES = {
    "applied": "applied as it is",
    "completed": "completed",
    "values": "Helm values",
    "error": "error",
}
HEAD = """# The blocks of the two guides

Every YAML and shell block of the DRA user guide and of the production deployment guide, and what becomes of it here,
on the embedded cluster and on a real one. Each row is a test (`tests/e2e/test_seeds.py`); this page is written from the
rows. *Completed* blocks leave out what the guide takes for granted; the patch that completes them is named and lies in
`tests/e2e/seeds/patches`.
"""


def page() -> str:
    document = yaml.safe_load(ROWS.read_text())
    lines = [HEAD]
    for guide, title in document["guides"].items():
        lines += [f"\n## {title}\n", "| section | block | outcome | how |", "|---|---|---|---|"]
        for row in document["rows"]:
            if not row["block"].startswith(guide):
                continue
            outcome = OUTCOMES[row["outcome"]]
            if row["outcome"] == "completed":
                outcome += f" by `{row['patch']}`"
            how = row["how"].replace("<", "&lt;").replace(">", "&gt;")
            lines.append(f"| {row['section']} | {row['block']} | {outcome} | {how} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    wanted = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != wanted:
            sys.exit(f"{PAGE.relative_to(ROOT)} does not say what the rows say: run make generate")
        return
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
