"""Credentials are renewed ahead of their end; nobody who asks for them ever waits, and old ones are used to the end."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.reactor import until

from fastcache.clock import ManualClock
from fastcache.errors import ConfigError, CredentialsError
from fastcache.protocol.sigv4 import Credentials
from fastcache.upstream.credentials import refreshed
from fastcache.upstream.credentials.refreshed import RefreshedCredentials
from fastcache.upstream.credentials.schedule import ADVISORY_WINDOW, LONGEST_BACK_OFF, back_off, renewal_time
from fastcache.upstream.credentials.source import Obtained

CANARY = b"canary-secret-0123456789"


class Issuer:
    """A source that issues numbered credentials good for ``life`` seconds, or fails as long as it is told to."""

    name = "the issuer"
    look_every: float | None = None

    def __init__(self, clock: ManualClock, life: float | None) -> None:
        self.clock = clock
        self.life = life
        self.issued = 0
        self.failure: CredentialsError | ConfigError | None = None
        self.attempts: list[float] = []
        self.has_changed = False
        self.stuck: asyncio.Event | None = None

    async def changed(self) -> bool:
        return self.has_changed

    async def load(self) -> Obtained:
        self.attempts.append(self.clock.boot())
        if self.stuck is not None:
            await self.stuck.wait()
        if self.failure is not None:
            raise self.failure
        self.has_changed = False
        self.issued += 1
        expires = None if self.life is None else self.clock.wall() + self.life
        return Obtained(Credentials(b"KEY%d" % self.issued, CANARY, CANARY), expires)


class Rig:
    """A provider in a world whose time passes only as the provider sleeps, a step at a time."""

    def __init__(self, life: float | None) -> None:
        self.clock = ManualClock()
        self.issuer = Issuer(self.clock, life)
        self.outcomes: list[str] = []
        self._until = self.clock.boot()
        self._more = asyncio.Event()
        self._asleep = asyncio.Event()
        self.at_each_step: Callable[[], None] = lambda: None
        self.provider = RefreshedCredentials(
            self.issuer, self.clock, on_refresh=self.outcomes.append, nap=self._nap, chance=lambda: 0.5
        )

    async def _nap(self, seconds: float) -> None:
        end = self.clock.boot() + seconds
        while self.clock.boot() < end:
            while self.clock.boot() >= self._until:
                self._asleep.set()
                self._more.clear()
                await self._more.wait()
            self.clock.advance(min(1.0, end - self.clock.boot(), self._until - self.clock.boot()))
            self.at_each_step()

    async def pass_time(self, seconds: float) -> None:
        self._until = self.clock.boot() + seconds
        self._asleep.clear()
        self._more.set()
        await asyncio.wait_for(self._asleep.wait(), 100)


@pytest.fixture
async def make_rig() -> Iterator[Callable[[float | None], Rig]]:
    rigs: list[Rig] = []

    def make(life: float | None) -> Rig:
        rigs.append(Rig(life))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.provider.close()


async def test_requests_across_many_renewals_never_meet_expired_credentials(make_rig) -> None:
    rig = make_rig(3600.0)
    await rig.provider.start()
    left: list[float] = []
    keys: set[bytes] = set()

    def request() -> None:
        keys.add(rig.provider.current().access_key)
        left.append(rig.provider.seconds_left())

    rig.at_each_step = request
    await rig.pass_time(24 * 3600.0)
    assert len(left) >= 24 * 3600
    assert min(left) > ADVISORY_WINDOW / 2
    assert 24 <= len(keys) <= 36
    assert rig.outcomes == ["renewed"] * len(keys)


async def test_old_credentials_are_used_to_their_end_while_the_source_fails_and_then_it_is_a_503(
    make_rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastcache.credentials")
    rig = make_rig(3600.0)
    await rig.provider.start()
    rig.issuer.failure = CredentialsError("it is down")
    await rig.pass_time(3599.0)
    assert rig.provider.current().access_key == b"KEY1"
    await rig.pass_time(3600.0)
    with pytest.raises(CredentialsError):
        rig.provider.current()
    assert rig.provider.seconds_left() == 0.0
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert "it is down" in caplog.text
    rig.issuer.failure = None
    await rig.pass_time(LONGEST_BACK_OFF)
    assert rig.provider.current().access_key == b"KEY2"
    assert rig.provider.seconds_left() > 3500
    assert caplog.records[-1].levelname == "INFO"
    assert len(caplog.records) == 3


async def test_attempts_that_fail_come_ever_more_slowly_and_never_stop(make_rig) -> None:
    rig = make_rig(3600.0)
    rig.issuer.failure = CredentialsError("it is down")
    await rig.provider.start()
    await rig.pass_time(600.0)
    gaps = [after - before for before, after in zip(rig.issuer.attempts, rig.issuer.attempts[1:], strict=False)]
    assert gaps[0] < 2
    assert all(gap <= LONGEST_BACK_OFF for gap in gaps)
    assert 20 <= len(gaps) <= 40
    assert rig.outcomes == ["failed"] * len(rig.issuer.attempts)
    with pytest.raises(CredentialsError) as caught:
        rig.provider.current()
    assert "it is down" not in str(caught.value)


async def test_credentials_that_never_end_are_asked_for_once(make_rig) -> None:
    rig = make_rig(None)
    await rig.provider.start()
    await rig.pass_time(7 * 24 * 3600.0)
    assert rig.issuer.issued == 1
    assert rig.provider.seconds_left() == math.inf


async def test_a_source_that_changed_is_read_at_its_next_look_and_one_that_did_not_is_left_alone(make_rig) -> None:
    rig = make_rig(None)
    rig.issuer.look_every = 5.0
    await rig.provider.start()
    await rig.pass_time(60.0)
    assert rig.issuer.issued == 1
    rig.issuer.has_changed = True
    await rig.pass_time(6.0)
    assert rig.provider.current().access_key == b"KEY2"
    rig.clock.set_wall(rig.clock.wall() - 7200.0)
    rig.issuer.has_changed = True
    await rig.pass_time(6.0)
    assert rig.provider.current().access_key == b"KEY3"


async def test_a_clock_set_forward_past_their_end_renews_at_the_next_look(make_rig) -> None:
    rig = make_rig(3600.0)
    await rig.provider.start()
    rig.clock.set_wall(rig.clock.wall() + 7200.0)
    with pytest.raises(CredentialsError):
        rig.provider.current()
    await rig.pass_time(20.0)
    assert rig.provider.current().access_key == b"KEY2"


async def test_a_source_that_gives_what_has_expired_gives_none(make_rig, caplog: pytest.LogCaptureFixture) -> None:
    rig = make_rig(-1.0)
    await rig.provider.start()
    with pytest.raises(CredentialsError):
        rig.provider.current()
    assert "clock" in caplog.text


async def test_a_setup_that_can_never_work_ends_the_start_and_is_a_failure_like_any_later(
    make_rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(3600.0)
    rig.issuer.failure = ConfigError("no such profile")
    with pytest.raises(ConfigError, match="no such profile"):
        await rig.provider.start()
    assert caplog.text == "", "whoever starts it tells of it"
    later = make_rig(3600.0)
    await later.provider.start()
    later.issuer.failure = ConfigError("no such profile")
    await later.pass_time(3500.0)
    assert later.provider.current().access_key == b"KEY1"


async def test_a_source_that_does_not_answer_delays_a_start_by_a_bounded_time_only(
    make_rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refreshed, "FIRST_WAIT", 0.05)
    rig = make_rig(3600.0)
    rig.issuer.stuck = asyncio.Event()
    await rig.provider.start()
    with pytest.raises(CredentialsError):
        rig.provider.current()
    rig.issuer.stuck.set()
    await until(lambda: rig.provider.seconds_left() > 0)
    assert rig.provider.current().access_key == b"KEY1"


async def test_a_closed_provider_asks_no_more(make_rig) -> None:
    rig = make_rig(3600.0)
    await rig.provider.start()
    await rig.provider.close()
    rig.clock.advance(3000.0)
    await asyncio.sleep(0.05)
    assert rig.issuer.issued == 1
    assert rig.provider.current().access_key == b"KEY1"


async def test_no_secret_is_in_what_is_logged_or_shown(make_rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rig = make_rig(3600.0)
    await rig.provider.start()
    rig.issuer.failure = CredentialsError("it is down")
    await rig.pass_time(8000.0)
    shown = caplog.text + repr(rig.provider) + repr(rig.provider._obtained) + str(rig.outcomes)
    assert "it is down" in shown
    assert CANARY.decode() not in shown


@given(life=st.floats(0, 1e6), chance=st.floats(0, 1, exclude_max=True))
def test_renewal_is_within_the_window_and_never_before_half_of_a_short_life(life: float, chance: float) -> None:
    now = 1.8e9
    when = renewal_time(now, now + life, chance)
    assert now + life / 2 - 1e-3 <= when <= now + life + 1e-3
    assert now + life - when <= ADVISORY_WINDOW + 1e-3


@given(failures=st.integers(1, 10**6), chance=st.floats(0, 1, exclude_max=True))
def test_backing_off_is_bounded_and_never_nothing(failures: int, chance: float) -> None:
    assert 0.5 <= back_off(failures, chance) <= LONGEST_BACK_OFF
