"""Listeners and the admin endpoint."""
