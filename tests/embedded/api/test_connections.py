"""Connections that are over: nothing of them stays, least of all the buffers of their TLS."""

import gc
import http.client
import ssl
import time

from tensorfusion.embedded.listeners import _Protocol
from tensorfusion.embedded.watching import Watch
from tensorfusion.kube.config import load_kubeconfig
from tensorfusion.kube.credentials import tls_context
from tensorfusion.testing.running_api import RunningApi

TIMES = 12


def alive(kind: type) -> int:
    return sum(isinstance(one, kind) for one in gc.get_objects())


def settles_at(kind: type, most: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(kind) > most:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_connection_that_is_over_is_freed_without_the_collector(running: RunningApi) -> None:
    connection = load_kubeconfig(running.kubeconfig)
    context: ssl.SSLContext = tls_context(connection)
    host, _, port = connection.server.removeprefix("https://").rpartition(":")
    headers = {"Authorization": f"Bearer {running.token}"}

    def talk() -> None:
        """A list, then a watch that is left in the middle."""
        client = http.client.HTTPSConnection(host, int(port), context=context, timeout=20)
        client.request("GET", "/api/v1/namespaces", headers=headers)
        client.getresponse().read()
        client.request("GET", "/api/v1/namespaces?watch=1", headers=headers)
        answer = client.getresponse()
        assert answer.readline()
        answer.close()
        client.close()

    talk()
    gc.collect()
    gc.disable()
    try:
        before = alive(_Protocol), alive(Watch)
        for _ in range(TIMES):
            talk()
        assert settles_at(_Protocol, before[0] + 1)
        assert settles_at(Watch, before[1] + 1)
    finally:
        gc.enable()
