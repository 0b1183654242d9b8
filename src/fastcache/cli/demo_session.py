"""One run of the demo between the start of its processes and their end: upload, read twice, tell."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from fastcache.cli.demo_data import samples
from fastcache.cli.demo_measure import Meter
from fastcache.cli.demo_processes import Child, DemoError
from fastcache.cli.demo_reads import Access, client_errors, reads, upload
from fastcache.cli.demo_report import Row, print_meaning, print_next, print_table
from fastcache.origin.control import OriginControl


def run(
    keys: tuple[str, str],
    origin: Child,
    proxy: Child,
    directory: Path,
    latency: float,
    bandwidth: int,
    scale: float,
    once: bool,
) -> None:
    """Everything the user sees; ``latency`` in seconds, ``bandwidth`` in bytes per second. Raises DemoError."""
    console = Console(highlight=False)
    endpoint, control_url = origin.addresses
    proxy_url, admin_url = proxy.addresses
    control = OriginControl(control_url)
    console.print(f"origin   {endpoint}  (verifies signatures; log: {origin.log})", soft_wrap=True)
    console.print(f"proxy    {proxy_url}  (cache and log in {directory})", soft_wrap=True)
    uploaded = _upload(console, Access(endpoint, *keys), scale)
    # Not before: the distance of the origin is part of what is shown, the upload of the data is not.
    with client_errors("the origin's settings could not be changed"):
        control.settings(latency=latency)
    far = f"{latency * 1000:g} ms" + (f", {bandwidth / 1e6:g} MB/s a connection" if bandwidth else "")
    console.print(f"reading everything twice through the proxy; the origin is {far} away\n", soft_wrap=True)
    access = Access(proxy_url, *keys)
    rows = _read_twice(console, access, uploaded, Meter(control, admin_url), directory, proxy)
    print_table(console, rows)
    console.print()
    print_meaning(console, rows, f"{latency * 1000:g} ms here")
    if not once:
        console.print()
        print_next(console, access, admin_url, next(key for key in uploaded if key.startswith("images/")))


def _upload(console: Console, access: Access, scale: float) -> dict[str, bytes]:
    with console.status("making sample data"):
        objects = list(samples(scale))
    size = sum(len(sample.data) for sample in objects)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("uploading sample data", total=size)
        uploaded = upload(access, objects, lambda count: progress.advance(task, count))
    console.print(f"uploaded {len(uploaded)} objects, {size / 1024**2:.0f} MiB, with boto3")
    return uploaded


def _read_twice(
    console: Console, access: Access, uploaded: dict[str, bytes], meter: Meter, directory: Path, proxy: Child
) -> list[Row]:
    rows = []
    with console.status("reading") as status:
        for read in reads(access, uploaded, directory):
            what = read.what.replace("\n", ", ")
            costs = []
            for turn in ("first", "second"):
                status.update(f"{what}: {turn} time")
                try:
                    with client_errors(f"{what}, {turn} time"):
                        cost, outcome = meter.measure(read.run)
                        read.check(outcome)
                except DemoError as error:
                    raise DemoError(f"{error}\n{proxy.describe('was in front')}") from error
                costs.append(cost)
            rows.append(Row(read.what, *costs))
    return rows
