"""Paths and usernames as no good client sends them."""

from __future__ import annotations

from random import Random

PATHS = (
    b"", b".", b"..", b"/", b"//", b"/.", b"/..", b"inbox", b"/inbox/", b"/inbox/people", b"/inbox/people/",
    b"/inbox/people/a.csv", b"/inbox/people/b.csv.part", b"/inbox/people/folder", b"/inbox/people/folder/c.csv",
    b"/inbox/people/way", b"/inbox/people/way/deep/secret", b"/inbox/people/secret.csv", b"/inbox/people/secret.csv/",
    b"/inbox/people/../../../../outside/deep/secret", b"/inbox/people/..", b"/inbox/../..//outside/./link",
    b"/inbox/people/./a.csv", b"/inbox//people//a.csv", b"\\inbox\\people\\a.csv", b"/inbox/people/..\\..\\a.csv",
    b"/inbox/PEOPLE/a.csv", b"/Inbox/people/a.csv", b"/inbox/people/A.CSV", b"/inbox/nowhere/a.csv", b"~", b"~root/x",
    b"/inbox/people/a\0b.csv", b"/inbox/people/\xff\xfe.csv", b"/inbox/people/a\nb.csv", b"/inbox/people/\x1b[2J.csv",
    "/inbox/people/caf\u00e9.csv".encode(), "/inbox/people/cafe\u0301.csv".encode(), b"/inbox/people/ .csv ",
    "/inbox/people/\u202evsc.csv".encode(), b"/inbox/people/" + b"n" * 300, b"/inbox/people/" + b"d/" * 40 + b"x",
    b"/inbox/people/" + b"../" * 1200 + b"etc/passwd", b"/outbox", b"/outbox/people", b"/outbox/people/x.report.json",
    b"/outbox/people/big.accepted.csv", b"/samples/people/CONTRACT.md", b"/samples/people/new.csv", b"/proc/self/root",
    b"/proc/self/fd/0", b"/dev/stdin", b"/etc/passwd", b"/../third/outbox/people/theirs.csv.report.json",
    b"/inbox/people/../../../third/inbox/people/theirs.csv.part", b"/third", b"/tenants/third", b"C:\\windows",
    b"/inbox/people/.hidden", b"/inbox/people/a.csv.report.json", b"/inbox/people/a.csv.done", b"*", b"/inbox/*/*",
    b"/inbox/people/a.csv.sha256", b"%2e%2e/%2e%2e", b"/inbox/people/$(id)", b"/inbox/people/`id`;|&", b"-rf",
    b"x" * 5000, b"/" * 5000,
)  # fmt: skip

USERNAMES = (
    b"", b"root", b"acme", b"third-owner", b"rival-canary", b"acme-fuzz", b"acme-fuzz\0", b"ACME-FUZZ", b"acme-fuzz ",
    b"../acme-fuzz", b"\xff\xfe\xfd", b"u" * 30_000, b"a\nb", b"\x1b[31mred", "us\u00e9r".encode(),
    b"'; DROP TABLE users;--",
    b"%s%n%x", b"\0" * 64, b"acme-fuzz@127.0.0.1",
)  # fmt: skip


def path(pick: Random) -> bytes:
    """One of the list, changed at a random place now and then."""
    chosen = pick.choice(PATHS)
    if pick.random() < 0.15 and chosen:
        at = pick.randrange(len(chosen))
        chosen = chosen[:at] + pick.choice((b"/", b"..", b"\0", b".", b"\xff", b"\\", b"%")) + chosen[at:]
    return chosen
