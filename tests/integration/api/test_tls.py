"""The API with a certificate of its own."""

import re
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from nova.api.security import Role
from tests.integration.api.conftest import running_api
from tests.integration.tls import Certificates, make_certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """A CA, and a certificate of it for 127.0.0.1."""
    folder = tmp_path / "tls"
    folder.mkdir()
    return make_certificates(folder)


def settings_of(certificate: Path, key: Path) -> dict[str, str]:
    """The variables that make the API speak TLS."""
    return {"NOVA_API_TLS_CERT_FILE": str(certificate), "NOVA_API_TLS_KEY_FILE": str(key)}


def test_requests_are_answered_over_verified_tls_and_only_so(
    process_environment: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    """Who trusts the CA is served; who does not refuses; who speaks no TLS gets no answer."""
    environment = process_environment | settings_of(certificates.certificate, certificates.key)
    trust = ssl.create_default_context(cafile=certificates.ca)
    with running_api(environment, tmp_path, trust) as api:
        assert api.get("/api/celery/status", Role.VIEWER).status_code == httpx.codes.OK
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{api.url}/healthz")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{api.port}/healthz")


def refusal(environment: dict[str, str]) -> str:
    """Run the API, which is to refuse to start; return the one line that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "nova", "api"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    return line


def test_a_key_of_another_certificate_is_one_line(
    process_environment: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path)
    line = refusal(process_environment | settings_of(certificates.certificate, other.key))
    assert re.search(r"cannot use the certificate .*KEY_VALUES_MISMATCH", line)
    assert "set NOVA_API_TLS_CERT_FILE and NOVA_API_TLS_KEY_FILE" in line


def test_a_key_with_a_passphrase_is_one_line_and_asks_nobody(
    process_environment: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    sealed = tmp_path / "sealed.key"
    command = [
        "openssl",
        "pkey",
        "-in",
        str(certificates.key),
        "-aes256",
        "-passout",
        "pass:abcdef",
    ]
    subprocess.run([*command, "-out", str(sealed)], check=True)
    line = refusal(process_environment | settings_of(certificates.certificate, sealed))
    assert f"the key {sealed} has a passphrase" in line


def test_a_file_that_is_not_there_is_one_line(
    process_environment: dict[str, str], certificates: Certificates, tmp_path: Path
) -> None:
    line = refusal(process_environment | settings_of(tmp_path / "none.pem", certificates.key))
    assert "none.pem" in line
    assert "No such file or directory" in line


def test_a_certificate_without_a_key_is_refused(
    process_environment: dict[str, str], certificates: Certificates
) -> None:
    line = refusal(process_environment | {"NOVA_API_TLS_CERT_FILE": str(certificates.certificate)})
    assert "NOVA_API_TLS_CERT_FILE and NOVA_API_TLS_KEY_FILE belong together" in line
