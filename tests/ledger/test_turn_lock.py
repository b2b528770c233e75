"""The ledger's lock: reentrant, exclusive, and nobody waits for long while another takes it again and again."""

from __future__ import annotations

import threading

from gateway.ledger.turn_lock import TENANT, TurnLock


def test_one_thread_has_it_at_a_time_and_as_often_as_it_likes() -> None:
    lock, total = TurnLock(), [0]

    def count() -> None:
        for _ in range(500):
            with lock, lock:
                total[0] = total[0] + 1

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert total == [4000]


def test_who_takes_it_again_and_again_keeps_nobody_from_it() -> None:
    lock, done = TurnLock(), threading.Event()

    def hog() -> None:
        while not done.is_set():
            with lock:
                done.wait(0.005)

    hogs = [threading.Thread(target=hog) for _ in range(3)]
    for thread in hogs:
        thread.start()
    taken = 0
    for _ in range(20):
        with lock:
            taken += 1
    done.set()
    for thread in hogs:
        thread.join(60)
    assert taken == 20


def test_a_tenant_with_many_threads_gets_no_more_than_one_with_few() -> None:
    lock, done, order = TurnLock(), threading.Event(), []

    def use(tenant: str, seconds: float) -> None:
        TENANT.set(tenant)
        while not done.is_set():
            with lock:
                order.append(tenant)
                done.wait(seconds)

    threads = [threading.Thread(target=use, args=("acme", 0.003)) for _ in range(8)]
    threads.append(threading.Thread(target=use, args=("rival", 0.003)))
    for thread in threads:
        thread.start()
    done.wait(2)
    done.set()
    for thread in threads:
        thread.join(60)
    assert order.count("rival") > len(order) / 4
