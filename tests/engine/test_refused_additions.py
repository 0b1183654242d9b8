"""An origin that refuses a validator of ours is asked without one for a while, not for ever (SEMANTICS 13)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from fastcache.clock import ManualClock
from fastcache.engine.context import Context
from fastcache.model import OriginId


def test_a_refusal_is_remembered_for_ten_minutes() -> None:
    clock = ManualClock()
    anything = cast(Any, SimpleNamespace())
    ctx = Context(
        origin=anything,
        addressing=anything,
        pool=anything,
        store=None,
        fences=anything,
        clock=clock,
        metrics=anything,
        access_log=anything,
        authorization=anything,
        ttls=anything,
        follow_wait=1.0,
        fill_limits=anything,
        window_budget=anything,
        max_requests=1,
    )
    origin, other = OriginId("http", "origin.test", 80), OriginId("http", "other.test", 80)
    assert not ctx.refuses_additions(origin)
    ctx.note_refused_addition(origin)
    clock.advance(599)
    assert ctx.refuses_additions(origin)
    assert not ctx.refuses_additions(other)
    clock.advance(2)
    assert not ctx.refuses_additions(origin)
