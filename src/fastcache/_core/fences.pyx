"""Fences: counters raised by every write or invalidation, shared by all processes of one supervisor.

A token is read *before* the origin request that proves something about an object is sent. When the answer is to be
published, ``is_current`` tells whether the object (or its bucket) was written or invalidated in between. Objects share
65,536 counters by digest; a collision only forces something to be asked again.
"""

from libc.stdint cimport uint8_t, uint64_t
from posix.types cimport off_t
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from libc.errno cimport errno

import os

from fastcache.model import FenceToken

SIZE = sizeof(fc_fences)


cdef bytes checked(bytes digest):
    """A digest whose first bytes may be read, whoever brought it."""
    if digest is None or len(digest) != 32:
        raise ValueError("a digest has 32 bytes")
    return digest


cdef class Fences:
    """The fences of one supervisor life. ``epoch`` is random, so that a token of another life is never current.

    ``fd`` and ``offset`` (of a page) say where they lie in memory that is shared; without, they are this process's own.
    """

    def __cinit__(self, fd=None, uint64_t offset=0):
        cdef void *address
        cdef uint64_t epoch
        if fd is None:
            address = mmap(NULL, sizeof(fc_fences), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        else:
            # A shorter file would turn a read behind its end into SIGBUS.
            if os.fstat(fd).st_size < <Py_ssize_t>(offset + sizeof(fc_fences)):
                raise ValueError(f"shared fences need {SIZE} bytes of the file")
            address = mmap(NULL, sizeof(fc_fences), PROT_READ | PROT_WRITE, MAP_SHARED, <int>fd, <off_t>offset)
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno))
        self.shared = <fc_fences *>address
        if fc_settle(&self.shared.magic, FC_FENCES_MAGIC) != FC_FENCES_MAGIC:
            raise ValueError("the shared memory does not hold fences")
        epoch = 0
        while epoch == 0:
            epoch = int.from_bytes(os.urandom(8), "little")
        self.epoch = fc_settle(&self.shared.epoch, epoch)

    def __dealloc__(self):
        if self.shared != NULL:
            munmap(self.shared, sizeof(fc_fences))

    def token(self, object_id):
        """The fences of ``object_id`` as they stand now."""
        cdef bytes digest = checked(object_id.digest)
        cdef bytes bucket = checked(object_id.bucket_digest)
        return FenceToken(
            self.epoch,
            fc_load(&self.shared.objects[fc_stripe(<const uint8_t *>digest)]),
            fc_load(&self.shared.buckets[fc_stripe(<const uint8_t *>bucket)]),
        )

    def raise_object(self, object_id):
        """Make every token of ``object_id`` read so far outdated, in all processes. The token that this very raise
        made: it is not current any more if anybody else has raised since."""
        cdef bytes digest = checked(object_id.digest)
        cdef bytes bucket = checked(object_id.bucket_digest)
        cdef uint64_t bucket_fence = fc_load(&self.shared.buckets[fc_stripe(<const uint8_t *>bucket)])
        cdef uint64_t fence = fc_raise(&self.shared.objects[fc_stripe(<const uint8_t *>digest)]) + 1
        return FenceToken(self.epoch, fence, bucket_fence)

    def raise_if_current(self, object_id, token):
        """Raise the object's fence if nothing was raised since ``token``, in one step: the token that follows it.
        None: something was, and nothing is raised now."""
        cdef uint64_t epoch, object_fence, bucket_fence
        epoch, object_fence, bucket_fence = token
        cdef bytes digest = checked(object_id.digest)
        cdef bytes bucket = checked(object_id.bucket_digest)
        if epoch != self.epoch or fc_load(&self.shared.buckets[fc_stripe(<const uint8_t *>bucket)]) != bucket_fence:
            return None
        # A bucket that is raised from here on makes the new token outdated, too.
        if not fc_replace(&self.shared.objects[fc_stripe(<const uint8_t *>digest)], &object_fence, object_fence + 1):
            # A write's raise came between; `object_fence` is what was found then.
            return None
        return FenceToken(epoch, object_fence + 1, bucket_fence)

    def raise_bucket(self, bucket):
        """The same for every object of a bucket: an ObjectId in it, or the bucket's 32-byte digest."""
        cdef bytes digest = checked(bucket if isinstance(bucket, bytes) else bucket.bucket_digest)
        fc_raise(&self.shared.buckets[fc_stripe(<const uint8_t *>digest)])

    def is_current(self, object_id, token):
        """Whether nothing was raised for ``object_id`` since ``token`` was read, in this very epoch."""
        cdef uint64_t epoch, object_fence, bucket_fence
        epoch, object_fence, bucket_fence = token
        cdef bytes digest = checked(object_id.digest)
        cdef bytes bucket = checked(object_id.bucket_digest)
        return self.holds(digest, bucket, epoch, object_fence, bucket_fence)

    cdef bint holds(
        self, const uint8_t *digest, const uint8_t *bucket_digest, uint64_t epoch, uint64_t object_fence,
        uint64_t bucket_fence,
    ) noexcept nogil:
        return (
            epoch == self.epoch
            and fc_load(&self.shared.objects[fc_stripe(digest)]) == object_fence
            and fc_load(&self.shared.buckets[fc_stripe(bucket_digest)]) == bucket_fence
        )
