"""What changed is offered to the pods that wait for it. Apart from the service because simulations do the same."""

from tensorfusion.scheduler import queue
from tensorfusion.scheduler.gangs import Gangs, waits_for_gang
from tensorfusion.scheduler.pods import Pending, PodBook
from tensorfusion.scheduler.queue import Place
from tensorfusion.scheduler.turns import is_parked
from tensorfusion.scheduling.hints import Change as Hint
from tensorfusion.scheduling.hints import ChangeKind, helps


def wake_helped(hints: list[Hint], book: PodBook, gangs: Gangs, *, now: float) -> None:
    """Wake who waits and may fit after these changes; of several changes of one thing the last says what is free.

    ``hints`` is empty afterwards. ``now`` is in the queue's seconds.
    """
    if not hints:
        return
    news = list({_subject(hint): hint for hint in hints}.values())
    hints.clear()
    trees = {hint.cohort for hint in news if hint.kind is ChangeKind.USAGE and hint.cohort}
    book.turns.given_back(trees)
    waiting = book.queue.depth(Place.WAITING)
    if not waiting:
        return
    everybody = waiting * len(news) > queue.WAKES_COUNTED
    known: dict[int, bool] = {}
    """Whether it helps who failed so: several may share a failure."""

    def helped(pending: Pending) -> bool:
        failure = pending.failure
        found = known.get(id(failure))
        if found is None:
            apart = waits_for_gang(failure) or (bool(trees) and is_parked(failure, trees, news))
            found = not apart and (everybody or failure is None or any(helps(failure, hint) for hint in news))
            known[id(failure)] = found
        return found

    book.queue.wake(helped, now=now)
    gangs.hear(news)


def wake_parked(book: PodBook) -> bool:
    """Make those pods active that their cohorts have room for by now; answers whether there are any."""
    due = book.turns.due()
    for entry in due:
        book.queue.activate(entry.uid)
    return bool(due)


def _subject(hint: Hint) -> tuple[str, str]:
    """What a hint is about: of two with the same subject the newer one counts."""
    if hint.device is not None:
        return hint.kind, hint.device.name
    if hint.node is not None:
        return hint.kind, hint.node.name
    return hint.kind, hint.name
