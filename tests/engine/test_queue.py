# SPDX-License-Identifier: Apache-2.0
"""The queue's rules, without a cluster."""

from __future__ import annotations

from gazeray.engine.queue import WAIT, UnitQueue
from gazeray.engine.units import MAX_DEATHS


def queue_of(count: int) -> UnitQueue:
    return UnitQueue([f"u{number}" for number in range(count)], MAX_DEATHS)


def test_units_are_handed_out_once_in_order() -> None:
    queue = queue_of(3)
    assert [queue.next(rank) for rank in (0, 1, 0, 1)] == ["u0", "u1", "u2", None]


def test_fresh_worker_gives_back_what_its_rank_had_in_hand() -> None:
    queue = queue_of(3)
    queue.next(0), queue.next(1)
    queue.over("u1", "done", {})
    queue.join(0, 2)
    queue.join(1, 2)
    assert queue.next(0) == "u0"
    assert queue.next(1) == "u2"
    assert queue.next(1) is None
    assert [kind for _, kind, _ in queue.drain()].count("interrupted") == 1


def test_only_one_suspect_is_out_at_a_time() -> None:
    queue = queue_of(2)
    queue.next(0), queue.next(1)
    queue.join(0, 2)
    queue.join(1, 2)
    assert queue.next(0) == "u0"
    assert queue.next(1) == WAIT
    queue.over("u0", "done", {})
    assert queue.next(1) == "u1"


def test_smaller_group_gives_back_what_the_ranks_it_lacks_had_in_hand() -> None:
    queue = queue_of(3)
    queue.next(0), queue.next(1), queue.next(2)
    queue.over("u0", "done", {})
    queue.join(0, 1)
    assert queue.next(0) == "u1"
    queue.over("u1", "done", {})
    assert queue.next(0) == "u2"
    assert [name for name, kind, _ in queue.drain() if kind == "interrupted"] == ["u1", "u2"]


def test_clean_units_go_on_beside_a_suspect() -> None:
    queue = queue_of(3)
    queue.next(0)
    queue.join(0, 2)
    assert queue.next(0) == "u0"
    assert queue.next(1) == "u1"


def test_unit_that_kills_its_worker_is_given_up_and_its_neighbours_are_not() -> None:
    queue = queue_of(6)
    finished: list[str] = []
    for _ in range(20):
        queue.join(0, 2), queue.join(1, 2)
        left, right = queue.next(0), queue.next(1)
        if left is None and right is None:
            break
        if "u2" in (left, right):
            continue  # both workers go down with it
        finished += [name for name in (left, right) if name not in (None, WAIT)]
        for name in (left, right):
            if name not in (None, WAIT):
                queue.over(name, "done", {})
    given_up = [name for name, kind, _ in queue.drain() if kind == "died"]
    assert given_up == ["u2"]
    assert sorted(finished) == ["u0", "u1", "u3", "u4", "u5"]
    assert queue.entries["u2"].deaths == MAX_DEATHS


def test_events_are_handed_over_once() -> None:
    queue = queue_of(1)
    queue.event("u0", "epoch", {"epoch": 1})
    assert queue.drain() == [("u0", "epoch", {"epoch": 1})]
    assert queue.drain() == []
