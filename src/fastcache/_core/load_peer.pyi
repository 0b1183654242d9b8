"""Compiled code only: nothing here is called from Python."""
