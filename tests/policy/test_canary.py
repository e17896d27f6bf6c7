"""Counters of canaries as they are written down."""

from hypothesis import given
from hypothesis import strategies as st

from tensorfusion.model import keys
from tensorfusion.policy.canary import EXPIRY, Counter, Seen, counter_key, counter_of, counter_patch, counters

KEY = f"{keys.COUNTER_PREFIX}abc"
ids = st.text("abcdefgh123", min_size=1, max_size=8)
found = st.builds(Counter, st.integers(0, 1000), st.dictionaries(ids, st.integers(0, 1 << 40), max_size=8))


def written(annotations: dict[str, str], counter: Counter) -> dict[str, str]:
    changed = {**annotations, **counter_patch(annotations, KEY, counter)}
    return {key: value for key, value in changed.items() if value is not None}


@given(before=found, after=found)
def test_a_counter_is_read_as_it_was_written(before: Counter, after: Counter) -> None:
    annotations = written(written({"other": "x"}, before), after)
    assert counter_patch(annotations, KEY, after) == {}
    if after.total:
        assert counter_of(annotations, KEY) == after
        assert counters(annotations) == {KEY: after}
    else:
        assert annotations == {"other": "x"}


@given(text=st.text(max_size=20), reserved=st.text(max_size=40))
def test_what_cannot_be_read_counts_as_full(text: str, reserved: str) -> None:
    counter = counter_of({KEY: text, f"{keys.DOMAIN}/tf-reserved-abc": reserved}, KEY)
    readable = text.isascii() and text.isdigit() and len(text) < 16
    assert counter.total >= (0 if readable else 1 << 30)


@given(counter=found, active=st.integers(0, 9), now=st.integers(0, 1 << 40))
def test_a_recount_counts_what_is_there_and_what_may_still_come(counter: Counter, active: int, now: int) -> None:
    seen = Seen(set(list(counter.reserved)[:3]), active)
    counted = counter.recounted(seen, now)
    assert counted.confirmed == active
    assert counted.reserved.keys() == {
        id_ for id_, at in counter.reserved.items() if id_ not in seen.ids and now - at < EXPIRY
    }


def test_templates_are_told_apart_by_their_hash_or_else_by_what_they_say() -> None:
    def key(labels: dict[str, str], **annotations: str) -> str:
        spec = {"containers": [{"name": "m", "image": "a"}]}
        return counter_key({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec})

    assert key({"pod-template-hash": "5d"}) == f"{keys.COUNTER_PREFIX}5d"
    assert key({"controller-revision-hash": "web-7"}) == f"{keys.COUNTER_PREFIX}web-7"
    long = key({"pod-template-hash": "x" * 63})
    assert len(long.partition("/")[2]) <= 63
    assert key({}, **{keys.TFLOPS_LIMIT: "1"}) == key({"job": "other"}, **{keys.TFLOPS_LIMIT: "1", "note": "n"})
    assert key({}, **{keys.TFLOPS_LIMIT: "1"}) != key({}, **{keys.TFLOPS_LIMIT: "2"})
