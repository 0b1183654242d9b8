"""The index of leases: looked up by the Host and path of a request, exactly as they were when the engine answered it.

The engine decides, ``publish`` takes down what it decided, and the hit branch honours it; nothing is decided here. A
lease ends when its time is up, a fence of its object is raised, the store changes anything it rests on (``revoke``), or
others need its room: the least used go first (a clock with one bit). A connection that is being answered keeps its
lease, and so the extents under it, until it is through; Python learns by ``take_released`` what it may let go then.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fastcache._core.dates cimport NO_DATE, read_http_date
from fastcache._core.extents cimport ExtentData, ExtentState, extents_of
from fastcache._core.fences cimport checked, fc_stripe
from fastcache._core.generations cimport Knowledge
from fastcache._core.handles cimport held
from fastcache._core.lease cimport (
    HEADERS_LIMIT, MEMO_BYTES, RESOURCE_LIMIT, add_grant, insert_extent, is_granted, lease_extent, lease_holds, lease_id,
    nanoseconds, place_text, reserve_extents,
)
from fastcache._core.ordering cimport Latest


cdef enum:
    MOST_LOOKS = 4096        # leases that the clock's hand passes for one that wants room


cdef class Leases(LeaseIndex):
    """At most ``capacity`` leases, ``memo_bytes`` of bodies kept in memory and ``extents`` extents held open. At most
    ``grants`` access keys are answered under one lease, where signatures are checked."""

    def __cinit__(self, Fences fences not None, uint32_t capacity, Py_ssize_t memo_bytes, Py_ssize_t extents, uint32_t grants=0):
        if memo_bytes < 0 or extents < 1 or grants > 1024:
            raise ValueError("an index needs room")
        self.fences = fences
        self.memo_limit = memo_bytes
        self.extent_limit = extents
        self.grant_room = grants
        self.kept = [None] * capacity
        self.given_back = []

    @property
    def memo_bytes(self) -> int:
        """Bytes of bodies kept in memory."""
        return self.memo_used

    @property
    def open_extents(self) -> int:
        """Extents that leases without a body in memory hold open; one of two leases counts twice."""
        return self.extents_used

    def publish(
        self, bytes host not None, bytes path not None, object_id, token, *, double proved_at, double get_ttl,
        double head_ttl, double until, bytes etag not None, int64_t size, bytes last_modified, bytes headers not None,
        bytes checksums not None, bytes not_modified not None, bytes resource, bint checksums_known, bytes memo,
        list extents not None, Latest latest=None, Knowledge knowledge=None, bytes version=None,
        bytes headers_without_vary=None,
    ):
        """Answer requests with this very Host and path from now on; the lease's id, or 0 when there is no room for it.

        ``object_id`` and ``token`` name the fences, ``proved_at`` is CLOCK_BOOTTIME seconds of the proof and the TTLs
        seconds from then; ``until`` ends it whatever they say. ``headers``, ``checksums`` and ``not_modified`` are
        fields with their CRLFs. ``resource`` is the path as XML text, None to leave errors to the engine. ``memo`` is
        the whole body or None. ``extents`` (ExtentState, ascending) stay open as long as the id is not released,
        unless there is a memo; more can be added. A lease of the same name is revoked.

        With ``latest``, the object's, each answer has to be proved by a 304 to its own request, which is judged by
        ``etag``, ``last_modified`` and ``version``; a Vary in it takes the place of a stored one
        (``headers_without_vary``). No TTL counts then. ``knowledge`` is that of all workers, where there are others.
        """
        cdef uint64_t epoch, object_value, bucket_value
        cdef bytes digest = checked(object_id.digest)
        cdef bytes bucket_digest = checked(object_id.bucket_digest)
        cdef list own = extents_of(extents)
        cdef Py_ssize_t memo_length = 0 if memo is None else len(memo)
        cdef Py_ssize_t total
        cdef Lease* lease
        cdef char* at
        cdef ExtentState extent
        epoch, object_value, bucket_value = token
        if (epoch != self.fences.epoch or size < 0 or len(headers) + len(checksums) > HEADERS_LIMIT
                or len(not_modified) > HEADERS_LIMIT or (memo is not None and memo_length != size)
                or memo_length > MEMO_BYTES):
            return 0
        if resource is not None and len(resource) > RESOURCE_LIMIT:
            resource = None
        lease = self._named(host, path)
        if lease != NULL:
            self.unlink(lease)
        if not self._find_room(memo_length, 0 if memo is not None else len(own)):
            return 0
        texts = (host, path, etag, headers, checksums, not_modified, resource, last_modified, version, headers_without_vary)
        total = self.grant_room * sizeof(uint32_t) + memo_length + sum([len(text) for text in texts if text is not None])
        lease = <Lease*>malloc(sizeof(Lease) + total + 1)
        if lease == NULL:
            raise MemoryError
        memset(lease, 0, sizeof(Lease))
        if not reserve_extents(lease, len(own)):
            free(lease)
            raise MemoryError
        at = <char*>lease + sizeof(Lease)
        lease.grants = <uint32_t*>at
        lease.grant_room = self.grant_room
        at += self.grant_room * sizeof(uint32_t)
        lease.host = place_text(&at, host)
        lease.path = place_text(&at, path)
        lease.etag = place_text(&at, etag)
        lease.headers = place_text(&at, headers)
        lease.checksums = place_text(&at, checksums)
        lease.not_modified = place_text(&at, not_modified)
        lease.resource = place_text(&at, b"" if resource is None else resource)
        if resource is None:
            lease.resource.length = -1
        if last_modified is not None:
            lease.last_modified_text = place_text(&at, last_modified)
        if version is not None:
            lease.version = place_text(&at, version)
        lease.headers_without_vary = (
            lease.headers if headers_without_vary is None else place_text(&at, headers_without_vary)
        )
        if memo is not None:
            lease.memo = at
            memcpy(at, <const char*>memo, memo_length)
        lease.object_fence = &self.fences.shared.objects[fc_stripe(<const uint8_t*>digest)]
        lease.bucket_fence = &self.fences.shared.buckets[fc_stripe(<const uint8_t*>bucket_digest)]
        lease.object_value = object_value
        lease.bucket_value = bucket_value
        lease.proved_at = nanoseconds(proved_at)
        lease.get_ttl = nanoseconds(get_ttl)
        lease.head_ttl = nanoseconds(head_ttl)
        lease.until = nanoseconds(until)
        lease.size = size
        lease.last_modified = (
            NO_DATE if last_modified is None else read_http_date(last_modified, len(last_modified), NO_DATE)
        )
        lease.checksums_known = checksums_known
        lease.refs = 1
        self.free_count -= 1
        lease.slot = self.free_slots[self.free_count]
        lease.generation = self.generations[lease.slot]
        self.slots[lease.slot] = lease
        self.kept[lease.slot] = []
        if latest is not None:
            lease.must_prove = 1
            lease.latest = &latest.number
            self.kept[lease.slot].append(latest)
        if knowledge is not None:
            lease.word = knowledge.word
            lease.hashed = knowledge.hashed
            self.kept[lease.slot].append(knowledge)
        self.memo_used += memo_length
        held.leases += 1
        for extent in own:
            self._keep_extent(lease, extent)
        self._link(lease)
        self.published += 1
        return lease_id(lease)

    def extend(self, uint64_t lease_id, list extents not None):
        """Add extents to a published lease without a memo. False when it is gone, or there is no room: revoke it.

        None of all may lie within another; those that are there already are passed over.
        """
        cdef Lease* lease = self.of_id(lease_id)
        cdef ExtentState extent
        cdef list fresh, own = extents_of(extents)
        if lease == NULL or not lease.published or lease.memo != NULL:
            return False
        fresh = [extent for extent in own if lease_extent(lease, (<ExtentState>extent).data.start) != &(<ExtentState>extent).data]
        lease.refs += 1  # room is made by revoking others, and this one must outlive that
        room = self._find_room(0, len(fresh)) and lease.published
        self.let_go(lease)
        if not room:
            return False
        if not reserve_extents(lease, len(fresh)):
            raise MemoryError
        for extent in fresh:
            self._keep_extent(lease, extent)
        return True

    cdef void _keep_extent(self, Lease* lease, ExtentState extent):
        insert_extent(lease, &extent.data)
        held.leased_extents += 1
        if lease.memo == NULL:
            self.extents_used += 1
        extent.watch_residency()
        (<list>self.kept[lease.slot]).append(extent)

    def grant(self, uint64_t lease_id, uint64_t generation, uint32_t slot):
        """Answer requests signed by the key in ``slot`` of a generation of AccessKeys under a lease, if it has not ended.
        Grants of another generation are void."""
        cdef Lease* lease = self.of_id(lease_id)
        if lease != NULL and lease.published:
            add_grant(lease, generation, slot)

    def is_granted(self, uint64_t lease_id, uint64_t generation, uint32_t slot) -> bool:
        """Whether a lease is published and for the key in ``slot`` of ``generation``."""
        cdef Lease* lease = self.of_id(lease_id)
        return lease != NULL and lease.published and is_granted(lease, generation, slot)

    def revoke(self, uint64_t lease_id):
        """End a lease; nothing happens when it has ended."""
        cdef Lease* lease = self.of_id(lease_id)
        if lease != NULL and lease.published:
            self.unlink(lease)

    def revoke_all(self):
        """End every lease: the rules have changed."""
        cdef uint32_t i
        for i in range(self.capacity):
            if self.slots[i] != NULL and self.slots[i].published:
                self.unlink(self.slots[i])

    def expire(self, double now, uint32_t looks):
        """End leases among the next ``looks`` slots whose time (CLOCK_BOOTTIME seconds) is up; call it regularly."""
        cdef Lease* lease
        cdef int64_t at = nanoseconds(now)
        for _ in range(looks if looks < self.capacity else self.capacity):
            self.hand = self.hand + 1 if self.hand + 1 < self.capacity else 0
            lease = self.slots[self.hand]
            if lease != NULL and lease.published and not lease_holds(lease, at):
                self.unlink(lease)

    def take_released(self):
        """The ids of leases that nobody uses any more; what was kept open for them may be let go."""
        cdef list ids
        self._reclaim()
        ids, self.given_back = self.given_back, []
        return ids

    cdef void _reclaim(self):
        cdef uint32_t slot
        cdef Lease* lease
        while self.released_count:
            self.released_count -= 1
            slot = self.released[self.released_count]
            lease = self.slots[slot]
            self.given_back.append(lease_id(lease))
            if lease.memo != NULL:
                self.memo_used -= lease.size
            else:
                self.extents_used -= lease.extent_count
            held.leases -= 1
            held.leased_extents -= lease.extent_count
            self.slots[slot] = NULL
            self.kept[slot] = None
            free(lease.extents)
            free(lease)
            self.generations[slot] += 1
            if self.generations[slot] == 0:
                self.generations[slot] = 1
            self.free_slots[self.free_count] = slot
            self.free_count += 1

    def lookup(self, bytes host not None, bytes path not None) -> int:
        """The id under which requests with this Host and path are answered, 0 when they are not."""
        cdef Lease* lease = self._named(host, path)
        return 0 if lease == NULL else lease_id(lease)

    def holds(self, uint64_t lease_id, double now) -> bool:
        """Whether a lease is published and still good at ``now`` (CLOCK_BOOTTIME seconds)."""
        cdef Lease* lease = self.of_id(lease_id)
        return lease != NULL and lease.published and lease_holds(lease, nanoseconds(now))

    def covers(self, uint64_t lease_id, int64_t start, int64_t end) -> bool:
        """Whether the lease can answer for bytes ``start`` to ``end``."""
        cdef Lease* lease = self.of_id(lease_id)
        cdef ExtentData* extent
        if lease == NULL:
            return False
        if lease.memo != NULL:
            return True
        while start < end:
            extent = lease_extent(lease, start)
            if extent == NULL:
                return False
            start = extent.end
        return True

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef bint _find_room(self, Py_ssize_t memo, Py_ssize_t extents):
        """Whether there is room, after revoking what was not used since the clock's hand last passed, if need be.

        What a connection still uses is given back later, and the hand passes a bounded number of leases at a time, so
        that room may be lacking although something could go.
        """
        cdef int looks = MOST_LOOKS
        cdef bint crowded_memo, crowded_extents
        cdef Lease* lease
        if memo > self.memo_limit or extents > self.extent_limit:
            return False
        while True:
            self._reclaim()
            crowded_memo = self.memo_used + memo > self.memo_limit
            crowded_extents = self.extents_used + extents > self.extent_limit
            if not crowded_memo and not crowded_extents and self.free_count:
                return True
            while looks:
                looks -= 1
                self.hand = self.hand + 1 if self.hand + 1 < self.capacity else 0
                lease = self.slots[self.hand]
                if lease == NULL or not lease.published:
                    continue
                if lease.used:
                    lease.used = 0
                elif (not self.free_count or (crowded_memo and lease.memo != NULL)
                        or (crowded_extents and lease.memo == NULL and lease.extent_count)):
                    self.unlink(lease)
                    break
            if not looks:
                return False
