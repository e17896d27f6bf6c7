"""Manifests from files, folders or standard input, in the schema of their kinds: what ``apply`` and ``convert`` read.

Files may hold several documents and Lists; markers of documentation are taken off, loose dialects are rewritten
(``policy.dialects``), and every change is told.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tensorfusion.errors import ConfigError
from tensorfusion.model.meta import Raw
from tensorfusion.policy.dialects.convert import convert
from tensorfusion.policy.dialects.markers import strip_markers

_ENDINGS = {".yaml", ".yml", ".json"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and where it comes from. ``problems`` are why it cannot be used."""

    source: str
    document: Any  # Any: whatever the file holds
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_manifests(path: str) -> list[Manifest]:
    """The objects of a file or folder, converted; what was rewritten stands in ``notes``.

    Raises:
        ConfigError: unreadable, not YAML, or nothing in it.
    """
    manifests: list[Manifest] = []
    for source, text in _texts(path):
        plain, markers = strip_markers(text)
        notes = tuple(f"line {marker.line}: {marker.text!r} -> removed: a documentation marker" for marker in markers)
        for where, document in documents_of(source, plain):
            done = convert(document)
            said = (*notes, *done.rewrites, *(f"warning: {line}" for line in done.warnings))
            manifests.append(Manifest(where, done.document, said, tuple(map(str, done.refusals))))
            notes = ()
    return manifests


def tell(manifest: Manifest) -> None:
    """Say on standard error what was rewritten, one line each, and why a manifest cannot be used."""
    label = f"{manifest.source}: {_label(manifest.document)}"
    for note in manifest.notes:
        click.echo(f"{label}: {note}", err=True)
    for problem in manifest.problems:
        click.echo(f"error: {label}: {problem}", err=True)


def documents_of(source: str, text: str) -> list[tuple[str, Raw]]:
    """The objects of one text with where each comes from. Lists are taken apart.

    Raises:
        ConfigError: not YAML.
    """
    import yaml

    found: list[tuple[str, Raw]] = []
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source}: is not YAML: {' '.join(str(error).split())}{_hint(error, text)}") from error
    for number, document in enumerate(documents, start=1):
        where = f"{source} (document {number})" if len(documents) > 1 else source
        items = document.get("items") if isinstance(document, dict) and document.get("kind") == "List" else [document]
        found += [(where, item) for item in items or []]
    return found


def _texts(path: str) -> list[tuple[str, str]]:
    if path == "-":
        return [("standard input", sys.stdin.read())]
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.suffix in _ENDINGS) if root.is_dir() else [root]
    try:
        return [(str(file), file.read_text()) for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _hint(error: Exception, text: str) -> str:
    """Say what a ``//`` in the line of an error probably is."""
    mark = getattr(error, "problem_mark", None)
    lines = text.split("\n")
    if mark is None or mark.line >= len(lines) or " //" not in lines[mark.line]:
        return ""
    return f": line {mark.line + 1} has // in it, which starts no comment in YAML: write #"


def _label(document: Any) -> str:
    if not isinstance(document, dict):
        return type(document).__name__
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return f"{document.get('kind', '?')} {name or '?'}"
