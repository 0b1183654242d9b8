"""Run by Swift's own Python: python swift_rings.py DIRECTORY PORT_OBJECT PORT_CONTAINER PORT_ACCOUNT.

Writes the three rings of a Swift with one device, in one process instead of nine runs of swift-ring-builder.
"""

import sys
from pathlib import Path

from swift.common.ring import RingBuilder


def write_ring(path: Path, port: int) -> None:
    builder = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
    builder.add_dev(
        {
            "id": 0,
            "region": 1,
            "zone": 1,
            "ip": "127.0.0.1",
            "port": port,
            "replication_ip": "127.0.0.1",
            "replication_port": port,
            "device": "d1",
            "weight": 1.0,
            "meta": "",
        }
    )
    builder.rebalance()
    builder.get_ring().save(str(path))


for name, port in zip(("object", "container", "account"), sys.argv[2:], strict=True):
    write_ring(Path(sys.argv[1], f"{name}.ring.gz"), int(port))
