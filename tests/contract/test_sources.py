"""The examples of sources are files that Nova takes."""

import re
from pathlib import Path

from nova.sources import JsonFields, Source, parse_sources

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "sources.md"


def test_the_example_file_is_taken_and_shows_every_kind() -> None:
    found = parse_sources((ROOT / "config" / "sources.yml").read_text(), "config/sources.yml")
    assert {source.kind for source in found} == {"rss", "json", "trending"}


def test_the_documents_example_is_taken_and_shows_every_kind() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    found = parse_sources(example, "docs/sources.md")
    assert {source.kind for source in found} == {"rss", "json", "trending"}


def test_the_document_explains_every_field() -> None:
    text = DOCUMENT.read_text()
    assert [name for name in Source.model_fields if f"| `{name}` |" not in text] == []
    assert [name for name in JsonFields.model_fields if f"`{name}`" not in text] == []
