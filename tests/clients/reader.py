"""What a client that reads is to the tests."""

from __future__ import annotations

import random
from typing import ClassVar

from tests.clients.sites import Site
from tests.harness.tools import require_tool


class Reader:
    """A client at one endpoint; several threads may use it at once."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Names of ``tests.harness.tools.TOOLS``."""
    large: ClassVar[int] = 9 * 1024 * 1024
    """An object that takes several requests: many clients ask for 8 MiB at most."""
    herd_costs: ClassVar[float] = 1.0
    """What many first readers move at most, in units of what one does."""
    starts_slowly: ClassVar[bool] = False
    """It is tried in fewer ways where time is short."""

    def __init__(self, site: Site, *, direct: bool = False) -> None:
        require_tool(*self.needs)
        self.site = site
        self.direct = direct
        self.endpoint = site.origin_endpoint if direct else site.endpoint

    @property
    def netloc(self) -> str:
        return self.endpoint.removeprefix("http://")

    def whole(self, bucket: str, key: str) -> bytes:
        raise NotImplementedError

    @staticmethod
    def body(seed: str, size: int) -> bytes:
        """An object of about ``size`` bytes that this client can read."""
        return random.Random(seed).randbytes(size)

    @staticmethod
    def result(body: bytes) -> bytes:
        """What ``whole`` gives for the object ``body``."""
        return body


class RangeReader(Reader):
    """A client that can also read a part of an object."""

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        """``end`` is exclusive."""
        raise NotImplementedError
