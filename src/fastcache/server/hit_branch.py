"""The compiled hit branch, put together: where it counts, what it logs, and the texts it answers errors with."""

from __future__ import annotations

from functools import partial

from fastcache._core.hit_log import HitLog
from fastcache._core.hits import Hits
from fastcache._core.leases import Leases
from fastcache._core.origins import Origins
from fastcache._core.sigv4 import Verifier
from fastcache.engine.exchange import HOST_ID
from fastcache.engine.serving import REFUSALS
from fastcache.model import Result
from fastcache.observe.access_log import AccessLog, Mode
from fastcache.observe.metrics import SENT_BYTES_SLOT, Metrics
from fastcache.protocol.plain import plain_fields
from fastcache.protocol.requests import HeadLimits
from fastcache.protocol.s3errors import error_pieces

_LOG_BYTES = 4 * 1024 * 1024
"""Records that wait for the access log; beyond it hits are the engine's."""


def build_hits(
    leases: Leases, metrics: Metrics, access_log: AccessLog, limits: HeadLimits, *, parser: str,
    verifier: Verifier | None = None, origins: Origins | None = None,
) -> tuple[Hits, HitLog | None]:  # fmt: skip
    """The branch for one reactor, and where it notes hits down if the access log wants to know of them. With a
    ``verifier`` it answers only whose signature that has checked. ``origins`` are asked about each hit; without them
    only leases that need no proof are answered from."""
    plain = partial(plain_fields, limits=limits, any_query=verifier is not None)
    result = Result.HIT if origins is None else Result.REVALIDATED
    log = hit_log(access_log.mode)
    hits = Hits(
        leases,
        metrics.counters,
        (
            metrics.request_seconds[result],
            metrics.first_byte_seconds[result],
            metrics.request_seconds[Result.ERROR],
            metrics.first_byte_seconds[Result.ERROR],
        ),
        metrics.hit_slots(result),
        metrics.hit_slots(Result.ERROR),
        SENT_BYTES_SLOT,
        [error_pieces(*REFUSALS[status], HOST_ID.decode()) for status in (412, 416)],
        origins=origins,
        origin_slots=metrics.proof_slots(),
        log=log,
        parser=plain if parser == "httptools" else None,
        max_fields=limits.fields,
        verifier=verifier,
    )
    return hits, log


def hit_log(mode: Mode) -> HitLog | None:
    """What notes hits down for an access log in ``mode``, and a little more than it wants."""
    return None if mode is Mode.OFF else HitLog(_LOG_BYTES, only_failures=mode is not Mode.ALL)
