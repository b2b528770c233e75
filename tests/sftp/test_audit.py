"""The audit: who did what, from where, with which key and client, and with what result."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest

from gateway import clock
from gateway.ledger import Ledger, audit
from gateway.ledger.audit import Event
from tests.sftp.conftest import Running, until


async def noted(server: Running, action: str) -> Event:
    """The newest event of a kind, when it is written."""
    found: list[Event] = await until(lambda: audit.select(server.ledger, action=action))
    return found[0]


async def test_what_a_client_does_is_in_the_audit_with_its_key_and_program(server: Running, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"hello\n")
    ended = await server.sftp(
        f"put {tmp_path / 'a.csv'} /inbox/events/a.csv",
        f"get /inbox/events/a.csv {tmp_path / 'back.csv'}",
        "rename /inbox/events/a.csv /inbox/events/b.csv",
        "rm /inbox/events/b.csv",
        "mkdir /inbox/events/new",
        "rmdir /inbox/events/new",
    )
    assert ended.code == 0, ended.err
    fingerprint = asyncssh.read_public_key(server.root / "client.pub").get_fingerprint()
    login = await noted(server, "login")
    assert (login.username, login.tenant, login.address, login.result) == ("acme-up", "acme", "127.0.0.1", "ok")
    assert login.fingerprint == fingerprint
    assert "OpenSSH" in str(login.client)
    upload = await noted(server, "upload")
    assert (upload.username, upload.bytes, upload.fingerprint) == ("acme-up", 6, fingerprint)
    assert "/inbox/events/a.csv" in str(upload.subject)
    assert (await noted(server, "download")).bytes == 6
    for action, path in (("rename", "a.csv"), ("remove", "b.csv"), ("mkdir", "new"), ("rmdir", "new")):
        event = await noted(server, action)
        assert (event.result, event.username) == ("ok", "acme-up")
        assert path in str(event.subject)
    assert (await noted(server, "logout")).username == "acme-up"


async def test_refused_logins_and_requests_are_in_the_audit_in_words(server: Running) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        async with server.connected("acme-word", client_keys=None, password="wrong"):
            pass
    refused = next(event for event in await all_of(server, "login") if event.result == "refused")
    assert (refused.username, refused.address) == ("acme-word", "127.0.0.1")
    await server.sftp("put /etc/hostname /outbox/events/a.csv")
    event = await noted(server, "request")
    assert (event.result, event.username) == ("refused", "acme-up")
    assert "files go into" in str(event.detail)


async def all_of(server: Running, action: str) -> list[Event]:
    await noted(server, action)
    return audit.select(server.ledger, action=action)


def test_nobody_can_change_the_audit(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    audit.write(ledger, Event("login", username="ann"))
    for statement in ("UPDATE audit SET username = 'bob'", "DELETE FROM audit"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), ledger.transaction() as connection:
            connection.execute(statement)
    assert [event.username for event in audit.select(ledger)] == ["ann"]
    ledger.close()


@pytest.mark.parametrize("filters", [{"username": "ann"}, {"tenant": "acme"}, {"action": "login"}, {}])
def test_the_audit_is_looked_up_by_an_index(tmp_path: Path, filters: dict[str, str]) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    sql, parameters = audit.query(
        username=filters.get("username"),
        tenant=filters.get("tenant"),
        action=filters.get("action"),
        since=clock.now(),
        limit=50,
    )
    plan = " ".join(row["detail"] for row in ledger.rows(f"EXPLAIN QUERY PLAN {sql}", parameters))
    assert "USING INDEX" in plan or "USING COVERING INDEX" in plan
    ledger.close()


def gateway(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=os.environ | {"GATEWAY_CONFIG": str(root)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_commands_that_change_something_are_in_the_audit_and_the_others_not(root: Path) -> None:
    (root / "data").mkdir()
    Ledger(root / "data" / "ledger.db").close()
    gateway(root, "tenant", "list")
    gateway(root, "tenant", "add", "beta")
    (event,) = json.loads(gateway(root, "audit", "--what", "command", "--since", "1h", "--json"))
    assert (event["subject"], event["result"]) == ("tenant add", "ok")
    assert "beta" in event["detail"]
    assert event["username"]
    assert "tenant add" in gateway(root, "audit")
