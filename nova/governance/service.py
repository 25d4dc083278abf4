"""Runs governance: check tools and versions, score, judge, store the report, act, notify.

What the command line and the API need of governance is importable from here.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import redis
from redis.client import Pipeline

import nova
from nova.channels import newest_day
from nova.errors import ConfigurationError
from nova.governance.checks import Checks, run_checks
from nova.governance.enforcement import Plan, plan_actions
from nova.governance.models import (
    Action,
    AppliedOverride,
    ChannelStatus,
    Counts,
    Flag,
    Override,
    PolicyNote,
    Report,
    ScoredMetric,
    Status,
    Verdict,
    Window,
)
from nova.governance.notifications import Outbox, add_notifications
from nova.governance.overrides import (
    clear_override,
    list_overrides,
    list_statuses,
    reset_status,
    set_override,
)
from nova.governance.policy import Policy, load_policy, policy_source
from nova.governance.reports import (
    Commit,
    commit_plainly,
    get_report,
    list_channels,
    list_reports,
    publish,
    stage,
)
from nova.governance.scoring import FLAGS, Scores, score_channels
from nova.governance.watch import WatchFile, load_watch
from nova.governance.window import ChannelWindow, load_window
from nova.reports import Basis, Omission
from nova.settings import Settings
from nova.staging import staging

__all__ = [
    "clear_override",
    "get_report",
    "list_channels",
    "list_overrides",
    "list_reports",
    "list_statuses",
    "load_policy",
    "reset_status",
    "run_governance",
    "set_override",
]

logger = logging.getLogger(__name__)

#: Channels that a report shows from the top and from the bottom.
SHOWN = 10


def run_governance(
    client: redis.Redis,
    settings: Settings,
    report_id: str,
    auto_actions: bool | None = None,
    commit: Commit = commit_plainly,
    *,
    outbox: Outbox | None = None,
) -> Report | None:
    """Judge all channels and store the report; None, and nothing stored, without any metrics.

    Run again with the same id it replaces its report, and repeats no action. A watch file that is
    wrong, a tool that fails and a target that is away do not keep it from judging.

    Args:
        client: Redis with the channel metrics.
        settings: where the policy is, and how long reports are kept.
        report_id: id of the task that runs.
        auto_actions: whether flags become actions in this run; None leaves it to the policy.
        commit: makes the report visible; a task's goes through the ledger.
        outbox: publishes a notification with that commit; nobody is notified without.

    Raises:
        ConfigurationError: the policy is wrong, or the window needs more memory than it allows.
    """
    policy = load_policy(settings)
    end = newest_day(client)
    if end is None:
        logger.warning("no channel metrics yet: nothing to judge; load some with nova ingest")
        return None
    watch, watch_problem = _read_watch(settings)
    # Before the window, which needs memory: nothing is held while others are waited for.
    checks = run_checks(client, settings, watch, datetime.now(UTC))
    window = load_window(client, end, policy.window_days, policy.enforcement.memory_limit_mb)
    judgement = judge(window, policy, list_overrides(client))
    if auto_actions is None:
        auto_actions = policy.enforcement.auto_actions
    generated_at = datetime.now(UTC)

    def plan(statuses: Mapping[str, ChannelStatus]) -> Plan:
        limits = {
            Status.PROMOTED: policy.enforcement.max_promotions,
            Status.RETIRED: policy.enforcement.max_retirements,
        }
        return plan_actions(limits, judgement.due_actions(), statuses, report_id, auto_actions)

    def build(effects: Pipeline, decided: Plan) -> Report:
        note = PolicyNote(source=policy_source(settings), digest=policy.digest)
        report = judgement.report(report_id, generated_at, note, decided)
        report = _with_checks(report, checks, watch_problem)
        checks.remember(client, effects)
        return add_notifications(effects, report, watch.notify, outbox) if outbox else report

    retention = timedelta(days=settings.report_retention_days)
    with staging(client, "governance") as place:
        stage(place, report_id, judgement.all_scores(), judgement.noted(), retention)
        report = publish(client, place, plan, build, retention=retention, commit=commit)
    logger.info("governance report %s: %s", report.id, report.enforcement.note)
    return report


def _read_watch(settings: Settings) -> tuple[WatchFile, str | None]:
    """Return what to watch; nothing, and the line that says why, if the file is wrong."""
    try:
        return load_watch(settings), None
    except ConfigurationError as error:
        logger.error("nothing is watched and nobody notified: %s", error)
        return WatchFile(), str(error)


def _with_checks(report: Report, checks: Checks, watch_problem: str | None) -> Report:
    basis = report.basis
    if checks.tools or checks.versions:
        basis = basis.model_copy(update={"sources": [*basis.sources, "watched endpoints"]})
    if watch_problem is not None:
        omission = Omission(what="tools, versions and notifications", reason=watch_problem)
        basis = basis.model_copy(update={"left_out": [*basis.left_out, omission]})
    found = {"basis": basis, "tools": checks.tools, "versions": checks.versions}
    return report.model_copy(update=found)


@dataclass(frozen=True)
class Judgement:
    """Scores and overrides of one window, as yet without any effect."""

    window: ChannelWindow
    scores: Scores
    #: Channel index -> override, of the channels in the window.
    forced: dict[int, Override]
    ignored: dict[int, Override]
    #: Overrides of channels that the window does not know.
    unseen: list[Override]

    def all_scores(self) -> dict[bytes, float]:
        """Return the judged channels' scores, best first."""
        channels = self.window.channels
        ranking = self.scores.ranking
        scores = self.scores.score[ranking].tolist()
        return {channels[i]: score for i, score in zip(ranking.tolist(), scores, strict=True)}

    def flag(self, index: int) -> Flag:
        """Return a channel's flag: the operator's, where there is one."""
        override = self.forced.get(index)
        return self.scores.flag(index) if override is None else override.flag or Flag.NONE

    def flagged(self, flag: Flag) -> list[int]:
        """Return the channels with a flag: forced ones by id, then the others, best first."""
        ranking = self.scores.ranking
        scored = ranking[self.scores.flag_codes[ranking] == FLAGS.index(flag)].tolist()
        forced = [index for index, override in self.forced.items() if override.flag is flag]
        return sorted(forced) + [index for index in scored if index not in self.forced]

    def noted(self) -> list[Verdict]:
        """Return the channels of which a report says more than their score."""
        indexes = {index for flag in FLAGS if flag is not Flag.NONE for index in self.flagged(flag)}
        indexes.update(self.forced, self._top(), self._bottom())
        return [self.verdict(index) for index in sorted(indexes)]

    def verdict(self, index: int) -> Verdict:
        """Return what a report says about a channel."""
        reasons = self.scores.reasons(index)
        if override := self.forced.get(index):
            reasons.insert(0, f"flag set by {override.by}: {override.reason}")
        return Verdict(
            channel=self.window.channels[index].decode(),
            score=self._score(index),
            flag=self.flag(index),
            reasons=reasons,
        )

    def due_actions(self) -> dict[Status, list[Action]]:
        """Return the actions that the flags ask for: forced first, then the clearest score."""
        retire = self.flagged(Flag.RETIRE)
        forced = [index for index in retire if index in self.forced]
        scored = [index for index in retire if index not in self.forced]
        order = {
            Status.PROMOTED: self.flagged(Flag.PROMOTE),
            Status.RETIRED: forced + scored[::-1],
        }
        return {
            status: [
                Action(
                    channel=self.window.channels[index].decode(),
                    status=status,
                    score=self._score(index),
                )
                for index in indexes
            ]
            for status, indexes in order.items()
        }

    def report(
        self, report_id: str, generated_at: datetime, policy: PolicyNote, decided: Plan
    ) -> Report:
        """Return the summary of the run."""
        window = self.window.note()
        return Report(
            id=report_id,
            generated_at=generated_at,
            release=nova.__release__,
            basis=self._basis(window),
            window=window,
            policy=policy,
            channels_seen=len(self.window.channels),
            channels_judged=len(self.scores.ranking),
            metrics=self._metrics(),
            counts=self._counts(),
            top=[self.verdict(index) for index in self._top()],
            bottom=[self.verdict(index) for index in self._bottom()],
            enforcement=decided.enforcement,
            overrides=self._applied(),
        )

    def _basis(self, window: Window) -> Basis:
        counts = self._counts()
        left_out = [
            ("too few days with data, or no scored metric", counts.not_judged),
            ("ignored on an operator's word", counts.ignored),
        ]
        return Basis(
            days_used=window.days_used,
            days_missing=window.days_missing,
            rows=self.window.rows_read,
            sources=["channel metrics"],
            left_out=[
                Omission(what="channels", reason=reason, count=count)
                for reason, count in left_out
                if count
            ],
        )

    def _top(self) -> list[int]:
        top: list[int] = self.scores.ranking[:SHOWN].tolist()
        return top

    def _bottom(self) -> list[int]:
        bottom: list[int] = self.scores.ranking[::-1][:SHOWN].tolist()
        return bottom

    def _score(self, index: int) -> float | None:
        return float(self.scores.score[index]) if self.scores.judged[index] else None

    def _metrics(self) -> list[ScoredMetric]:
        """Return the metrics that some judged channel has."""
        return [
            ScoredMetric(name=f.feature.name, weight=f.weight, channels=f.population)
            for f in self.scores.features
            if f.population
        ]

    def _counts(self) -> Counts:
        by_flag = {flag.value: len(self.flagged(flag)) for flag in FLAGS}
        ignored = len(self.ignored)
        not_judged = len(self.window.channels) - ignored - sum(by_flag.values())
        return Counts(**by_flag, ignored=ignored, not_judged=not_judged)

    def _applied(self) -> list[AppliedOverride]:
        effects = [(override, "left out of judging") for override in self.ignored.values()]
        for index, override in self.forced.items():
            alone = self.scores.flag(index) if self.scores.judged[index] else "not judged"
            effects.append((override, f"flag {override.flag}; by its score alone: {alone}"))
        effects += [(override, "no effect: not seen in the window") for override in self.unseen]
        return [
            AppliedOverride(**override.model_dump(exclude={"at"}), effect=effect)
            for override, effect in sorted(effects, key=lambda pair: pair[0].channel)
        ]


def judge(window: ChannelWindow, policy: Policy, overrides: list[Override]) -> Judgement:
    """Score a window's channels, minding the operators' overrides."""
    row_of = {channel: row for row, channel in enumerate(window.channels)}
    forced, ignored, unseen = dict[int, Override](), dict[int, Override](), list[Override]()
    for override in overrides:
        row = row_of.get(override.channel.encode())
        if row is None:
            unseen.append(override)
        elif override.rule == "ignore":
            ignored[row] = override
        else:
            forced[row] = override
    left_out = np.zeros(len(window.channels), dtype=np.bool_)
    left_out[list(ignored)] = True
    scores = score_channels(window.arrays, policy, left_out)
    return Judgement(window, scores, forced, ignored, unseen)
