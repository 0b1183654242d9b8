"""The cases. Each generator starts the servers of its group, checks bytes and results once, and yields contests or
findings.

fastcache and what it is compared with run on one core, the load on another. The origin behind fastcache runs beside the
load: it stands for another machine. So where the origin has work to do (revalidation, misses), it takes time from the
client, and fastcache's rate there is a lower bound; its CPU per request is not affected.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.cases.asking import revalidated
from bench.cases.beside import beside
from bench.cases.herd import herd
from bench.cases.hits import hits
from bench.cases.missing import misses
from bench.cases.setup import Setup
from bench.cases.single import idle, segment_sizes
from bench.cases.slices import assembled
from bench.cases.uploads import uploads
from bench.cases.verified import verified
from bench.cases.workers import several_workers
from bench.contests import Contest
from bench.findings import Finding


def cases(setup: Setup) -> Iterator[Contest | Finding]:
    """All that are wanted, one after the other; the servers of one live until the next is asked for."""
    yield from hits(setup)
    yield from verified(setup)
    yield from assembled(setup)
    yield from revalidated(setup)
    yield from beside(setup)
    yield from misses(setup)
    yield from herd(setup)
    yield from uploads(setup)
    yield from segment_sizes(setup)
    yield from several_workers(setup)
    yield from idle(setup)
