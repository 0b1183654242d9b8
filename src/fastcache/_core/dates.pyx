"""HTTP dates (RFC 9110 section 5.6.7), and the timestamps of Signature Version 4 (ISO 8601, basic form): the only place
where the former are read and written, and the latter read."""

from libc.stdint cimport int64_t
from libc.string cimport memcmp, memcpy

cdef const char *MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"
cdef const char *DAYS = b"SunMonTueWedThuFriSat"
cdef const char *LONG_DAYS[7]
LONG_DAYS[:] = [b"Sunday", b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday"]
cdef Py_ssize_t LONG_DAY_LENGTHS[7]
LONG_DAY_LENGTHS[:] = [6, 6, 7, 9, 8, 6, 8]

# The epochs of 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z: what four digits of year can say.
cdef int64_t FIRST_SECOND = -62167219200
cdef int64_t LAST_SECOND = 253402300799


cdef int64_t days_from_civil(int64_t year, int month, int day) noexcept nogil:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, for years from 0; counted in years from March on."""
    cdef int64_t shifted = year - 1 if month <= 2 else year
    cdef int64_t era = (shifted if shifted >= 0 else shifted - 399) // 400
    cdef int64_t year_of_era = shifted - era * 400
    cdef int64_t day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


cdef void civil_from_days(int64_t days, int64_t *year, int *month, int *day) noexcept nogil:
    """The inverse of days_from_civil."""
    cdef int64_t shifted = days + 719468
    cdef int64_t era = (shifted if shifted >= 0 else shifted - 146096) // 146097
    cdef int64_t day_of_era = shifted - era * 146097
    cdef int64_t year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096
    ) // 365
    cdef int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int64_t march_month = (5 * day_of_year + 2) // 153
    day[0] = <int>(day_of_year - (153 * march_month + 2) // 5 + 1)
    month[0] = <int>(march_month + 3 if march_month < 10 else march_month - 9)
    year[0] = year_of_era + era * 400 + (1 if month[0] <= 2 else 0)


cdef int days_in_month(int64_t year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef int read_number(const char *text, int digits) noexcept nogil:
    """Exactly ``digits`` decimal digits, or -1."""
    cdef int value = 0
    cdef int index
    for index in range(digits):
        if not c"0" <= text[index] <= c"9":
            return -1
        value = value * 10 + (text[index] - c"0")
    return value


cdef int read_name(const char *text, const char *names, int count) noexcept nogil:
    """The position of a three-letter name, or -1. Case-sensitive, as RFC 9110 section 5.6.7 says."""
    cdef int index
    for index in range(count):
        if memcmp(text, names + 3 * index, 3) == 0:
            return index
    return -1


cdef int64_t to_epoch(int64_t year, int month, int day, const char *clock) noexcept nogil:
    """Combine a date with the eight characters ``hh:mm:ss``; NO_DATE when either does not exist."""
    cdef int hour = read_number(clock, 2)
    cdef int minute = read_number(clock + 3, 2)
    cdef int second = read_number(clock + 6, 2)
    if clock[2] != c":" or clock[5] != c":" or year < 0 or not 1 <= month <= 12:
        return NO_DATE
    # 60 is a leap second, which POSIX time counts as the second after it.
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 60):
        return NO_DATE
    if not 1 <= day <= days_in_month(year, month):
        return NO_DATE
    return days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second


cdef int64_t read_fixdate(const char *text, Py_ssize_t length) noexcept nogil:
    """``Sun, 06 Nov 1994 08:49:37 GMT``."""
    if length != HTTP_DATE_LENGTH or read_name(text, DAYS, 7) < 0 or memcmp(text + 3, b", ", 2) != 0:
        return NO_DATE
    if text[7] != c" " or text[11] != c" " or text[16] != c" " or memcmp(text + 25, b" GMT", 4) != 0:
        return NO_DATE
    return to_epoch(
        read_number(text + 12, 4), read_name(text + 8, MONTHS, 12) + 1, read_number(text + 5, 2), text + 17
    )


cdef int64_t read_asctime(const char *text, Py_ssize_t length) noexcept nogil:
    """``Sun Nov  6 08:49:37 1994``."""
    cdef int day
    if length != 24 or read_name(text, DAYS, 7) < 0:
        return NO_DATE
    if text[3] != c" " or text[7] != c" " or text[10] != c" " or text[19] != c" ":
        return NO_DATE
    day = read_number(text + 9, 1) if text[8] == c" " else read_number(text + 8, 2)
    return to_epoch(read_number(text + 20, 4), read_name(text + 4, MONTHS, 12) + 1, day, text + 11)


cdef int64_t full_year(int two_digits, int64_t now) noexcept nogil:
    """The year of an RFC 850 date: never more than 50 years ahead of ``now`` (RFC 9110 section 5.6.7)."""
    cdef int64_t year
    cdef int month
    cdef int day
    if now == NO_DATE:
        # Without a clock the pivot of POSIX strptime is used.
        return 1900 + two_digits if two_digits >= 69 else 2000 + two_digits
    civil_from_days((now if now >= 0 else now - 86399) // 86400, &year, &month, &day)
    two_digits += <int>(year - year % 100)
    if two_digits > year + 50:
        two_digits -= 100
    elif two_digits <= year - 50:
        two_digits += 100
    return two_digits


cdef int64_t read_rfc850(const char *text, Py_ssize_t length, int64_t now) noexcept nogil:
    """``Sunday, 06-Nov-94 08:49:37 GMT``."""
    cdef int index
    cdef int two_digits
    cdef Py_ssize_t name
    for index in range(7):
        name = LONG_DAY_LENGTHS[index]
        if length == name + 24 and memcmp(text, LONG_DAYS[index], <size_t>name) == 0:
            text += name
            break
    else:
        return NO_DATE
    if memcmp(text, b", ", 2) != 0 or text[4] != c"-" or text[8] != c"-" or text[11] != c" ":
        return NO_DATE
    two_digits = read_number(text + 9, 2)
    if two_digits < 0 or memcmp(text + 20, b" GMT", 4) != 0:
        return NO_DATE
    return to_epoch(
        full_year(two_digits, now), read_name(text + 5, MONTHS, 12) + 1, read_number(text + 2, 2), text + 12
    )


cdef int64_t read_http_date(const char *text, Py_ssize_t length, int64_t now) noexcept nogil:
    cdef int64_t found = read_fixdate(text, length)
    if found == NO_DATE:
        found = read_rfc850(text, length, now)
    if found == NO_DATE:
        found = read_asctime(text, length)
    return found


cdef int64_t read_timestamp(const char *text, Py_ssize_t length) noexcept nogil:
    cdef int64_t year
    cdef int month, day, hour, minute, second
    if length != 16 or text[8] != c"T" or text[15] != c"Z":
        return NO_DATE
    year = read_number(text, 4)
    month = read_number(text + 4, 2)
    day = read_number(text + 6, 2)
    hour = read_number(text + 9, 2)
    minute = read_number(text + 11, 2)
    second = read_number(text + 13, 2)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= days_in_month(year, month):
        return NO_DATE
    if not (0 <= hour <= 23 and 0 <= minute <= 59 and 0 <= second <= 59):
        return NO_DATE
    return days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second


cdef void write_number(int value, int digits, char *out) noexcept nogil:
    cdef int index
    for index in range(digits - 1, -1, -1):
        out[index] = <char>(c"0" + value % 10)
        value //= 10


cdef void write_http_date(int64_t epoch, char *out) noexcept nogil:
    cdef int64_t days = (epoch if epoch >= 0 else epoch - 86399) // 86400
    cdef int seconds = <int>(epoch - days * 86400)
    cdef int64_t year
    cdef int month
    cdef int day
    cdef int weekday = <int>(((days + 4) % 7 + 7) % 7)   # 1970-01-01 was a Thursday
    civil_from_days(days, &year, &month, &day)
    memcpy(out, b"Day, DD Mon YYYY hh:mm:ss GMT", HTTP_DATE_LENGTH)
    memcpy(out, DAYS + 3 * weekday, 3)
    write_number(day, 2, out + 5)
    memcpy(out + 8, MONTHS + 3 * (month - 1), 3)
    write_number(<int>year, 4, out + 12)
    write_number(seconds // 3600, 2, out + 17)
    write_number(seconds // 60 % 60, 2, out + 20)
    write_number(seconds % 60, 2, out + 23)


def http_date(epoch):
    """An IMF-fixdate (RFC 9110 section 5.6.7) for whole seconds since the epoch. ValueError outside years 0 to 9999."""
    cdef char out[HTTP_DATE_LENGTH]
    if not FIRST_SECOND <= epoch <= LAST_SECOND:
        raise ValueError("an HTTP date has a year of four digits")
    write_http_date(<int64_t>epoch, out)
    return out[:HTTP_DATE_LENGTH]


def parse_http_date(bytes value not None, now=None):
    """Seconds since the epoch of an IMF-fixdate, RFC 850 or asctime date; None for anything else.

    ``now`` (seconds since the epoch) resolves the two-digit year of RFC 850 by the 50-year rule of RFC 9110 section
    5.6.7; without it 69-99 are 19xx, as POSIX strptime has it. Day names are checked for being one, not for being right.
    """
    cdef int64_t found
    if now is not None and not FIRST_SECOND <= now <= LAST_SECOND:
        raise ValueError("the clock is outside of the years of four digits")
    found = read_http_date(value, len(value), NO_DATE if now is None else <int64_t>now)
    return None if found == NO_DATE else found


def parse_timestamp(bytes value not None):
    """Seconds since the epoch of ``YYYYMMDDTHHMMSSZ``; None for anything else."""
    cdef int64_t found = read_timestamp(value, len(value))
    return None if found == NO_DATE else found
