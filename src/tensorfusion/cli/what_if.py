"""``tensorfusion what-if``: a recorded period with another policy, fleet, quota or ratio, beside how it was."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tensorfusion.cli.session import output_option, show


@click.command("what-if")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option("--from", "start", metavar="TIME", help="Begin of the period (RFC 3339).  [default: all of it]")
@click.option("--to", "end", metavar="TIME", help="End of the period (RFC 3339).  [default: all of it]")
@click.option("--mode", "modes", multiple=True, metavar="[POOL=]MODE", help="Placement mode of a pool, or of all.")
@click.option(
    "--add-nodes",
    "added",
    multiple=True,
    metavar="NxMODEL|SHAPE|FILE",
    help="More nodes: 2xL4 as those of that model, a shape (gpus=L4:4,count=2,cpu=32), or a fleet file.",
)
@click.option(
    "--without", "left_out", multiple=True, metavar="spot|SELECTOR", help="Leave out spot nodes, or those with labels."
)
@click.option(
    "--quota",
    "quotas",
    multiple=True,
    metavar="NAMESPACE:KEY=AMOUNT,...|NAMESPACE:none",
    help="Another quota: tflops, vram, gpus, workers, and per pod max-tflops, max-vram, max-gpus.",
)
@click.option("--oversubscription", metavar="RATIO", help="Let requests add up to RATIO times the TFLOPS of a device.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="For times that are not known.")
@output_option
def command(
    recording: Path,
    start: str | None,
    end: str | None,
    modes: tuple[str, ...],
    added: tuple[str, ...],
    left_out: tuple[str, ...],
    quotas: tuple[str, ...],
    oversubscription: str | None,
    seed: int,
    output: str,
) -> None:
    """Replay a recorded period with something changed, and print what would have been different.

    RECORDING is the folder that a cluster records into (`tensorfusion up --record DIR`). The period is replayed twice
    by the scheduler's own code: as it was, and as changed. Nothing is started; the same seed gives the same answer.

    \b
    tensorfusion what-if history --add-nodes 2xL4
    tensorfusion what-if history --without spot --mode CompactFirst
    tensorfusion what-if history --quota team-a:gpus=8 --from 2026-03-01T00:00:00Z -o json
    """
    from tensorfusion.cli.what_if_table import lines
    from tensorfusion.cli.what_if_words import Wishes, scenario_of, time_of
    from tensorfusion.scheduler.recording.reader import read
    from tensorfusion.testing.what_if.jobs import cut
    from tensorfusion.testing.what_if.report import compare

    history = cut(read(recording).history, time_of(start, "--from"), time_of(end, "--to"))
    scenario = scenario_of(
        Wishes(modes, added=added, without=left_out, quotas=quotas, oversubscription=oversubscription), history
    )
    with _progress(2 * len(history.pods)) as tick:
        found = compare(history, scenario, seed=seed, tick=tick)
    if output != "table":
        show([], [], output=output, value=found)
        return
    for line in lines(found):
        click.echo(line)


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[], None]]:
    """A bar, in a terminal only; calling what it gives is one step."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=steps, file=sys.stderr) as bar:
        yield lambda: bar.update(1)
