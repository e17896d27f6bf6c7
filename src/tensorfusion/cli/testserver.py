"""``tensorfusion testserver``: servers that simulate what a cluster talks to, for tests and demonstrations."""

import click

from tensorfusion.cli.groups import SuggestingGroup
from tensorfusion.errors import ConfigError
from tensorfusion.testing.llm.faults import table
from tensorfusion.testing.llm.settings import MODEL, Settings

_DEFAULTS = Settings()
_SECONDS = click.FloatRange(min=0)
_COUNT = click.IntRange(min=0)


@click.group("testserver", cls=SuggestingGroup)
def command() -> None:
    """Run a server that simulates another one, for tests, demonstrations and benchmarks.

    \b
    tensorfusion testserver llm --port 8000
    """


@command.command("llm", epilog="\b\nFaults (name;setting=value):\n" + table())
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: the system chooses.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on the port.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[=WEIGHTS]",
    help=f"A model to serve; names of the same weights say the same. May be repeated.  [default: {MODEL}]",
)
@click.option("--lora", "adapters", multiple=True, metavar="NAME", help="A LoRA adapter to serve. May be repeated.")
@click.option("--context-length", type=int, default=_DEFAULTS.context_length, show_default=True, help="In tokens.")
@click.option("--ttft", type=_SECONDS, default=0.0, show_default=True, help="Seconds to the first token.")
@click.option("--tpot", type=_SECONDS, default=0.0, show_default=True, help="Seconds from each token to the next.")
@click.option("--concurrency", type=_COUNT, default=0, show_default=True, help="Requests at once; 0: any number.")
@click.option("--kv-tokens", type=int, default=_DEFAULTS.kv_tokens, show_default=True, help="Tokens of all at once.")
@click.option("--answer-tokens", type=_COUNT, default=0, show_default=True, help="Of each answer; 0: 8 to 64.")
@click.option("--embedding-dimensions", type=int, default=64, show_default=True, help="Numbers of a vector.")
@click.option("--api-key", default="", metavar="KEY", help="Ask for this key.  [default: any is taken]")
@click.option("--faults", is_flag=True, help="Requests may choose how they fail, by the header x-testserver-fault.")
@click.option("--stamps", is_flag=True, help="Events of streams tell when they were sent: sent_ns, monotonic.")
@click.option("--seen", type=_COUNT, default=_DEFAULTS.seen, show_default=True, help="Requests to remember.")
def llm(
    host: str, port: int, workers: int, models: tuple[str, ...], adapters: tuple[str, ...], **settings: object
) -> None:
    """Serve simulated models over the wires of OpenAI and Anthropic, and print the address. No model is computed.

    What is said is a pure function of model, messages and seed. It serves /v1/chat/completions, /v1/completions,
    /v1/responses, /v1/embeddings, /v1/messages, /v1/rerank, /v1/models, /health and /metrics (with vLLM's names).

    GET /testserver/seen tells the requests that came and how they ended; POST /testserver/faults sets rules by which
    requests fail: {"rules": [{"fault": "cut;after=5", "model": "", "path": "", "nth": [2]}]}, or instead of nth: times,
    good and bad, probability and seed. With several workers neither is served, and /metrics tells of one of them.

    \b
    tensorfusion testserver llm --port 0
    tensorfusion testserver llm --model small --model large=big-weights --ttft 0.2 --tpot 0.02 --concurrency 8
    tensorfusion testserver llm --faults
    """
    from tensorfusion.testing.llm.program import run

    named = dict(_pair(model) for model in models or (MODEL,))
    found = Settings(models=named, adapters=adapters, **settings)  # type: ignore[arg-type] # typed by their options
    run(found, host=host, port=port, workers=workers, say=click.echo)


def _pair(model: str) -> tuple[str, str]:
    name, _, weights = model.partition("=")
    if not name:
        raise ConfigError(f"--model {model!r}: wanted NAME or NAME=WEIGHTS")
    return name, weights or name
