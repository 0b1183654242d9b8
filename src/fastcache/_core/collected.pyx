"""What httptools reads in one head, collected by its callbacks. Compiled, because there is one for each field."""
cimport cython


@cython.final
cdef class Collected:
    """The protocol object of one parser for one head; httptools looks the methods up by name."""

    cdef readonly bytes url
    cdef readonly list fields
    cdef readonly bint head_complete
    cdef readonly bint complete

    def __cinit__(self):
        self.url = b""
        self.fields = []

    def on_url(self, bytes url not None):
        """A stretch of the target."""
        self.url = self.url + url if self.url else url

    def on_header(self, bytes name, bytes value not None):
        """One field; blanks around the value are no part of it."""
        self.fields.append((name, value.strip(b" \t")))

    def on_headers_complete(self):
        """The empty line was read."""
        self.head_complete = True

    def on_message_complete(self):
        """Nothing follows the head."""
        self.complete = True
