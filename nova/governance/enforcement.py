"""Decides which flags become actions. No Redis, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nova.governance import models
from nova.governance.models import Action, ChannelStatus, Status

#: Deferred actions that a report names; it counts the rest.
DEFERRED_SHOWN = 50


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    #: For the report.
    enforcement: models.Enforcement
    #: Actions whose status is still to be written.
    new: tuple[Action, ...]


def plan_actions(
    limits: Mapping[Status, int],
    due: Mapping[Status, Sequence[Action]],
    statuses: Mapping[str, ChannelStatus],
    report_id: str,
    auto_actions: bool,
) -> Plan:
    """Choose the actions of a run.

    A channel that has the status already needs no action. What an earlier delivery of the same
    task did, recognised by the report's id, counts as done by this run: it is not done again,
    and the limits hold for all deliveries together.

    Args:
        limits: most actions by status.
        due: actions that the flags ask for, by status, the most urgent first.
        statuses: the channels' present status.
        report_id: id of this run's report.
        auto_actions: False plans nothing and says what would be done.
    """
    done, new, deferred = list[Action](), list[Action](), list[Action]()
    for status, limit in limits.items():
        ours = _done_by(report_id, status, statuses, due[status])
        open_actions = [a for a in due[status] if not _has(statuses, a.channel, status)]
        room = max(0, limit - len(ours))
        done += ours
        new += open_actions[:room]
        deferred += open_actions[room:]
    if not auto_actions:
        note = (
            "report only, auto_actions is false: nothing was changed; "
            f"{_count(new)} would be made and {_count(deferred)} deferred"
        )
        return Plan(_enforcement(False, note, done, []), ())
    note = f"{_count(done + new)} made, {_count(deferred)} beyond the policy's limits deferred"
    return Plan(_enforcement(True, note, done + new, deferred), tuple(new))


def _done_by(
    report_id: str,
    status: Status,
    statuses: Mapping[str, ChannelStatus],
    due: Sequence[Action],
) -> list[Action]:
    scores = {action.channel: action.score for action in due}
    return [
        Action(channel=held.channel, status=status, score=scores.get(held.channel))
        for held in statuses.values()
        if held.report == report_id and held.status is status
    ]


def _has(statuses: Mapping[str, ChannelStatus], channel: str, status: Status) -> bool:
    held = statuses.get(channel)
    return held is not None and held.status is status


def _count(actions: Sequence[Action]) -> str:
    promotions = sum(action.status is Status.PROMOTED for action in actions)
    retirements = len(actions) - promotions
    return f"{promotions:,} promotion(s) and {retirements:,} retirement(s)"


def _enforcement(
    auto_actions: bool, note: str, taken: list[Action], deferred: list[Action]
) -> models.Enforcement:
    return models.Enforcement(
        auto_actions=auto_actions,
        note=note,
        taken=taken,
        deferred=deferred[:DEFERRED_SHOWN],
        deferred_total=len(deferred),
    )
