"""Cython: everything that touches bytes on the way from a file or a socket to a client."""
