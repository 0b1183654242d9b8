from libc.stdint cimport uint32_t


cdef extern from "crc32c.h" nogil:
    # The state behind these is constant after import of fastcache._core.crc32c; each extension module that includes the
    # header has its own copy and calls fc_crc32c_init() itself.
    void fc_crc32c_init()
    uint32_t fc_crc32c(const void *data, size_t length, uint32_t seed)
    uint32_t fc_crc32c_by_tables(const void *data, size_t length, uint32_t seed)
    const char *fc_crc32c_chosen_name
