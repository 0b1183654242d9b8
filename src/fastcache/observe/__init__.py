"""Metrics, access log, application log, redaction. May be imported by every layer above model."""
