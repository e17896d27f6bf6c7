"""A page for each command of the program, made from the program: usage, what it does, examples, options."""

import inspect
import re
from collections.abc import Iterator

import click

from pages import Page
from tensorfusion.cli.main import program


def pages() -> list[Page]:
    """The pages of all commands, and their overview."""
    context = click.Context(program, info_name="tensorfusion")
    made, rows = [], []
    for name in program.list_commands(context):
        command = program.get_command(context, name)
        if command is None:
            raise LookupError(name)
        text = "\n".join(_command(command, context, name, level=1))
        made.append(Page(f"reference/cli/{name}.md", text))
        rows.append(f"| [`{name}`]({name}.md) | {_first(command.help or '')} |")
    overview = [
        "# Commands of tensorfusion",
        "",
        "`tensorfusion COMMAND --help` says the same. A mistake ends a command with one line and the status 1.",
        "",
        "| command | does |",
        "|---|---|",
        *rows,
        "",
        "Which cluster: `--kubeconfig FILE`, else `--data FOLDER`, else `KUBECONFIG`, else the embedded cluster of",
        "`~/.tensorfusion` (`TENSORFUSION_DATA`).",
        "",
    ]
    return [Page("reference/cli/index.md", "\n".join(overview)), *made]


def _command(command: click.Command, parent: click.Context, name: str, *, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} {context.command_path.removeprefix('tensorfusion ') if level > 1 else f'tensorfusion {name}'}"
    yield ""
    if not isinstance(command, click.Group):
        yield from ("```text", command.get_usage(context).removeprefix("Usage: "), "```", "")
    yield from _help(command.help or "")
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options and not isinstance(command, click.Group):
        yield from ("| option | |", "|---|---|")
        for option in options:
            yield _option(option, context)
        yield ""
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None:
                yield from _command(found, context, child, level=2)


def _help(text: str) -> Iterator[str]:
    """Paragraphs as they are; those that click must not wrap are examples."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith("\b"):
            lines = paragraph.removeprefix("\b").strip("\n").splitlines()
            language = "bash" if any("tensorfusion" in line or "kubectl" in line for line in lines) else "text"
            yield from (f"```{language}", *lines, "```", "")
        else:
            yield from (paragraph.replace("<", "&lt;"), "")


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        names += f" {option.make_metavar(context)}".replace("|", "\\|").replace("<", "&lt;")
    record = option.get_help_record(context)
    text = (record[1] if record else option.help or "").replace("|", "\\|").replace("<", "&lt;")
    return f"| {names} | {text} |"


def _first(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split()).replace("|", "\\|")
