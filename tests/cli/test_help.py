"""Every command explains itself: a sentence, help for each option, and examples that its own parser accepts."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from tensorfusion.cli.main import LazyGroup, program
from tensorfusion.suggestions import did_you_mean, nearest


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path; hidden ones too."""
    if isinstance(command, click.Group):
        from tensorfusion.cli.main import _COMMANDS

        names = list(_COMMANDS) if isinstance(command, LazyGroup) else list(command.commands)
        for name in names:
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands(found, (*path, name))
    if path:
        yield path, command


ALL = list(commands(program))
IDS = [" ".join(path) for path, _ in ALL]


def examples(command: click.Command) -> list[list[str]]:
    found = []
    for line in (command.help or "").splitlines():
        text = re.sub(r"\s{2,}\S.*$", "", line.strip())  # a remark after the command
        if re.match(r"(\w+=\S+ )?tensorfusion ", text):
            words = shlex.split(text.partition(" && ")[0], comments=True)
            found.append(words[words.index("tensorfusion") + 1 :])
    return found


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_help_says_what_it_does_and_what_each_option_means(path: tuple[str, ...], command: click.Command) -> None:
    sentence = (command.help or "").strip().splitlines()[0]
    assert sentence[0].isupper()
    assert len(sentence) > 20
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} has no help"
    result = CliRunner().invoke(program, [*path, "--help"])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 120


@pytest.mark.parametrize(("path", "command"), ALL, ids=IDS)
def test_help_has_an_example_that_the_parser_accepts(path: tuple[str, ...], command: click.Command) -> None:
    shown = examples(command)
    assert shown, f"{' '.join(path)} has no example"
    for words in shown:
        target: click.Command = program
        context = click.Context(program)
        while isinstance(target, click.Group) and not (target.invoke_without_command and words[0].startswith("-")):
            name, *words = words
            found = target.get_command(context, name)
            assert found is not None, name
            target, context = found, click.Context(found, info_name=name, parent=context)
        target.parse_args(context, list(words))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["statsu"], "no command 'statsu': did you mean status?"),
        (["fleet", "brake", "x"], "no command 'brake': did you mean break"),
        (["fleet", "zzz"], "no command 'zzz': there are add, break, "),
        (["up", "--detatch"], "--detach"),
        (["top", "--sort", "vrm"], "--sort: no column 'vrm': did you mean vram?"),
        (["get", "pods", "-o", "tabel"], "'table', 'json', 'yaml'"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_likely_one(words: list[str], wanted: str) -> None:
    result = CliRunner().invoke(program, words)
    assert result.exit_code != 0
    assert wanted in (result.output + str(result.exception))


def test_suggestions_keep_the_spelling_of_what_is_known() -> None:
    assert nearest("a100_sxm_8g", ["A100_SXM_80G", "L4"])[0] == "A100_SXM_80G"
    assert did_you_mean("x", []) == ""
    assert did_you_mean("zzz", ["a", "b"]) == ": there are a, b"
    assert did_you_mean("zzz", ["a", "b"], listed=False) == ""
