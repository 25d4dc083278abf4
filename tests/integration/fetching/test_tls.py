"""HTTPS: the certificate must be the name's, though the connection goes to a checked address."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from nova.errors import SourceError
from nova.fetching import Fetcher, Target
from tests.integration.fetching.conftest import WebServer
from tests.integration.tls import Certificates, make_certificates


@pytest.fixture
def certificates(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """Certificates for 127.0.0.1, with which the server answers and whose CA fetchers trust."""
    found = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(found.certificate, found.key)
    web.use_tls(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(found.ca))
    return found


@pytest.mark.usefixtures("certificates")
def test_a_page_comes_over_tls(web: WebServer, make_fetcher: Callable[..., Fetcher]) -> None:
    web.say("/feed", b"sealed")
    target = Target(f"https://127.0.0.1:{web.port}/feed")
    assert make_fetcher(target).fetch(target).body == b"sealed"


@pytest.mark.usefixtures("certificates")
def test_a_certificate_of_another_name_is_refused(
    web: WebServer, make_fetcher: Callable[..., Fetcher]
) -> None:
    """It is good for the address that is connected to, but not for the name that was asked."""
    target = Target(f"https://news.example:{web.port}/feed", private=True)
    fetcher = make_fetcher(target, resolver=lambda *_: ["127.0.0.1"])
    with pytest.raises(SourceError, match="Hostname mismatch"):
        fetcher.fetch(target)
    assert web.requests == []


@pytest.mark.usefixtures("certificates")
def test_a_redirect_from_https_to_http_is_refused(
    web: WebServer, make_fetcher: Callable[..., Fetcher]
) -> None:
    web.say("/feed", status=302, Location=web.url("/plain"))
    target = Target(f"https://127.0.0.1:{web.port}/feed")
    with pytest.raises(SourceError, match="redirects from https to http://"):
        make_fetcher(target).fetch(target)
