"""The reference pages say what the code says."""

import pytest

from scripts import reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_reference_page_is_what_make_docs_writes(name: str) -> None:
    page = (reference.FOLDER / name).read_text()
    assert page == reference.PAGES[name](), "run `make docs`"
