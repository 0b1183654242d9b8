"""What the C allocator does with memory that was freed."""

cdef extern from *:
    """
    #include <limits.h>
    #include <stdlib.h>
    #if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
    #include <malloc.h>
    static int fc_keep_freed(int most, int mapped_from) {
        return mallopt(M_TRIM_THRESHOLD, most) && mallopt(M_MMAP_THRESHOLD, mapped_from);
    }
    #else
    static int fc_keep_freed(int most, int mapped_from) {
        (void)most, (void)mapped_from;
        return 0;
    }
    #endif
    """
    bint fc_keep_freed(int most, int mapped_from)


def keep_freed(int most, int mapped_from):
    """Keep up to ``most`` bytes that were freed at the end of the heap, instead of giving them back to the kernel; blocks
    of ``mapped_from`` bytes or more are memory of their own and go back at once.

    Whether the allocator can be told: another one than glibc's cannot.
    """
    if most < 0 or mapped_from < 0:
        raise ValueError("sizes are not negative")
    return fc_keep_freed(most, mapped_from)
