"""Byte ranges of RFC 9110 section 14: the only place where range arithmetic is done."""

import enum
from typing import NamedTuple

from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcmp, strncasecmp

from fastcache.model import Interval


cdef struct Digits:
    # A run of decimal digits inside the caller's buffer, without its leading zeros.
    const char *start
    Py_ssize_t length
    int64_t value   # saturated at INT64_MAX


cdef Py_ssize_t read_digits(const char *text, Py_ssize_t length, Digits *out) noexcept nogil:
    """Read digits from the start of ``text``; the number of characters consumed, 0 when there is no digit."""
    cdef Py_ssize_t used = 0
    cdef Py_ssize_t zeros = 0
    cdef int64_t value = 0
    cdef int digit
    while used < length and text[used] == c"0":
        used += 1
    zeros = used
    while used < length and c"0" <= text[used] <= c"9":
        digit = text[used] - c"0"
        if value > (INT64_MAX - digit) // 10:
            value = INT64_MAX
        else:
            value = value * 10 + digit
        used += 1
    out.start = text + zeros
    out.length = used - zeros
    out.value = value
    return used


cdef bint is_less(const Digits *left, const Digits *right) noexcept nogil:
    """Compare by the digits themselves, so that numbers beyond 64 bits still compare as what they are."""
    if left.length != right.length:
        return left.length < right.length
    return memcmp(left.start, right.start, <size_t>left.length) < 0


cdef Py_ssize_t read_spec(const char *text, Py_ssize_t length, ByteRange *out) noexcept nogil:
    """Read one range-spec (RFC 9110 section 14.1.1); the number of characters consumed, 0 when it is none."""
    cdef Digits first
    cdef Digits last
    cdef Py_ssize_t used = read_digits(text, length, &first)
    cdef Py_ssize_t more
    if used >= length or text[used] != c"-":
        return 0
    more = read_digits(text + used + 1, length - used - 1, &last)
    if used == 0:
        if more == 0:
            return 0
        out.first = -1
        out.last = last.value
    else:
        out.first = first.value
        out.last = last.value if more else INT64_MAX
        # "An int-range is invalid if the last-pos value is present and less than first-pos."
        if more and is_less(&last, &first):
            return 0
    return used + 1 + more


cdef int parse_ranges(const char *value, Py_ssize_t length, ByteRange *out, int capacity) noexcept nogil:
    cdef Py_ssize_t position = 6
    cdef Py_ssize_t used
    cdef int count = 0
    cdef ByteRange spec
    # Range units are case-insensitive (RFC 9110 section 14.1).
    if length <= position or strncasecmp(value, b"bytes=", 6) != 0:
        return 0
    while True:
        # Empty list elements are legal for a recipient (RFC 9110 section 5.6.1.2); white space only beside commas.
        if value[position] != c",":
            used = read_spec(value + position, length - position, &spec)
            if used == 0 or count == MAX_RANGES:
                return 0
            if count < capacity:
                out[count] = spec
            count += 1
            position += used
            while position < length and (value[position] == c" " or value[position] == c"\t"):
                position += 1
        if position == length:
            return count
        if value[position] != c",":
            return 0
        position += 1
        while position < length and (value[position] == c" " or value[position] == c"\t"):
            position += 1
        if position == length:
            return count


cdef int parse_range(const char *value, Py_ssize_t length, ByteRange *out) noexcept nogil:
    return parse_ranges(value, length, out, 1)


cdef int resolve_range(const ByteRange *spec, int64_t size, int64_t *start, int64_t *end) noexcept nogil:
    if spec.first < 0:
        if spec.last == 0 or size == 0:
            return 0
        start[0] = size - spec.last if spec.last < size else 0
        end[0] = size
        return 1
    if spec.first >= size:
        return 0
    start[0] = spec.first
    end[0] = spec.last + 1 if spec.last < size else size
    return 1


class Unsatisfiable(enum.Enum):
    """The type of ``UNSATISFIABLE``; an enum of one, so that a type checker can narrow it."""

    UNSATISFIABLE = "unsatisfiable"


UNSATISFIABLE = Unsatisfiable.UNSATISFIABLE


