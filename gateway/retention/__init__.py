"""Retention: what is done with and has been kept for long enough is removed."""
