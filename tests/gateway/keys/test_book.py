"""Who calls: header fields to records, and everybody who is refused."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from example_counts import part_of
from tensorfusion.clock import timestamp
from tensorfusion.gateway.keys.book import KeyBook
from tensorfusion.gateway.keys.errors import InvalidKey, ModelNotAllowed, RouteNotAllowed, ScopeMissing
from tensorfusion.gateway.keys.record import KeyRecord, record_of
from tensorfusion.gateway.keys.secret import digest_of, new_secret
from tensorfusion.model.llm_key import KeyScope, LLMKeySpec, PreviousHash
from tensorfusion.testing.clock import VirtualClock

Make = Callable[..., KeyRecord]
KEY = "tf-" + "k" * 43
OTHER = "tf-" + "o" * 43
LATER = "2026-01-01T00:00:04Z"


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"Host", b"gateway"), (b"Authorization", f"Bearer {key}".encode())]


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Authorization", f"Bearer {KEY}".encode())],
        [(b"authorization", f"bearer   {KEY} ".encode())],
        [(b"X-Api-Key", KEY.encode())],
        [(b"api-key", KEY.encode())],
        [(b"x-portkey-api-key", f" {KEY}".encode())],
        [(b"x-portkey-api-key", KEY.encode()), (b"Authorization", b"Bearer sk-of-a-provider")],
        [(b"Authorization", b"Basic dXNlcjpwYXNz"), (b"api-key", KEY.encode())],
        [(b"Authorization", f"Bearer {KEY}".encode()), (b"x-api-key", KEY.encode())],
    ],
)
def test_a_key_is_found_wherever_clients_put_it(book: KeyBook, make: Make, fields: list[tuple[bytes, bytes]]) -> None:
    book.put("file", make(KEY))
    assert book.find(fields).id == "red/app"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "no API key: send it as `Authorization: Bearer tf-...`"),
        ([(b"Authorization", b"Bearer ")], "no API key"),
        ([(b"Authorization", b"Basic dXNlcjpwYXNz")], "no API key"),
        ([(b"x-api-key", b"")], "no API key"),
        (bearer(OTHER), "the API key tf-ooooo… is not known"),
        (bearer("sk-proj-abcdefghijklmnop"), "the API key is not known"),
        (bearer("tf-" + "k" * 42), "not known"),
        (bearer("tf-" + "k" * 44), "not known"),
        (bearer("tf-" + "k" * 5000), "not known"),
        ([(b"api-key", b"\xff\xfe\x00")], "not known"),
    ],
)
def test_whoever_is_not_known_is_refused(
    book: KeyBook, make: Make, fields: list[tuple[bytes, bytes]], said: str
) -> None:
    book.put("file", make(KEY))
    with pytest.raises(InvalidKey) as caught:
        book.find(fields)
    assert said in str(caught.value)
    assert (caught.value.status, caught.value.type, caught.value.code) == (
        401,
        "authentication_error",
        "invalid_api_key",
    )
    sent = b"".join(value for _, value in fields).decode(errors="replace").removeprefix("Bearer ")
    assert len(sent) <= 8 or sent[:9] not in str(caught.value)


def test_two_different_keys_in_one_request_are_refused(book: KeyBook, make: Make) -> None:
    book.put("file", make(KEY))
    book.put("file", make(OTHER, "other"))
    with pytest.raises(InvalidKey, match="two different keys"):
        book.find([(b"x-api-key", OTHER.encode()), *bearer(KEY)])


def test_a_disabled_key_is_refused_at_once_and_good_again_later(book: KeyBook, make: Make) -> None:
    book.put("file", make(KEY))
    book.find(bearer(KEY))
    book.put("file", make(KEY, disabled=True))
    with pytest.raises(InvalidKey, match="key red/app is disabled"):
        book.find(bearer(KEY))
    book.put("file", make(KEY))
    book.find(bearer(KEY))


async def test_a_key_ends_at_its_moment(book: KeyBook, make: Make, clock: VirtualClock) -> None:
    book.put("file", make(KEY, expires_at=timestamp(clock.now() + timedelta(seconds=10))))
    await clock.advance(9)
    book.find(bearer(KEY))
    await clock.advance(1)
    with pytest.raises(InvalidKey, match="ended 2026-01-01T00:00:10"):
        book.find(bearer(KEY))


async def test_a_rotated_key_is_good_beside_the_new_one_for_the_stated_time(
    book: KeyBook, make: Make, clock: VirtualClock
) -> None:
    until = timestamp(clock.now() + timedelta(hours=1))
    old = PreviousHash(hash=digest_of(KEY.encode()).hex(), until=until)
    book.put("file", make(KEY))
    book.put("file", make(OTHER, previous=(old,)))
    assert book.find(bearer(KEY)) is book.find(bearer(OTHER))
    await clock.advance(3600)
    book.find(bearer(OTHER))
    with pytest.raises(InvalidKey, match="was replaced, and was good until 2026-01-01T01:00:00"):
        book.find(bearer(KEY))


def test_both_keys_of_a_rotation_in_one_request_are_one_caller(book: KeyBook, make: Make) -> None:
    old = PreviousHash(hash=digest_of(KEY.encode()).hex(), until="2030-01-01T00:00:00Z")
    book.put("file", make(OTHER, previous=(old,)))
    assert book.find([(b"x-api-key", OTHER.encode()), *bearer(KEY)]).id == "red/app"


def test_nobody_takes_over_anothers_callers_by_writing_down_their_hash(
    book: KeyBook, make: Make, clock: VirtualClock
) -> None:
    mine = make(KEY, "mine", created_at=clock.now())
    book.put("objects", mine)
    book.put("objects", make(KEY, "thief", "blue", created_at=clock.now() + timedelta(seconds=1)))
    assert book.find(bearer(KEY)).id == "red/mine"
    book.put("objects", make(KEY, "mine", created_at=clock.now(), disabled=True))
    with pytest.raises(InvalidKey, match="red/mine is disabled"):
        book.find(bearer(KEY))
    book.put("file", make(KEY, "of-the-file", "blue"))
    assert book.find(bearer(KEY)).id == "blue/of-the-file"


def test_a_source_that_is_replaced_takes_its_missing_keys_away(book: KeyBook, make: Make) -> None:
    book.replace("file", [make(KEY, "a"), make(OTHER, "b")])
    assert len(book) == 2
    book.replace("file", [make(OTHER, "b")])
    assert [record.id for record in book.all()] == ["red/b"]
    with pytest.raises(InvalidKey):
        book.find(bearer(KEY))


def test_keys_that_were_used_are_told_once(book: KeyBook, make: Make) -> None:
    book.put("file", make(KEY))
    book.find(bearer(KEY))
    book.find(bearer(KEY))
    assert book.take_used() == {"red/app"}
    assert book.take_used() == frozenset()


@given(st.data())
@settings(max_examples=part_of(300), deadline=None)
def test_who_was_found_once_is_taken_for_found_only_as_long_as_it_would_be(data: st.DataObject) -> None:
    """Whatever happens to keys meanwhile: what ``again`` affirms is what ``find`` would say."""
    clock = VirtualClock()
    book = KeyBook(clock)
    fields = bearer(KEY)
    end = st.sampled_from([None, timestamp(clock.now() + timedelta(seconds=5))])

    def a_record() -> KeyRecord:
        own, old = data.draw(st.permutations([KEY, OTHER]))
        previous = data.draw(st.sampled_from([(), (PreviousHash(hash=digest_of(old.encode()).hex(), until=LATER),)]))
        spec = LLMKeySpec(
            hash=digest_of(own.encode()).hex(),
            previous=previous,
            disabled=data.draw(st.booleans()),
            expires_at=data.draw(end),
        )
        return record_of(spec, name=data.draw(st.sampled_from("ab")), namespace="red", at="spec")

    def found() -> KeyRecord | None:
        try:
            return book.find(fields)
        except InvalidKey:
            return None

    known: KeyRecord | None = None
    edition = book.edition
    for _ in range(data.draw(st.integers(2, 12))):
        match data.draw(st.sampled_from(["find", "put", "drop", "replace", "later"])):
            case "find":
                known, edition = found(), book.edition
            case "put":
                book.put(data.draw(st.sampled_from(["file", "objects"])), a_record())
            case "drop":
                book.drop("file", data.draw(st.sampled_from(["red/a", "red/b"])))
            case "replace":
                book.replace("file", [a_record()])
            case _:
                clock.stall(3)
        if known is not None and book.again(known, edition):
            assert found() is known


def test_a_key_is_good_for_its_scopes_models_and_routes(make: Make) -> None:
    record = make(KEY, models=("qwen3-*", "gpt-4?"), routes=("chat", "blue/*"), scopes=(KeyScope.INFER,))
    record.require_scope(KeyScope.INFER)
    for model in ("qwen3-8b", "gpt-4o", "qwen3-"):
        record.require_model(model)
    record.require_route("red/chat")
    record.require_route("blue/anything")
    for model in ("gpt-4", "gpt-4oo", "QWEN3-8b", "xqwen3-8b", "", "qwen3-8b\n" * 200):
        with pytest.raises(ModelNotAllowed) as caught:
            record.require_model(model)
        assert (caught.value.status, caught.value.code, caught.value.param) == (403, "model_not_allowed", "model")
    with pytest.raises(RouteNotAllowed, match="it may take red/chat, blue/\\*"):
        record.require_route("red/chats")
    with pytest.raises(ScopeMissing, match="wanted scope admin, found infer"):
        record.require_scope(KeyScope.ADMIN)


def test_a_key_without_lists_may_ask_every_model(make: Make) -> None:
    make(KEY).require_model("anything/at:all")
    make(KEY).require_route("any/where")


def test_a_glob_that_is_made_to_be_slow_is_not(make: Make) -> None:
    record = make(KEY, models=("*a" * 60 + "b",))
    with pytest.raises(ModelNotAllowed):
        record.require_model("a" * 256)


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=80)), max_size=6))
def test_no_fields_whatever_get_in_or_break_anything(fields: list[tuple[bytes, bytes]]) -> None:
    book = KeyBook(VirtualClock())
    with pytest.raises(InvalidKey):
        book.find(fields)


def test_nothing_that_holds_a_key_shows_it_or_its_hash(book: KeyBook, make: Make) -> None:
    secret = new_secret()
    record = make(secret.reveal(), prefix=secret.shown)
    book.put("file", record)
    with pytest.raises(InvalidKey) as unknown:
        KeyBook(VirtualClock()).find(bearer(secret.reveal()))
    with pytest.raises(ModelNotAllowed) as refused:
        make(secret.reveal(), models=("x",)).require_model("y")
    for text in (
        repr(record),
        repr(record.digests),
        repr(book),
        str(unknown.value),
        repr(unknown.value),
        str(refused.value),
        repr(refused.value),
    ):
        assert secret.reveal()[:9] not in text
        assert repr(secret.digest()) not in text
        assert secret.digest().hex() not in text
