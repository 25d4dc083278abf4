"""Log files: named as in the guide, and renamed without losing a line."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nova import logs
from nova.errors import ConfigurationError
from nova.settings import Settings


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("test", level=logging.INFO)
    yield logger
    for handler in logger.handlers:
        handler.close()


def test_lines_after_a_rename_go_to_a_new_file_and_none_is_lost(
    make_settings: Callable[..., Settings], logger: logging.Logger, tmp_path: Path
) -> None:
    logs.add_file(logger, make_settings(NOVA_LOG_DIR=str(tmp_path)), "api")
    path = tmp_path / "api.log"
    logger.info("before")
    path.rename(tmp_path / "api.log.1")
    logger.info("after")
    assert "before" in (tmp_path / "api.log.1").read_text()
    assert "after" in path.read_text()


def test_without_a_folder_no_file_is_written(
    make_settings: Callable[..., Settings], logger: logging.Logger
) -> None:
    logs.add_file(logger, make_settings(), "api")
    assert logger.handlers == []


def test_a_folder_that_cannot_be_written_is_named_with_its_setting(
    make_settings: Callable[..., Settings], logger: logging.Logger, tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(ConfigurationError, match=f"{absent}.*NOVA_LOG_DIR"):
        logs.add_file(logger, make_settings(NOVA_LOG_DIR=str(absent)), "api")
