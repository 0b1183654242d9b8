"""Clients that never stop asking."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from tests.front.conftest import Front, content
from tests.harness.raw import IncompleteResponseError


class Reading:
    """Clients that ask all the time, over connections that they keep and over new ones, and check every byte.

    ``cut``: how many answers and connections broke off, where that is allowed; anything else is a failure.
    """

    def __init__(self, front: Front, keys: list[str], size: int, clients: int = 6, *, may_break: bool = False) -> None:
        self.front = front
        self.may_break = may_break
        self.cut = 0
        self.keys = keys
        self.size = size
        self.failures: list[str] = []
        self.answers = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self) -> Reading:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, number: int) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._use_a_connection(number)
                except (IncompleteResponseError, ConnectionError):
                    if not self.may_break:
                        raise
                    self.cut += 1
        except Exception as error:  # noqa: BLE001 - told by the test
            self.failures.append(f"client {number}: {error!r}")

    def _use_a_connection(self, number: int) -> None:
        with self.front.connect() as client:
            for key in self._keys(number):
                client.send(self.front.request(key))
                response = client.read_response()
                assert response.status == 200, response
                assert response.body == content(key, 0, self.size), key
                self.answers += 1
                if response.get(b"connection") == b"close" or self._stop.is_set():
                    return

    def _keys(self, number: int) -> Iterator[str]:
        # Odd ones make a new connection for each few requests, even ones keep theirs.
        for turn in range(3 if number % 2 else 1_000_000):
            yield self.keys[(turn + number) % len(self.keys)]
