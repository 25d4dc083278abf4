"""docs/benchmarks.md: `make bench` writes all but a section, which `make bench-fleet` writes."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN = "<!-- Written by `make bench-fleet`. -->"
END = "<!-- Up to here. -->"
_SECTION = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)


def section_of(page: str) -> str:
    """Return the section of `make bench-fleet`, its marks included; empty if there is none."""
    found = _SECTION.search(page)
    return found[0] if found else ""


def with_section(page: str, content: str) -> str:
    """Return the page with that section's new content; one that is not there comes at the end."""
    section = f"{BEGIN}\n\n{content.strip()}\n\n{END}"
    if section_of(page):
        return _SECTION.sub(lambda _: section, page, count=1)
    return f"{page.rstrip()}\n\n{section}\n"
