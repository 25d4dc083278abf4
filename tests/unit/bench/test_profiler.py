"""The profile: what a stack was for, and the shares of time."""

import pytest

from bench.profiler import purpose_of, shares

LIB = "/lib/site-packages"
TRACE = f"build_tracer.<locals>.trace_task ({LIB}/celery/app/trace.py:555)"
STORE = f"Backend.store_result ({LIB}/celery/backends/base.py:680)"
DONE = f"Backend.mark_as_done ({LIB}/celery/backends/base.py:220)"
REDIS = f"Redis.execute_command ({LIB}/redis/client.py:800)"
WORKLOOP = f"Worker.workloop ({LIB}/billiard/pool.py:400)"


@pytest.mark.parametrize(
    ("frames", "purpose"),
    [
        ([WORKLOOP, TRACE], "trace the task"),
        ([WORKLOOP, TRACE, STORE, REDIS], "result: started"),
        ([WORKLOOP, TRACE, DONE, STORE, REDIS], "result: done"),
        ([TRACE, "count (/n/bench/contenders/celery_tasks.py:27)", REDIS], "the task itself"),
        (
            [
                f"Hub.create_loop ({LIB}/kombu/asynchronous/hub.py:400)",
                f"Channel._brpop_read ({LIB}/kombu/transport/redis.py:1400)",
                f"task_message_handler ({LIB}/celery/worker/strategy.py:200)",
            ],
            "take a task in",
        ),
        (["main (somewhere.py:1)", "helper (elsewhere.py:2)"], "other"),
    ],
)
def test_the_innermost_call_that_is_known_says_what_a_stack_was_for(
    frames: list[str], purpose: str
) -> None:
    assert purpose_of(frames) == purpose


def test_shares_tell_main_process_and_children_apart() -> None:
    main, child = 'process 1:"celery"', 'process 2:"celery"'
    lines = [
        f"{main};{WORKLOOP} 1\n",
        f"{main};{child};{WORKLOOP};{TRACE};{STORE} 2\n",
        f"{main};{child};{WORKLOOP};{TRACE};{STORE};{REDIS} 5\n",
    ]
    found = shares(lines)
    assert found["main", "other"] == pytest.approx((1 / 8, 0))
    assert found["children", "result: started"] == pytest.approx((7 / 8, 5 / 8))
    assert sum(share for share, _ in found.values()) == pytest.approx(1)


def test_one_frame_alone_is_a_stack_too() -> None:
    assert purpose_of([WORKLOOP]) == "other"


def test_what_waits_takes_no_share() -> None:
    """Of these only the first is work; py-spy reports all three."""
    lines = [
        f'process 1:"celery";main (m.py:1);{WORKLOOP} 1\n',
        f'process 1:"celery";main (m.py:1);_epoll.poll ({LIB}/kombu/utils/eventio.py:84) 10\n',
        'process 1:"celery";Thread._bootstrap (/lib/threading.py:1002);wait (/lib/x.py:3) 10\n',
    ]
    assert list(shares(lines).values()) == [(1.0, 0.0)]
