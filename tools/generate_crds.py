"""Write config/crds/<plural>.yaml from the types, or with --check say which files are not what the types say.

python -m tools.generate_crds [--check]
"""

import argparse
import sys
from pathlib import Path

import yaml

from tensorfusion.model.crd import KINDS, crd

FOLDER = Path(__file__).resolve().parent.parent / "config" / "crds"
_HEADER = "# Generated from src/tensorfusion/model by `python -m tools.generate_crds`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """No anchors: people read these files, and some tools do not know them."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def files() -> dict[Path, str]:
    """Every file with the text it should have."""
    return {
        FOLDER / f"{custom.resource.plural}.yaml": _HEADER
        + yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)
        for kind, custom in KINDS.items()
    }


def stale() -> list[str]:
    """What differs from the types: files to write again, and files of kinds that no longer exist."""
    wanted = files()
    problems = [
        f"{path.relative_to(FOLDER.parent.parent)} is not what the types say"
        for path, text in wanted.items()
        if not path.exists() or path.read_text() != text
    ]
    return problems + [
        f"{path.relative_to(FOLDER.parent.parent)} belongs to no kind"
        for path in FOLDER.glob("*.yaml")
        if path not in wanted
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="Only compare; exit 1 on a difference.")
    if parser.parse_args().check:
        problems = stale()
        for problem in problems:
            print(f"{problem}: run `python -m tools.generate_crds`")
        return 1 if problems else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
        print(path.relative_to(FOLDER.parent.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
