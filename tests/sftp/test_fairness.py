"""Tenants share the event loop and its threads in equal parts, however many sessions each of them has."""

from __future__ import annotations

import threading
from typing import Any

from gateway.ledger.turn_lock import TENANT
from gateway.sftp.fair_threads import FairThreads
from gateway.sftp.loop_shares import WINDOW_SECONDS, LoopShares
from tests.sftp.conftest import Running


def submitted(threads: FairThreads, tenant: str, call: Any) -> Any:
    token = TENANT.set(tenant)
    try:
        return threads.submit(call)
    finally:
        TENANT.reset(token)


def test_one_call_of_a_tenant_does_not_wait_for_a_hundred_of_another() -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(30)

    with FairThreads(1, "test") as threads:
        first = submitted(threads, "acme", hold)
        assert begun.wait(30)
        calls = [submitted(threads, "acme", lambda: order.append("acme")) for _ in range(100)]
        calls += [submitted(threads, "rival", lambda: order.append("rival")) for _ in range(2)]
        go_on.set()
        for call in (first, *calls):
            call.result(30)
    assert "rival" in order[:2]
    assert "rival" in order[2:4]
    assert len(order) == 102


def test_a_tenant_beside_others_leaves_threads_to_them_and_an_error_is_given_back() -> None:
    go_on = threading.Event()
    with FairThreads(4, "test") as threads:
        submitted(threads, "rival", int).result(30)
        held = [submitted(threads, "acme", lambda: go_on.wait(30)) for _ in range(20)]
        # With all four threads taken, this would wait for go_on.
        assert submitted(threads, "rival", lambda: 7).result(20) == 7
        assert isinstance(submitted(threads, "rival", lambda: int("x")).exception(20), ValueError)
        go_on.set()
        assert [call.result(30) for call in held] == [True] * 20


def test_a_tenant_that_is_alone_has_all_threads() -> None:
    everybody = threading.Barrier(8)
    with FairThreads(8, "test") as threads:
        for call in [submitted(threads, "acme", lambda: everybody.wait(30)) for _ in range(8)]:
            call.result(30)


class Transport:
    """What is asked of a transport."""

    def __init__(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def test_who_has_had_his_share_is_not_read_from_until_the_next_window() -> None:
    shares = LoopShares()
    transports = {"acme": [Transport(), Transport()], "rival": [Transport()]}
    shares._transports |= {tenant: set(of) for tenant, of in transports.items()}  # type: ignore[arg-type]
    shares._count("acme", WINDOW_SECONDS, 1000.0)
    assert all(one.reading for one in transports["acme"]), "nobody else wants anything"
    shares._count("rival", WINDOW_SECONDS / 10, 1000.0)
    shares._count("acme", WINDOW_SECONDS / 10, 1000.0)
    assert [one.reading for one in transports["acme"]] == [False, False]
    assert transports["rival"][0].reading
    shares._go_on()
    assert all(one.reading for one in transports["acme"])


async def test_the_connections_of_a_listener_are_counted_from_their_login_on(server: Running) -> None:
    async with server.client() as client:
        assert await client.listdir("/")
        assert len(server.listener._shares._open_of("acme")) == 1
        assert server.listener._shares._used["acme"] > 0
