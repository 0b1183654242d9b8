"""``fastcache bench``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console

from fastcache._core.load import Load, StalledError
from fastcache._core.load_task import MAX_DEPTH, MODES, Task
from fastcache.cli import bench_plan as plan
from fastcache.cli.bench_report import figures, print_table
from fastcache.cli.options import Parsed
from fastcache.lifecycle import units
from fastcache.load.connections import opener
from fastcache.load.heads import CLIENTS

_LONGEST_SIGNED = 600.0
"""Seconds: signatures are made once, and S3 takes them for 15 minutes."""
_DEFAULT_DURATION = 10.0


@dataclass(frozen=True, slots=True)
class _Load:
    """The options that say how it is asked, whatever it is."""

    connections: int
    seconds: float | None
    count: int | None
    mode: str
    depth: int
    rate: float
    seed: int
    spin: bool
    congestion: str | None


@click.command()
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option(
    "--connections", "-c", type=click.IntRange(1, 100_000), default=32, show_default=True, help="Connections."
)
@click.option(
    "--duration",
    "-d",
    type=Parsed("duration", units.parse_duration),
    help="For how long, such as 10s.  [default: 10s, no bound with --requests]",
)
@click.option("--requests", "-n", type=click.IntRange(min=1), help="How many requests at most.")
@click.option(
    "--range-size",
    type=Parsed("size", units.parse_size),
    help="Ask for aligned ranges of this size at random, such as 64KiB, instead of whole objects.",
)
@click.option(
    "--mode",
    type=click.Choice(list(MODES)),
    default="discard",
    show_default=True,
    help="What becomes of bodies: dropped in the kernel, copied, or compared byte by byte.",
)
@click.option(
    "--against",
    metavar="FILE|pattern",
    help="With --mode verify: a file with the object's bytes, or 'pattern' for objects of fastcache's own origin.",
)
@click.option(
    "--client",
    type=click.Choice(list(CLIENTS)),
    default="boto3",
    show_default=True,
    help="Whose request heads are sent.",
)
@click.option("--anonymous", is_flag=True, help="Do not sign, whatever is in the environment.")
@click.option("--warm", is_flag=True, help="Read every object once before it is measured.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Requests a second, whatever the answers do.")
@click.option("--depth", type=click.IntRange(1, MAX_DEPTH), default=1, show_default=True, help="Requests under way.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the random order.")
@click.option("--spin", is_flag=True, help="Never sleep: for a server on the same machine, on another core.")
@click.option("--tcp-congestion", metavar="NAME", help="Congestion control, such as cubic.")
@click.option("--json", "as_json", is_flag=True, help="Figures for programs; times in seconds.")
def bench(
    urls: tuple[str, ...],
    connections: int,
    duration: float | None,
    requests: int | None,
    range_size: int | None,
    mode: str,
    against: str | None,
    client: str,
    anonymous: bool,
    warm: bool,
    rate: float | None,
    depth: int,
    seed: int,
    spin: bool,
    tcp_congestion: str | None,
    as_json: bool,
) -> None:
    """Measure a server: read objects from it over many connections, as S3 clients do.

    URLs are those of objects on one server, such as http://127.0.0.1:3000/bucket/key. Requests are signed with
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION of the environment, if they are set. The
    exit status is 1 when an answer was not what was asked for.
    """
    if (mode == "verify") != (against is not None):
        raise click.UsageError("--mode verify and --against go together")
    try:
        signer = None if anonymous else plan.credentials(os.environ)
        seconds = _seconds(duration, requests, signed=signer is not None)
        how = _Load(connections, seconds, requests, mode, depth, rate or 0.0, seed, spin, tcp_congestion)
        asker, paths = plan.client_for(urls, client, signer)
        targets = plan.find(asker, paths)
        expected = plan.contents(targets, against)
        asked = plan.requests(asker, targets, expected, range_size, seed)
        if warm:
            _warm(asker, targets)
        task, idle = _measure(asker, asked, how)
    except (plan.PlanError, StalledError, OSError) as error:
        raise click.ClickException(str(error)) from None
    found = figures(task, idle)
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        print_table(Console(), found)
    if task.wrong is not None:
        index, offset = task.wrong
        click.echo(
            f"fastcache: the first wrong byte: offset {offset:,} in answer to\n{_told(asked[index][0])}", err=True
        )
    sys.exit(0 if found.good else 1)


def _seconds(duration: float | None, requests: int | None, *, signed: bool) -> float | None:
    """How long the run may last; None for as long as the requests take. Raises PlanError."""
    if signed and duration is not None and duration > _LONGEST_SIGNED:
        raise plan.PlanError(f"signatures are made once: --duration may be {_LONGEST_SIGNED:g} s at most")
    if duration is None and requests is None:
        return _DEFAULT_DURATION
    return _LONGEST_SIGNED if signed and duration is None else duration


def _warm(asker: plan.Client, targets: list[plan.Target]) -> None:
    whole = Task(plan.requests(asker, targets, [None] * len(targets), None, 0), count=len(targets))
    load = Load()
    try:
        load.run({load.add(opener(asker.address), 1): whole})
    finally:
        load.close()


def _measure(asker: plan.Client, asked: list[Any], how: _Load) -> tuple[Task, float | None]:
    task = Task(asked, mode=how.mode, depth=how.depth, seed=how.seed, rate=how.rate, count=how.count)
    load = Load()
    try:
        crowd = load.add(opener(asker.address, congestion=how.congestion), how.connections)
        return task, load.run({crowd: task}, seconds=how.seconds, spinning=how.spin)
    except KeyboardInterrupt:
        return task, None  # what was measured until now is told
    finally:
        load.close()


def _told(head: bytes) -> str:
    """The request line and the Range; nothing of a signature."""
    lines = head.decode("latin-1").split("\r\n")
    return "\n".join([lines[0], *(line for line in lines if line.lower().startswith("range:"))])
