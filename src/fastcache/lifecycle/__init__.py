"""Configuration, start, drain and stop."""
