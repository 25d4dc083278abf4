"""The command `flower`: what it hands on to Flower, and what it says when it cannot listen."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import flower.__main__
import pytest
from jinja2 import Template
from tornado.options import options

from nova import flower as nova_flower
from nova import logs
from nova.settings import get_settings

ROLE = Path(__file__).resolve().parents[2] / "ansible" / "roles" / "flower"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """The command lines that Flower gets."""
    lines: list[list[str]] = []
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    monkeypatch.setenv("FLOWER_ADDRESS", "192.0.2.1")
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(flower.__main__, "main", lambda: lines.append(sys.argv))
    get_settings.cache_clear()
    yield lines
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("typed", "handed_on"),
    [
        (
            ["-A", "nova.celery_app", "--port=5555"],
            ["-A", "nova.celery_app", "flower", "--port=5555"],
        ),
        (["--port=5555", "--app=other"], ["-A", "other", "flower", "--port=5555"]),
        ([], ["-A", "nova.celery_app", "flower"]),
        (["--help"], ["-A", "nova.celery_app", "flower", "--help"]),
    ],
)
def test_the_app_goes_before_and_the_rest_behind(
    monkeypatch: pytest.MonkeyPatch, given: list[list[str]], typed: list[str], handed_on: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flower", *typed])
    nova_flower.main()
    assert given == [["celery", *handed_on]]


def test_it_listens_on_loopback_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: list[list[str]]
) -> None:
    nova_flower.run([])
    assert os.environ["FLOWER_ADDRESS"] == "192.0.2.1"
    monkeypatch.delenv("FLOWER_ADDRESS")
    nova_flower.run([])
    assert os.environ["FLOWER_ADDRESS"] == "127.0.0.1"
    assert len(given) == 2


def test_a_taken_port_is_one_line(monkeypatch: pytest.MonkeyPatch, given: list[list[str]]) -> None:
    def refuse() -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(flower.__main__, "main", refuse)
    monkeypatch.setattr(sys, "argv", ["flower"])
    with pytest.raises(SystemExit, match="nova: the port that Flower is to listen on is taken"):
        nova_flower.main()


def test_the_file_of_the_role_is_what_flower_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """User and password, and where to listen; nothing of it is in the environment."""
    template = (ROLE / "templates/etc/nova/credentials/flower.conf.j2").read_text()
    text = Template(template).render(
        flower_user="admin",
        flower_password="0123._~+/=-abc",  # all that the role allows
        flower_address="192.0.2.7",
        flower_port=5556,
    )
    (tmp_path / "flower.conf").write_text(text)
    for name in ("basic_auth", "address", "port"):
        monkeypatch.setattr(options.mockable(), name, getattr(options, name))
    options.parse_config_file(str(tmp_path / "flower.conf"), final=False)
    assert options.basic_auth == ["admin:0123._~+/=-abc"]
    assert (options.address, options.port) == ("192.0.2.7", 5556)
