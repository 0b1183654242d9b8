"""An object's directory was changed by another process: what memory says of it becomes what was found there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcache.model import HeadRecord
from fastcache.policy.storable import merge_known
from fastcache.storage.entry import Entry, Extent
from fastcache.storage.loading import Found, FoundExtent

if TYPE_CHECKING:
    from fastcache.storage.disk import ObjectDisk


def reconcile(disk: ObjectDisk, entry: Entry, found: Found) -> None:
    """Take out of ``entry`` what is not on the disk any more, and out of ``found`` what the entry has already."""
    disk.space.free(entry.overhead)
    entry.overhead = 0
    tag = None if found.head is None else found.head.generation.tag
    on_disk = {(e.start, e.end): e for e in found.extents}
    gone = [
        extent
        for extent in (*entry.extents, *entry.doomed)
        if extent.linked and (extent.tag != tag or extent.whole != found.whole or _key(extent) not in on_disk)
    ]
    if gone:
        entry.revoke_leases()
    for extent in gone:
        lose(disk, entry, extent)
    if found.voided and not (
        entry.validation is not None and disk.fences.is_current(entry.object_id, entry.validation[1])
    ):
        entry.voided = True
    known = {_key(extent) for extent in (*entry.extents, *entry.doomed) if extent.linked}
    found.extents = [e for e in found.extents if _key(e) not in known]
    _choose_head(disk, entry, found)


def lose(disk: ObjectDisk, entry: Entry, extent: Extent) -> None:
    """Another process took the extent's name away; who reads from it goes on."""
    if not extent.doomed:
        entry.extents.remove(extent.start, extent)
        disk.queues.remove(extent)
        extent.doomed = True
    elif extent in entry.doomed:
        entry.doomed.remove(extent)
    extent.linked = False
    disk.hold_while_open(extent)
    disk.descriptors.drop_idle(extent)
    disk.release(extent)


def _choose_head(disk: ObjectDisk, entry: Entry, found: Found) -> None:
    """The later answer counts. What it leaves behind is removed by whoever settles next."""
    mine, theirs = entry.head, found.head
    if theirs is None or mine is None:
        return
    if mine.generation.tag == theirs.generation.tag:
        entry.head = _merged(mine, theirs)
    elif mine.stored_at < theirs.stored_at:
        disk.doom(entry, entry.extents.clear())
        entry.head = None  # taken from the disk like any other, to be proved before it is used
        entry.validation = None


def _merged(mine: HeadRecord, theirs: HeadRecord) -> HeadRecord:
    return merge_known(mine, theirs) if mine.stored_at >= theirs.stored_at else merge_known(theirs, mine)


def _key(extent: Extent | FoundExtent) -> tuple[int, int]:
    return extent.start, extent.end
