"""The ledger: the only package that speaks SQL. Uploads, drops, jobs and their transitions in one SQLite file."""

from gateway.ledger.connection import Ledger, new_id

__all__ = ["Ledger", "new_id"]
