# What the compiled core holds at this moment, counted where a thing is taken and where it is given back, so that a path
# that forgets one of the two shows in every test's teardown and in the log of a process that ends.
#
# Counters of the whole process, in every build: one add beside an allocation or a system call. Plain integers, because
# only the loop's thread takes and gives back. A new kind is a field here and a name in handles.pyx.
from libc.stdint cimport int64_t

cdef struct Held:
    int64_t connections          # accepted and not closed
    int64_t head_buffers         # Connection.rbuf
    int64_t outputs              # Python buffers in Connection.out
    int64_t descriptors          # client sockets, and the epoll and the eventfd of each reactor
    int64_t queued_slots         # entries of slot queues that nobody has taken
    int64_t leases               # published, or answered from, or not taken up by Python yet
    int64_t leased_extents       # ... and the extents that they point to, one of two leases twice
    int64_t kept_heads           # Connection.head_kept
    int64_t hit_records          # reserved in a HitLog for answers under way
    int64_t lent_origins         # connections to the origin that the pool has lent and not got back
    int64_t kept_answers         # Origin.kept

cdef Held held
