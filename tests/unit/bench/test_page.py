"""Two commands write docs/benchmarks.md, and neither touches what the other wrote."""

from bench.page import section_of, with_section


def test_a_page_without_the_section_gets_it_at_its_end() -> None:
    page = with_section("# Benchmarks\n\n## Runtime\n", "## Fleet\n\nfirst")
    assert page.startswith("# Benchmarks\n\n## Runtime\n\n<!--")
    assert "## Fleet\n\nfirst\n" in page
    assert page.endswith("-->\n")


def test_only_the_section_is_replaced() -> None:
    """Its text may have what looks like a group of a regular expression."""
    page = with_section("# Benchmarks\n", "## Fleet\n\nfirst") + "\n## After\n"
    again = with_section(page, r"## Fleet \1 \g<0>")
    assert again == page.replace("## Fleet\n\nfirst", r"## Fleet \1 \g<0>")


def test_the_section_can_be_put_into_a_new_page() -> None:
    page = with_section("# Benchmarks\n", "## Fleet")
    assert section_of("# Benchmarks\n") == ""
    assert page == f"# Benchmarks\n\n{section_of(page)}\n"
