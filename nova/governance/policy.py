"""The governance policy: a YAML file, checked when it is read."""

import hashlib
from importlib import resources
from typing import Self

from pydantic import Field, model_validator

from nova.config_files import Section, load_file, parse_text
from nova.settings import Settings

PACKAGED = resources.files("nova.governance").joinpath("policy.yml")
PACKAGED_NAME = "packaged policy"
#: How messages call the file.
WHAT = "governance policy"


class Weights(Section):
    """How much each metric counts; only the ratios matter, 0 leaves a metric out."""

    views: float = Field(ge=0, description="Views a day, on a logarithmic scale.")
    growth: float = Field(ge=0, description="Views, second half of the window against the first.")
    engagement: float = Field(ge=0, description="Likes, comments and shares per view.")
    rpm: float = Field(ge=0, description="Revenue per thousand views, USD.")
    click_through: float = Field(ge=0, description="Percent of impressions that led to a view.")
    watch_time: float = Field(ge=0, description="Hours watched a day, on a logarithmic scale.")
    subscribers: float = Field(ge=0, description="Net subscribers a day, on a logarithmic scale.")

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not any(weight for _, weight in self):
            raise ValueError("at least one weight must be above 0")
        return self


class Thresholds(Section):
    """Scores at which a channel is flagged."""

    promote: float = Field(description="Flag promote at this score or above.")
    watch: float = Field(description="Flag watch at this score or below.")
    retire: float = Field(description="Flag retire at this score or below.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.promote > self.watch > self.retire:
            raise ValueError("must be in the order promote > watch > retire")
        return self


class Enforcement(Section):
    """What one run may do."""

    auto_actions: bool = Field(description="Act on flags; false only reports.")
    max_promotions: int = Field(ge=0, description="Most channels that one run may promote.")
    max_retirements: int = Field(ge=0, description="Most channels that one run may retire.")
    memory_limit_mb: int = Field(ge=1, description="Most memory that a run may need, MB.")


class Policy(Section):
    """How channels are judged, and what one run may do about it."""

    window_days: int = Field(ge=2, le=400, description="Days that are looked at.")
    min_days: int = Field(ge=1, description="Days a channel must be seen on to be judged.")
    weights: Weights
    z_score_limit: float = Field(gt=0, description="Most standard deviations that count.")
    consistency_bonus: float = Field(ge=0, description="Bonus of a perfectly steady channel.")
    thresholds: Thresholds
    enforcement: Enforcement

    @model_validator(mode="after")
    def _window_is_long_enough(self) -> Self:
        if self.min_days > self.window_days:
            raise ValueError("min_days must not exceed window_days")
        return self

    @property
    def digest(self) -> str:
        """Twelve hex digits that change with any value of the policy."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def load_policy(settings: Settings) -> Policy:
    """Read the policy that NOVA_GOVERNANCE_POLICY names, or the packaged one.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; names file, line, field, reason.
    """
    path = settings.governance_policy
    if path is None:
        return parse_policy(PACKAGED.read_text(encoding="utf-8"), PACKAGED_NAME)
    return load_file(path, Policy, what=WHAT, setting="NOVA_GOVERNANCE_POLICY")


def parse_policy(text: str, name: str) -> Policy:
    """Check a policy's text; `name` is how messages call it.

    Raises:
        ConfigurationError: one line with all that is wrong, each with its line.
    """
    return parse_text(text, Policy, what=WHAT, name=name)


def policy_source(settings: Settings) -> str:
    """Return how messages and reports call the policy in use."""
    return str(settings.governance_policy or PACKAGED_NAME)
