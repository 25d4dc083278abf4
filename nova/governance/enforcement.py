"""Decides which flags become actions. No Redis, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nova.governance import models
from nova.governance.models import Action, ChannelStatus, Status
from nova.reports import counted

#: Deferred actions of each kind that a report names; it counts all of them.
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
    done, new, deferred, shown = list[Action](), list[Action](), list[Action](), list[Action]()
    for status, limit in limits.items():
        ours = _done_by(report_id, status, statuses, due[status])
        open_actions = [a for a in due[status] if _is_open(a, statuses, report_id)]
        room = max(0, limit - len(ours))
        done += ours
        new += open_actions[:room]
        deferred += open_actions[room:]
        shown += open_actions[room:][:DEFERRED_SHOWN]
    if not auto_actions:
        note = (
            "report only, auto_actions is false: nothing was changed; auto actions would make "
            f"{_count(new)}, and defer {_count(deferred)}"
        )
        return Plan(_enforcement(False, note, done, [], 0), ())
    note = f"made {_count(done + new)}; deferred {_count(deferred)} beyond the policy's limits"
    return Plan(_enforcement(True, note, done + new, shown, len(deferred)), tuple(new))


def _done_by(
    report_id: str,
    status: Status,
    statuses: Mapping[str, ChannelStatus],
    due: Sequence[Action],
) -> list[Action]:
    place = {action.channel: number for number, action in enumerate(due)}
    ours = [c for c, held in statuses.items() if held.report == report_id and held.status is status]
    ours.sort(key=lambda channel: (place.get(channel, len(place)), channel))
    return [
        due[place[channel]]
        if channel in place
        else Action(channel=channel, status=status, score=None)
        for channel in ours
    ]


def _is_open(action: Action, statuses: Mapping[str, ChannelStatus], report_id: str) -> bool:
    """Tell whether an action is still to be done: no run did it, and this run no other."""
    held = statuses.get(action.channel)
    return held is None or (held.status is not action.status and held.report != report_id)


def _count(actions: Sequence[Action]) -> str:
    promotions = sum(action.status is Status.PROMOTED for action in actions)
    retirements = len(actions) - promotions
    return f"{counted(promotions, 'promotion')} and {counted(retirements, 'retirement')}"


def _enforcement(
    auto_actions: bool, note: str, taken: list[Action], deferred: list[Action], deferred_total: int
) -> models.Enforcement:
    return models.Enforcement(
        auto_actions=auto_actions,
        note=note,
        taken=taken,
        deferred=deferred,
        deferred_total=deferred_total,
    )