class RangeSpec(NamedTuple):
    """A valid Range field value. Positions beyond 2**63 - 1 are saturated there.

    ``first`` is None for a suffix range, ``last`` (inclusive) is None for an open end, ``suffix`` is the number of
    final bytes of a suffix range, else None. Of a multi-range they describe the first range, and ``parts`` holds all.
    """

    first: int | None
    last: int | None
    suffix: int | None
    parts: tuple = ()

    @property
    def is_multi(self):
        """Whether more than one range was asked for."""
        return len(self.parts) > 1

    def resolve(self, size):
        """The half-open interval of a representation of ``size`` bytes, or UNSATISFIABLE (416, RFC 9110 15.5.17).

        Raises ValueError for a multi-range (``resolve_all`` is for those) and for a size outside [0, 2**63).
        """
        cdef ByteRange spec
        cdef int64_t start = 0
        cdef int64_t end = 0
        if len(self.parts) > 1:
            raise ValueError("a multi-range has no single interval")
        if not 0 <= size <= INT64_MAX:
            raise ValueError("a size is between 0 and 2**63 - 1")
        if self.suffix is not None:
            spec.first = -1
            spec.last = self.suffix
        else:
            spec.first = self.first
            spec.last = INT64_MAX if self.last is None else self.last
        if not resolve_range(&spec, size, &start, &end):
            return UNSATISFIABLE
        return Interval(start, end)

    def resolve_all(self, size):
        """The intervals of all satisfiable ranges in the order asked; UNSATISFIABLE when there is none."""
        found = []
        for part in self.parts or (self,):
            interval = part.resolve(size)
            if interval is not UNSATISFIABLE:
                found.append(interval)
        return tuple(found) if found else UNSATISFIABLE


cdef object spec_object(const ByteRange *spec, tuple parts):
    if spec.first < 0:
        return RangeSpec(None, None, spec.last, parts)
    return RangeSpec(spec.first, None if spec.last == INT64_MAX else spec.last, None, parts)


def parse(bytes value not None):
    """The ranges of a Range field value, or None when it must be ignored and the full 200 be sent.

    Ignored are, as RFC 9110 section 14.2 asks, other units and invalid syntax, and sets of more than MAX_RANGES ranges.
    """
    cdef ByteRange specs[MAX_RANGES]
    cdef int count = parse_ranges(value, len(value), specs, MAX_RANGES)
    cdef int index
    if count == 0:
        return None
    if count == 1:
        return spec_object(&specs[0], ())
    return spec_object(&specs[0], tuple([spec_object(&specs[index], ()) for index in range(count)]))


class ContentRange(NamedTuple):
    """The bytes ``[start, end)`` that a 206 carries; ``total`` is None when the origin wrote ``*``."""

    start: int
    end: int
    total: int | None


class UnsatisfiedRange(NamedTuple):
    """The ``bytes */total`` of a 416."""

    total: int


def format_content_range(start, end, size):
    """``bytes first-last/size`` for the half-open interval ``[start, end)`` (RFC 9110 section 14.4)."""
    if not 0 <= start < end <= size:
        raise ValueError("not an interval inside the representation")
    return b"bytes %d-%d/%d" % (start, end - 1, size)


def format_unsatisfied_range(size):
    """``bytes */size``: the Content-Range of a 416 (RFC 9110 section 14.4)."""
    if size < 0:
        raise ValueError("a size is not negative")
    return b"bytes */%d" % size


cdef bint read_position(const char **cursor, Py_ssize_t *left, int64_t *out) noexcept nogil:
    """Move over a number below 2**63 - 1; False without one (a saturated number is not a position)."""
    cdef Digits digits
    cdef Py_ssize_t used = read_digits(cursor[0], left[0], &digits)
    if used == 0 or digits.value == INT64_MAX:
        return False
    cursor[0] += used
    left[0] -= used
    out[0] = digits.value
    return True


cdef bint read_character(const char **cursor, Py_ssize_t *left, char wanted) noexcept nogil:
    if left[0] == 0 or cursor[0][0] != wanted:
        return False
    cursor[0] += 1
    left[0] -= 1
    return True


def parse_content_range(bytes value not None):
    """A Content-Range field value as ContentRange or UnsatisfiedRange; None when it is not valid for ``bytes``.

    Strict, because bytes are placed by it: first <= last < total, nothing before, between or after (RFC 9110 14.4).
    """
    cdef const char *cursor = value
    cdef Py_ssize_t left = len(value)
    cdef int64_t first = 0
    cdef int64_t last = 0
    cdef int64_t total = 0
    if left < 6 or strncasecmp(cursor, b"bytes ", 6) != 0:
        return None
    cursor += 6
    left -= 6
    if read_character(&cursor, &left, c"*"):
        if read_character(&cursor, &left, c"/") and read_position(&cursor, &left, &total) and left == 0:
            return UnsatisfiedRange(total)
        return None
    if not (
        read_position(&cursor, &left, &first)
        and read_character(&cursor, &left, c"-")
        and read_position(&cursor, &left, &last)
        and read_character(&cursor, &left, c"/")
    ):
        return None
    if last < first:
        return None
    if read_character(&cursor, &left, c"*"):
        return ContentRange(first, last + 1, None) if left == 0 else None
    if not read_position(&cursor, &left, &total) or left != 0 or last >= total:
        return None
    return ContentRange(first, last + 1, total)
