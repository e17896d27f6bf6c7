"""Whether the server is alive and ready: named checks, together or one by one, and how it is said.

All of them together need no user and no right: whoever restarts a server asks before there is anybody. A check is a
function that says yes or no; why it says no is in the log, not in the answer.

Source: Kubernetes API health endpoints; the wording of the answers by observation.
"""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs

from tensorfusion.embedded.responses import NOSNIFF, PAGE_NOT_FOUND, TEXT, Response

Check = Callable[[], bool]
Checks = Mapping[str, Check]
ROOTS = ("/healthz", "/livez", "/readyz")
_OF_READINESS = ("informer-sync", "shutdown")


def is_health(path: str) -> bool:
    """Whether a path asks for health."""
    return path.startswith(ROOTS) and f"/{path.split('/', 2)[1]}" in ROOTS


class Health:
    """The checks of one server. ``stored`` says whether the store is open, ``ready`` whether start-up is done and no
    shutdown is under way."""

    def __init__(self, *, stored: Check, ready: Check) -> None:
        alive: Checks = {"ping": _always, "log": _always, "etcd": stored}
        readiness: Checks = {**alive, **dict.fromkeys(_OF_READINESS, ready)}
        self._of = {"/healthz": alive, "/livez": alive, "/readyz": readiness}

    def paths(self) -> list[str]:
        """Every path that there is an answer at."""
        return [root if not name else f"{root}/{name}" for root, checks in self._of.items() for name in ("", *checks)]

    def answer(self, path: str, query: bytes) -> Response:
        """What is said at a path; ``query`` may ask for details and exclude checks."""
        parts = path[1:].split("/")
        checks = self._of.get(f"/{parts[0]}", {})
        match parts:
            case [root]:
                return _together(root, checks, parse_qs(query.decode("latin-1"), keep_blank_values=True))
            case [_, name] if name in checks:
                if checks[name]():
                    return Response(b"ok", media_type=TEXT)
                return Response(b"internal server error: reason withheld\n", 500, TEXT, headers=NOSNIFF)
            case _:
                return PAGE_NOT_FOUND


def _together(root: str, checks: Checks, asked: Mapping[str, Sequence[str]]) -> Response:
    excluded, lines, healthy = set(asked.get("exclude", ())), [], True
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif check():
            lines.append(f"[+]{name} ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld")
            healthy = False
    unknown = ",".join(f'"{name}"' for name in sorted(excluded - checks.keys()))
    if unknown:
        lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}")
    if healthy and "verbose" not in asked:
        return Response(b"ok", media_type=TEXT, headers=NOSNIFF)
    lines.append(f"{root} check {'passed' if healthy else 'failed'}")
    text = "\n".join(lines) + "\n"
    return Response(text.encode("utf-8", "replace"), 200 if healthy else 500, TEXT, headers=NOSNIFF)


def _always() -> bool:
    return True
