# SPDX-License-Identifier: Apache-2.0
"""The queue's rules, without a cluster."""

from __future__ import annotations

from typing import Any

from gazeray.engine.queue import MAX_DEATHS, TaskQueue


class Heard(list[tuple[str, str, Any]]):
    """Every event."""

    def __call__(self, name: str, kind: str, payload: Any) -> None:
        self.append((name, kind, payload))

    def of_kind(self, wanted: str) -> list[str]:
        return [name for name, kind, _ in self if kind == wanted]


def queue_of(count: int) -> tuple[TaskQueue, Heard]:
    heard = Heard()
    return TaskQueue([f"u{number}" for number in range(count)], heard), heard


def test_tasks_are_handed_out_once_in_order() -> None:
    queue, heard = queue_of(3)
    assert [queue.next(rank) for rank in (0, 1, 0, 1)] == ["u0", "u1", "u2", None]
    assert heard == [("u0", "started", {"rank": 0}), ("u1", "started", {"rank": 1}), ("u2", "started", {"rank": 0})]


def test_dead_worker_gives_back_what_it_had_in_hand_and_nothing_else() -> None:
    queue, heard = queue_of(4)
    queue.next(0), queue.next(1), queue.next(2)
    queue.over("u1", "done", {})
    queue.lost(0), queue.lost(1)
    assert queue.next(3) == "u0"
    assert queue.next(2) == "u3"
    assert queue.next(2) is None
    assert heard.of_kind("interrupted") == ["u0"]


def test_only_one_suspect_is_out_at_a_time() -> None:
    queue, _ = queue_of(2)
    queue.next(0), queue.next(1)
    queue.lost(0), queue.lost(1)
    assert queue.next(2) == "u0"
    assert queue.next(3) is None
    assert queue.is_left(), "it must wait"
    queue.over("u0", "done", {})
    assert queue.next(3) == "u1"
    queue.over("u1", "done", {})
    assert not queue.is_left()


def test_clean_tasks_go_on_beside_a_suspect() -> None:
    queue, _ = queue_of(3)
    queue.next(0)
    queue.lost(0)
    assert queue.next(1) == "u0"
    assert queue.next(2) == "u1"


def test_task_that_kills_its_worker_is_given_up_and_its_neighbours_are_not() -> None:
    queue, heard = queue_of(6)
    for round_ in range(20):
        names = [queue.next(2 * round_), queue.next(2 * round_ + 1)]
        if "u2" in names:
            queue.lost(2 * round_ + names.index("u2"))
        for name in names:
            if name not in (None, "u2"):
                queue.over(name, "done", {})
    assert not queue.is_left()
    assert heard.of_kind("died") == ["u2"]
    assert sorted(heard.of_kind("done")) == ["u0", "u1", "u3", "u4", "u5"]
    assert heard.of_kind("interrupted") == ["u2"] * MAX_DEATHS
    (told,) = [payload for name, kind, payload in heard if kind == "died"]
    assert told == {"error": f"the worker process died {MAX_DEATHS} times at it"}


def test_closed_queue_hands_out_nothing_more() -> None:
    queue, _ = queue_of(2)
    queue.next(0)
    queue.close()
    assert queue.next(1) is None
    assert not queue.is_left()
