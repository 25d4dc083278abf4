"""Which sources there are: a YAML file, checked when it is read.

NOVA_SOURCES names the file; without it there are no sources. `nova.source_reading` reads them, and
docs/sources.md describes the file.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nova.errors import ConfigurationError, SourceError
from nova.fetching import Target
from nova.fetching.hosts import parse_url
from nova.settings import CREDENTIAL_NAME, Settings

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
CredentialName = Annotated[str, Field(pattern=f"^{CREDENTIAL_NAME}$")]
Path = Annotated[str, Field(min_length=1, max_length=200)]


class _Section(BaseModel):
    """No field but the known ones, and nothing is converted behind one's back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class JsonFields(_Section):
    """Where a JSON endpoint has what Nova reads: dotted paths, such as `snippet.title`."""

    items: str = Field(default="", max_length=200, description="The list; empty: the document.")
    title: Path = Field(description="Within an entry of the list.")
    channel: Path | None = Field(default=None, description="Name of the channel.")
    published: Path | None = Field(default=None, description="ISO 8601, or seconds since 1970.")
    views: Path | None = Field(default=None, description="Views so far.")

    def paths(self) -> Mapping[str, str]:
        """Return the paths within an entry that are given, by field."""
        return self.model_dump(exclude={"items"}, exclude_none=True)


class Source(_Section):
    """One source."""

    name: Name = Field(description="What reports call it; small letters, digits, - and _.")
    kind: Literal["rss", "json", "trending"] = Field(
        description="rss: an RSS or Atom feed; json: a JSON endpoint; trending: the trending "
        "lists that were ingested, which need no URL."
    )
    url: str | None = Field(default=None, description="http or https; no password in it.")
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")] | None = Field(
        default=None, description="Language of the titles, two letters (ISO 639-1)."
    )
    fields: JsonFields | None = Field(default=None, description="For json.")
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] | None = Field(
        default=None, description="In place of NOVA_FETCH_TIMEOUT_SECONDS."
    )
    headers: dict[HeaderName, CredentialName] = Field(
        default_factory=dict, description="Header -> name of the credential that is its value."
    )
    private: bool = Field(
        default=False, description="Its host name may lead to a private network's address."
    )

    @field_validator("url")
    @classmethod
    def _can_be_fetched(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                parse_url(value)
            except SourceError as error:
                raise ValueError(error.reason) from None
        return value

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> Self:
        if (self.url is None) != (self.kind == "trending"):
            needs = "takes no url" if self.kind == "trending" else "needs a url"
            raise ValueError(f"kind {self.kind} {needs}")
        if (self.fields is None) == (self.kind == "json"):
            needs = "needs fields" if self.kind == "json" else "takes no fields"
            raise ValueError(f"kind {self.kind} {needs}")
        return self

    @property
    def target(self) -> Target | None:
        """What to fetch; None for what was ingested."""
        if self.url is None:
            return None
        return Target(self.url, self.timeout_seconds, self.headers, self.private)


class SourceFile(_Section):
    """The file."""

    sources: tuple[Source, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several sources are called {', '.join(twice)}")
        return self


def load_sources(settings: Settings) -> tuple[Source, ...]:
    """Read the sources that NOVA_SOURCES names; none without it.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; names file, line, field, reason.
    """
    path = settings.sources
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the sources {path} ({error.strerror}); check NOVA_SOURCES"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"sources {path}: is not UTF-8 text") from None
    return parse_sources(text, str(path))


def parse_sources(text: str, name: str) -> tuple[Source, ...]:
    """Check the text of a sources file; `name` is how messages call it.

    Raises:
        ConfigurationError: one line with all that is wrong, each with its line.
    """
    try:
        content: Any = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"sources {name}: {_where(error)}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"sources {name}: must be a mapping with a list `sources`")
    try:
        return SourceFile.model_validate(content).sources
    except ValidationError as error:
        raise ConfigurationError(f"sources {name}: {_explain(error, tree)}") from None


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}is not YAML: {getattr(error, 'problem', None) or 'unreadable'}"


def _explain(error: ValidationError, tree: yaml.Node | None) -> str:
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"line {_line(tree, item['loc'])}, {field or 'sources'}: {message}")
    return "; ".join(problems)


def _line(node: yaml.Node | None, place: Sequence[int | str]) -> int:
    """Return the line of a field, or of the closest thing around it that is there."""
    line = node.start_mark.line + 1 if node else 1
    for part in place:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == part]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
            continue
        else:
            break
        line = node.start_mark.line + 1
    return line
