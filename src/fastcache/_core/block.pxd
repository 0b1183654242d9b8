# Memory to receive into. A Block owns `data` from __cinit__ to __dealloc__; views of it keep it alive. What nobody has
# written yet is whatever was there before: only what was received may be handed out.
cdef class Block:
    cdef char *data
    cdef Py_ssize_t size
