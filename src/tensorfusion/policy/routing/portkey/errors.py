"""What is wrong with a configuration, and where in it."""

from tensorfusion.errors import InvalidRequest


class InvalidConfig(InvalidRequest):
    """``path`` is the place in the configuration, such as ``targets[1].retry.attempts``; empty for all of it."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"portkey config: {path}: {problem}" if path else f"portkey config: {problem}")


def kind_of(value: object) -> str:
    """The JSON type of a value, for errors: the value itself may be a secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
