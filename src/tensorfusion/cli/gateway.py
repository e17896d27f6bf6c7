"""``tensorfusion gateway``: the AI gateway and what belongs to it."""

import click

from tensorfusion.cli.gateway_keys import keys
from tensorfusion.cli.groups import SuggestingGroup


@click.group("gateway", cls=SuggestingGroup)
def command() -> None:
    """Keys of the AI gateway.

    \b
    tensorfusion gateway keys create chat-ui --model 'qwen3-*'
    """


command.add_command(keys)
