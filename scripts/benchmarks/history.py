"""A ledger in which much has happened already: ended jobs with their drops and transitions, as if by a busy year."""

from __future__ import annotations

from pathlib import Path

from gateway import clock
from gateway.ledger import Ledger

# Ids are as long as real ones, and sort before them; the year's files have many names, some of them again and again.
NUMBERED = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :jobs),
made AS (
    SELECT n, printf('00000000-0000-7000-8000-%012d', n) AS id, printf('history-%d.csv', n / 10) AS path,
           1 + n % 10 AS generation, printf('%064x', n) AS sha256 FROM numbers
)
"""
DROPS = f"""
{NUMBERED}
INSERT INTO drops (id, tenant, feed, path, generation, kind, state, state_since, landed_at, settles_at, claimed_at,
                   bytes, inode, sha256)
SELECT id, :tenant, :feed, path, generation, 'data', 'done', :at, :at, :at, :at, 200, n, sha256 FROM made
"""  # noqa: S608 - only a query of our own is put in; every value is bound.
JOBS = f"""
{NUMBERED}
INSERT INTO jobs (id, drop_id, tenant, feed, name, filename, status, status_since, tries, uploaded_on, start_time,
                  end_time, elapsed_time, file_size, contract, contract_sha256, total_rows, accepted_rows)
SELECT id, id, :tenant, :feed, path, path, 'completed', :at, 1, :at, :at, :at, 0.1, 200, 'clevertap-profiles', sha256,
       10, 10 FROM made
"""  # noqa: S608 - as above.
TRANSITIONS = f"""
{NUMBERED}
INSERT INTO transitions (at, kind, subject, old, new) SELECT :at, 'job', id, 'pending_refresh', 'completed' FROM made
"""  # noqa: S608 - as above.


def remember(ledger_path: Path, tenant: str, feed: str, jobs: int) -> None:
    """Put that many ended jobs into the ledger of a gateway that does not serve yet."""
    ledger_path.parent.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(ledger_path)
    given = {"jobs": jobs, "tenant": tenant, "feed": feed, "at": clock.text(clock.now())}
    with ledger.transaction() as connection:
        for statement in (DROPS, JOBS, TRANSITIONS):
            connection.execute(statement, given)
    ledger.close()
