"""How long this thread runs when another one wants its core, and waits when it wants another's."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    /* struct sched_attr as of its first version; glibc declares it since 2.41 only. */
    struct fc_sched_attr {
        uint32_t size;
        uint32_t policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime;
        uint64_t deadline;
        uint64_t period;
    };

    static int fc_get_sched(struct fc_sched_attr *attr) {
        memset(attr, 0, sizeof *attr);
        return (int)syscall(SYS_sched_getattr, 0, attr, (unsigned)sizeof *attr, 0u);
    }

    static int fc_set_sched(struct fc_sched_attr *attr) {
        attr->size = sizeof *attr;
        return (int)syscall(SYS_sched_setattr, 0, attr, 0u);
    }
    """
    cdef struct fc_sched_attr:
        uint32_t policy
        int32_t nice
        uint64_t runtime
    int fc_get_sched(fc_sched_attr *attr) nogil
    int fc_set_sched(fc_sched_attr *attr) nogil

cdef enum:
    NORMAL = 0
    BATCH = 3


def take_turns_of(uint64_t nanoseconds):
    """Give the core to another thread that wants it after so much of it, 0.1 to 100 ms, and be given it as soon: the
    share of each stays what it is. Whether the kernel was told: one before Linux 6.12 takes its own length all the
    same, and threads of real-time policies have no turns."""
    cdef fc_sched_attr attr
    if fc_get_sched(&attr) < 0 or attr.policy not in (NORMAL, BATCH):
        return False
    attr.runtime = nanoseconds
    return fc_set_sched(&attr) == 0


def length_of_turns():
    """In nanoseconds; 0 where the kernel does not tell."""
    cdef fc_sched_attr attr
    return attr.runtime if fc_get_sched(&attr) == 0 else 0
