"""Command groups that answer a mistyped command with the one that was probably meant."""

import click

from tensorfusion.suggestions import did_you_mean


class SuggestingGroup(click.Group):
    """A group whose error for an unknown command names the nearest ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        known = self.list_commands(ctx)
        if not word.startswith("-") and self.get_command(ctx, word) is None:
            ctx.fail(f"no command {word!r}{did_you_mean(word, known)}")
        return super().resolve_command(ctx, args)
