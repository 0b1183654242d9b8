from fastcache._core.interval_index cimport IntervalIndex


cdef class Intervals:
    # Holds a strong reference to each item. C callers may look up in `index` while they hold a reference to this
    # object; only its methods change it.
    cdef IntervalIndex index
    cdef object unused      # always None: an object among the fields is what makes Cython give the type its GC slots
