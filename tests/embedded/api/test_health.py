"""Health that is not good: the contract suite has the healthy server's answers."""

from tensorfusion.embedded.health import Health, is_health


def lines(health: Health, path: str, query: bytes = b"") -> tuple[int, list[str]]:
    answer = health.answer(path, query)
    return answer.status, answer.body.decode().splitlines()


def test_a_server_that_is_not_ready_lives_and_says_what_is_missing() -> None:
    health = Health(stored=lambda: True, ready=lambda: False)
    assert lines(health, "/livez") == (200, ["ok"])
    status, said = lines(health, "/readyz")
    assert status == 500
    assert "[-]informer-sync failed: reason withheld" in said
    assert "[+]etcd ok" in said
    assert said[-1] == "readyz check failed"


def test_a_failing_check_can_be_excluded_and_asked_for_alone() -> None:
    health = Health(stored=lambda: False, ready=lambda: True)
    assert lines(health, "/livez")[0] == 500
    assert lines(health, "/livez", b"exclude=etcd") == (200, ["ok"])
    assert lines(health, "/livez/etcd") == (500, ["internal server error: reason withheld"])
    assert lines(health, "/livez/ping") == (200, ["ok"])


def test_only_the_three_roots_and_what_is_below_them_are_health() -> None:
    assert all(is_health(path) for path in ("/healthz", "/livez/etcd", "/readyz/x/y", "/livez/"))
    assert not any(is_health(path) for path in ("/healthzx", "/api/v1/healthz", "/", "livez"))
