"""Enforcement: limits hold whatever happens, and nothing is done twice."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from nova.governance.enforcement import DEFERRED_SHOWN, Plan, plan_actions
from nova.governance.models import Action, ChannelStatus, Status

AT = datetime(2026, 3, 1, tzinfo=UTC)


def due(promote: list[str], retire: list[str]) -> dict[Status, list[Action]]:
    return {
        Status.PROMOTED: [Action(channel=c, status=Status.PROMOTED, score=2.0) for c in promote],
        Status.RETIRED: [Action(channel=c, status=Status.RETIRED, score=-2.0) for c in retire],
    }


def held(channel: str, status: Status, report: str) -> ChannelStatus:
    return ChannelStatus(channel=channel, status=status, since=AT, report=report)


def plan(
    promote: list[str],
    retire: list[str],
    *,
    statuses: dict[str, ChannelStatus] | None = None,
    promotions: int = 2,
    retirements: int = 1,
    auto_actions: bool = True,
) -> Plan:
    limits = {Status.PROMOTED: promotions, Status.RETIRED: retirements}
    return plan_actions(limits, due(promote, retire), statuses or {}, "now", auto_actions)


def names(actions: object) -> list[str]:
    assert isinstance(actions, list | tuple)
    return [action.channel for action in actions]


def test_the_most_urgent_are_done_and_the_rest_is_deferred() -> None:
    planned = plan(["a", "b", "c"], ["x", "y"])
    assert names(planned.new) == ["a", "b", "x"]
    assert names(planned.enforcement.deferred) == ["c", "y"]
    assert planned.enforcement.note == (
        "made 2 promotions and 1 retirement; "
        "deferred 1 promotion and 1 retirement beyond the policy's limits"
    )


def test_report_only_changes_nothing_and_says_what_would_be_done() -> None:
    planned = plan(["a", "b", "c"], ["x"], auto_actions=False)
    assert planned.new == ()
    assert planned.enforcement.taken == []
    assert planned.enforcement.deferred == []
    assert planned.enforcement.note == (
        "report only, auto_actions is false: nothing was changed; auto actions would make "
        "2 promotions and 1 retirement, and defer 1 promotion and 0 retirements"
    )


def test_a_channel_that_has_the_status_already_leaves_its_place_to_the_next() -> None:
    statuses = {"a": held("a", Status.PROMOTED, "yesterday")}
    assert names(plan(["a", "b", "c"], [], statuses=statuses).new) == ["b", "c"]


def test_a_retired_channel_can_be_promoted() -> None:
    statuses = {"a": held("a", Status.RETIRED, "yesterday")}
    assert names(plan(["a"], [], statuses=statuses).new) == ["a"]


def test_a_second_delivery_does_nothing_more_though_others_are_due_now() -> None:
    """What the first delivery did counts against the limits of the second."""
    statuses = {c: held(c, Status.PROMOTED, "now") for c in ("b", "a")}
    planned = plan(["c", "d", "a"], [], statuses=statuses)
    assert planned.new == ()
    assert names(planned.enforcement.taken) == ["a", "b"]
    assert [action.score for action in planned.enforcement.taken] == [2.0, None]
    assert names(planned.enforcement.deferred) == ["c", "d"]


def test_the_report_names_some_deferred_actions_of_each_kind_and_counts_all() -> None:
    enforcement = plan([f"p{n:03}" for n in range(200)], ["r1", "r2"]).enforcement
    assert len(enforcement.deferred) == DEFERRED_SHOWN + 1
    assert enforcement.deferred[-1].channel == "r2"
    assert enforcement.deferred_total == 199


channels = st.lists(st.sampled_from("abcdefghij"), unique=True)


@given(
    st.lists(st.tuples(channels, channels), min_size=1, max_size=4),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_limits_are_never_exceeded_over_all_deliveries_of_a_task(
    deliveries: list[tuple[list[str], list[str]]], promotions: int, retirements: int
) -> None:
    """Even when each delivery finds other channels due; and no channel is acted on twice."""
    statuses: dict[str, ChannelStatus] = {}
    done: list[Action] = []
    for promote, retire in deliveries:
        planned = plan(
            promote,
            [channel for channel in retire if channel not in promote],
            statuses=statuses,
            promotions=promotions,
            retirements=retirements,
        )
        done += planned.new
        statuses |= {a.channel: held(a.channel, a.status, "now") for a in planned.new}
    assert sum(action.status is Status.PROMOTED for action in done) <= promotions
    assert sum(action.status is Status.RETIRED for action in done) <= retirements
    assert len({action.channel for action in done}) == len(done)
