"""The governance policy: a YAML file, checked when it is read."""

import hashlib
from importlib import resources
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nova.errors import ConfigurationError
from nova.settings import Settings

PACKAGED = resources.files("nova.governance").joinpath("policy.yml")
PACKAGED_NAME = "packaged policy"


class _Section(BaseModel):
    """Every field must be there, no other may, and nothing is converted behind one's back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Weights(_Section):
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


class Thresholds(_Section):
    """Scores at which a channel is flagged."""

    promote: float = Field(description="Flag promote at this score or above.")
    watch: float = Field(description="Flag watch at this score or below.")
    retire: float = Field(description="Flag retire at this score or below.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.promote > self.watch > self.retire:
            raise ValueError("must be in the order promote > watch > retire")
        return self


class Enforcement(_Section):
    """What one run may do."""

    auto_actions: bool = Field(description="Act on flags; false only reports.")
    max_promotions: int = Field(ge=0, description="Most channels that one run may promote.")
    max_retirements: int = Field(ge=0, description="Most channels that one run may retire.")
    memory_limit_mb: int = Field(ge=1, description="Most memory that a run may need, MB.")


class Policy(_Section):
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
        ConfigurationError: the file cannot be read or is wrong; names file, field and reason.
    """
    path = settings.governance_policy
    if path is None:
        return parse_policy(PACKAGED.read_text(encoding="utf-8"), PACKAGED_NAME)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the governance policy {path} ({error.strerror}); "
            "check NOVA_GOVERNANCE_POLICY"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"governance policy {path}: is not UTF-8 text") from None
    return parse_policy(text, str(path))


def parse_policy(text: str, name: str) -> Policy:
    """Check a policy's text; `name` is how messages call it.

    Raises:
        ConfigurationError: one line with all that is wrong.
    """
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"governance policy {name}: {_where(error)}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"governance policy {name}: must be a mapping of fields to values")
    try:
        return Policy.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"governance policy {name}: {_explain(error)}") from None


def policy_source(settings: Settings) -> str:
    """Return how messages and reports call the policy in use."""
    return str(settings.governance_policy or PACKAGED_NAME)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}is not YAML: {getattr(error, 'problem', None) or 'unreadable'}"


def _explain(error: ValidationError) -> str:
    problems = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"{field}: {message}" if field else message)
    return "; ".join(problems)
