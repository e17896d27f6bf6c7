"""What writes under way were given is nobody else's until they are over."""

from tensorfusion.embedded.holds import Holds


def test_what_is_held_is_held_from_others_until_each_write_is_over() -> None:
    held: Holds[str] = Holds()
    first, second = held.add("a", "x"), held.add("a", "y")
    assert (list(held.of_others("b")), list(held.of_others("a"))) == (["x", "y"], [])
    first()
    assert list(held.of_others("b")) == ["y"]
    first()
    second()
    assert list(held.of_others("b")) == []


def test_a_durable_version_ends_what_it_has_and_leaves_what_later_writes_were_given() -> None:
    held: Holds[str] = Holds()
    first = held.add("a", "x")
    held.add("a", "y")
    held.stored("a", lambda given: given == "x")
    assert list(held.of_others("b")) == ["y"]
    first()
    held.drop("a")
    held.drop("a")
    assert list(held.of_others("b")) == []
