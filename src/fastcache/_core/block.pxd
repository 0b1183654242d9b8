# Memory to receive into. A Block owns `data` from __cinit__ to __dealloc__; views of it keep it alive. What nobody has
# written yet is whatever was there before: only what was received may be handed out.
#
# Blocks of the usual size are kept for the next one when the last view of them is gone, at most MOST_KEPT: fresh memory
# would be faulted in page by page, and cleared, for every block. All of this is under the GIL.
cdef class Block:
    cdef char *data
    cdef Py_ssize_t size
