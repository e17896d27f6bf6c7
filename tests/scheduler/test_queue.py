"""The order in which pending pods are decided, and when they are tried again."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.scheduler.queue import LONGEST_WAIT, PendingQueue, Place

Queue = PendingQueue[str, str]


def popped(queue: Queue, now: float = 0.0) -> list[str]:
    uids = []
    while (entry := queue.pop(now)) is not None:
        uids.append(entry.uid)
    return uids


def test_higher_priority_goes_first_and_equals_in_order_of_arrival() -> None:
    queue = Queue()
    for uid, priority in (("a", 0), ("b", 10), ("c", 0), ("d", 10)):
        queue.put(uid, "facts", priority=priority, now=0)
    assert popped(queue) == ["b", "d", "a", "c"]


def test_a_change_of_priority_moves_a_queued_pod_and_keeps_its_arrival() -> None:
    queue = Queue()
    for uid in ("a", "b", "c"):
        queue.put(uid, "facts", priority=0, now=0)
    queue.put("c", "facts", priority=5, now=0)
    queue.put("a", "facts", priority=-1, now=0)
    assert popped(queue) == ["c", "b", "a"]


def test_a_removed_pod_never_surfaces() -> None:
    queue = Queue()
    queue.put("a", "facts", priority=0, now=0)
    queue.put("b", "facts", priority=0, now=0)
    queue.remove("a")
    assert popped(queue) == ["b"]
    assert len(queue) == 1


def test_a_pod_that_is_removed_and_comes_again_surfaces_once() -> None:
    queue = Queue()
    queue.put("a", "old", priority=0, now=0)
    queue.remove("a")
    queue.put("a", "new", priority=0, now=0)
    assert popped(queue) == ["a"]
    assert queue.get("a").facts == "new"


def test_a_failed_pod_waits_for_an_event_that_helps() -> None:
    queue = Queue()
    for uid in ("a", "b"):
        queue.put(uid, "facts", priority=0, now=0)
    for uid in ("a", "b"):
        queue.failed(queue.pop(0), f"no room for {uid}", now=0)
    assert queue.next_due(100) is None
    assert queue.wake(lambda entry: entry.failure == "no room for b", now=100) == 1
    assert popped(queue, 100) == ["b"]
    assert queue.depth(Place.WAITING) == 1


def test_a_woken_pod_serves_the_rest_of_a_backoff_that_doubles_up_to_ten_seconds() -> None:
    queue = Queue()
    queue.put("a", "facts", priority=0, now=0)
    now, waits = 0.0, []
    for _ in range(6):
        queue.failed(queue.pop(now), "full", now=now)
        queue.wake(lambda _: True, now=now)
        wait = queue.next_due(now)
        assert queue.pop(now + wait - 0.001) is None
        waits.append(wait)
        now += wait
    assert waits == [1, 2, 4, 8, 10, 10]


def test_an_event_after_the_backoff_is_served_at_once() -> None:
    queue = Queue()
    queue.put("a", "facts", priority=0, now=0)
    queue.failed(queue.pop(0), "full", now=0)
    queue.wake(lambda _: True, now=1.5)
    assert queue.next_due(1.5) == 0
    assert popped(queue, 1.5) == ["a"]


def test_a_changed_pod_is_tried_again_and_an_unchanged_one_is_not() -> None:
    queue = Queue()
    queue.put("a", "big", priority=0, now=0)
    queue.failed(queue.pop(0), "full", now=0)
    queue.put("a", "big", priority=0, now=5)
    assert queue.next_due(5) is None
    queue.put("a", "small", priority=0, now=5)
    assert popped(queue, 5) == ["a"]


def test_a_refused_binding_is_retried_after_a_backoff() -> None:
    queue = Queue()
    queue.put("a", "facts", priority=0, now=0)
    queue.pop(0)
    queue.retry("a", now=3)
    assert queue.next_due(3) == 1
    assert popped(queue, 4) == ["a"]


def test_a_pod_that_waited_too_long_is_tried_without_an_event() -> None:
    queue = Queue()
    for uid in ("a", "b"):
        queue.put(uid, "facts", priority=0, now=0)
    queue.failed(queue.pop(0), "full", now=0)
    queue.failed(queue.pop(1), "full", now=1)
    assert queue.flush(LONGEST_WAIT) == 1
    assert popped(queue, LONGEST_WAIT) == ["a"]


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "pop", "fail", "retry", "wake", "remove", "flush"]),
        st.integers(0, 5),
        st.integers(0, 2),
        st.floats(0, 4, allow_nan=False),
    ),
    max_size=80,
)


@given(_STEPS)
def test_no_pod_is_lost_or_taken_twice(steps: list[tuple[str, int, int, float]]) -> None:
    queue = Queue()
    known: set[str] = set()
    taken: set[str] = set()
    now = 0.0
    for action, number, priority, passed in steps:
        now += passed
        uid = str(number)
        if action == "put":
            queue.put(uid, "facts", priority=priority, now=now)
            known.add(uid)
        elif action == "pop":
            entry = queue.pop(now)
            if entry is not None:
                assert entry.uid in known - taken
                taken.add(entry.uid)
        elif action == "fail" and uid in taken:
            queue.failed(queue.get(uid), "full", now=now)
            taken.remove(uid)
        elif action == "retry":
            queue.retry(uid, now=now)
            taken.discard(uid)
        elif action == "wake":
            queue.wake(lambda entry, uid=uid: entry.uid == uid, now=now)
        elif action == "remove":
            queue.remove(uid)
            known.discard(uid)
            taken.discard(uid)
        elif action == "flush":
            queue.flush(now)
        assert len(queue) == len(known)
        assert sum(queue.depth(place) for place in Place) == len(known)
        assert queue.depth(Place.TAKEN) == len(taken)
    queue.wake(lambda _: True, now=now)
    rest = popped(queue, now + 1000)
    assert sorted(rest) == sorted(known - taken)
