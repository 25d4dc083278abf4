"""Which sources there are: a YAML file, checked when it is read.

NOVA_SOURCES names the file; without it there are no sources. `nova.source_reading` reads them, and
docs/sources.md describes the file.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from nova.config_files import Section, load_file, parse_text
from nova.errors import SourceError
from nova.fetching import Target
from nova.fetching.hosts import parse_url
from nova.settings import CREDENTIAL_NAME, Settings

#: How messages call the file.
WHAT = "sources"

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
CredentialName = Annotated[str, Field(pattern=f"^{CREDENTIAL_NAME}$")]
Path = Annotated[str, Field(min_length=1, max_length=200)]


class JsonFields(Section):
    """Where a JSON endpoint has what Nova reads: dotted paths, such as `snippet.title`."""

    items: str = Field(default="", max_length=200, description="The list; empty: the document.")
    title: Path = Field(description="Within an entry of the list.")
    channel: Path | None = Field(default=None, description="Name of the channel.")
    published: Path | None = Field(default=None, description="ISO 8601, or seconds since 1970.")
    views: Path | None = Field(default=None, description="Views so far.")

    def paths(self) -> Mapping[str, str]:
        """Return the paths within an entry that are given, by field."""
        return self.model_dump(exclude={"items"}, exclude_none=True)


class Source(Section):
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


class SourceFile(Section):
    """The file."""

    sources: tuple[Source, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _no_source_comes_twice(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several sources are called {', '.join(twice)}")
        if [source.kind for source in self.sources].count("trending") > 1:
            raise ValueError("several sources are of kind trending; they would be the same lists")
        return self


def load_sources(settings: Settings) -> tuple[Source, ...]:
    """Read the sources that NOVA_SOURCES names; none without it.

    Raises:
        ConfigurationError: the file cannot be read or is wrong; names file, line, field, reason.
    """
    path = settings.sources
    if path is None:
        return ()
    return load_file(path, SourceFile, what=WHAT, setting="NOVA_SOURCES").sources


def parse_sources(text: str, name: str) -> tuple[Source, ...]:
    """Check the text of a sources file; `name` is how messages call it.

    Raises:
        ConfigurationError: one line with all that is wrong, each with its line.
    """
    return parse_text(text, SourceFile, what=WHAT, name=name).sources
