# Names given to slots, once and for all processes that share the bytes.
#
#   word 0           how many slots were claimed (it may pass NAMES_SLOTS)
#   record i         at NAMES_RECORD * (i + 1): a word with the length of the name, 0 while it is not there yet, and
#                    the name, at most NAMES_TEXT bytes
#
# A process that wants a name raises word 0, which gives it a record that nobody else writes, writes the text and then,
# with release, the length. Readers load the length with acquire. Killed between the two it leaves a record that is
# never anybody's: one slot less. Two that want the same name at once may give it two slots; whoever reads adds both.
cdef enum:
    NAMES_SLOTS = 4096
    NAMES_RECORD = 128
    NAMES_TEXT = NAMES_RECORD - 8


cdef class Names:
    cdef Py_buffer view          # exported from __cinit__ to __dealloc__
    cdef char *base
    cdef dict slots
    cdef Py_ssize_t read_up_to   # all records before it are in `slots`
    cdef bint taken

    cdef object look(self, bytes name)
