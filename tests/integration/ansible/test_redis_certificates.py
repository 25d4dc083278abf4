"""The own CA of Redis: certificates that Redis' clients accept, and a CA that can be changed."""

import json
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.integration.ansible.conftest import ANSIBLE, run_playbook

SCRIPT = ANSIBLE / "roles/redis/files/make_certificates.sh"
HOSTS = ("r1=192.0.2.1", "r2=redis2.example.com", "r3=2001:db8::3")


def make(folder: Path, action: str, *hosts: str) -> list[str]:
    """Run the script; return the lines it prints: what it made."""
    done = subprocess.run(
        ["sh", str(SCRIPT), str(folder), action, *hosts], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def verifies(folder: Path, ca: str, host: str, *options: str) -> bool:
    """Whether openssl accepts a host's certificate with a file of CA certificates."""
    command = ["openssl", "verify", *options, "-CAfile", str(folder / ca), str(folder / host)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a CA and a certificate for each host."""
    assert len(make(tmp_path / "tls", "ensure", *HOSTS)) == 1 + len(HOSTS)
    return tmp_path / "tls"


def test_each_certificate_names_its_host_and_its_address(folder: Path) -> None:
    assert verifies(folder, "ca.crt", "r1.crt", "-verify_ip", "192.0.2.1")
    assert verifies(folder, "ca.crt", "r1.crt", "-verify_ip", "127.0.0.1")
    assert not verifies(folder, "ca.crt", "r1.crt", "-verify_ip", "192.0.2.2")
    assert verifies(folder, "ca.crt", "r2.crt", "-verify_hostname", "redis2.example.com")
    assert verifies(folder, "ca.crt", "r3.crt", "-verify_ip", "2001:db8::3")


def test_a_check_makes_nothing(tmp_path: Path, folder: Path) -> None:
    """It says what would be made, and leaves even the folder unmade."""
    assert make(tmp_path / "none", "check-ensure", *HOSTS) == ["would make a CA and certificates"]
    assert not (tmp_path / "none").exists()
    assert make(folder, "check-ensure", *HOSTS) == []
    certificate = (folder / "r1.crt").read_bytes()
    assert make(folder, "check-ensure", "r1=192.0.2.9") == ["would make the certificate of r1"]
    assert make(folder, "check-renew", "r1=192.0.2.1") == ["would make the certificate of r1"]
    assert make(folder, "check-new-ca") == ["would make another CA"]
    assert make(folder, "check-drop-old-ca") == []
    assert (folder / "r1.crt").read_bytes() == certificate


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.glob("*.key"))


def test_what_is_good_is_kept(folder: Path) -> None:
    """A second run makes nothing; another address makes one certificate."""
    assert make(folder, "ensure", *HOSTS) == []
    moved = make(folder, "ensure", "r1=192.0.2.9", *HOSTS[1:])
    assert moved == ["made the certificate of r1"]
    assert verifies(folder, "ca.crt", "r1.crt", "-verify_ip", "192.0.2.9")


def test_the_ca_changes_with_an_overlap(folder: Path) -> None:
    """ca.crt always verifies what every host shows; the old CA goes when nobody needs it."""
    make(folder, "new-ca")
    make(folder, "new-ca")  # interrupted after that, and run again
    (old := folder / "old.pem").write_bytes((folder / "r1.crt").read_bytes())
    assert verifies(folder, "ca.crt", "r1.crt")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(folder, "drop-old-ca", *HOSTS)
    assert "is still of the old CA; renew it first" in refused.value.stderr
    make(folder, "renew-by-new-ca", *HOSTS)
    assert verifies(folder, "ca.crt", "r1.crt")
    assert verifies(folder, "ca.crt", old.name)
    gone = folder / "r0.crt"
    gone.write_bytes(old.read_bytes())  # of a host that has left the group
    assert make(folder, "drop-old-ca", *HOSTS) == ["the old CA is trusted no more"]
    assert verifies(folder, "ca.crt", "r1.crt")
    assert not verifies(folder, "ca.crt", old.name)
    assert make(folder, "drop-old-ca", *HOSTS) == []


@pytest.mark.parametrize("action", ["renew", "ensure", "check-renew"])
def test_no_certificate_comes_from_a_ca_that_not_everybody_trusts_yet(
    folder: Path, action: str
) -> None:
    """A change of the CA stopped half-way; Nova's hosts know the old one alone."""
    make(folder, "new-ca")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(folder, action, "r1=192.0.2.9")
    assert "finish that first, with rotate-certificates.yml -e new_ca=true" in refused.value.stderr
    assert make(folder, "ensure", *HOSTS) == []


def test_a_ca_whose_making_was_interrupted_is_trusted(folder: Path) -> None:
    (folder / "ca.crt").unlink()
    make(folder, "ensure", *HOSTS)
    assert verifies(folder, "ca.crt", "r1.crt")


@pytest.mark.parametrize("action", ["ensure", "check-ensure", "renew", "renew-by-new-ca"])
@pytest.mark.parametrize("loss", ["lost", "another"])
def test_no_ca_is_made_where_one_is_trusted_already(folder: Path, action: str, loss: str) -> None:
    """Its key was lost, or is that of another: nobody trusts what comes from a new one."""
    if loss == "lost":
        (folder / "issuer.key").unlink()
    else:
        make(folder.parent / "other", "ensure")
        (folder / "ca.crt").write_bytes((folder.parent / "other" / "ca.crt").read_bytes())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(folder, action, *HOSTS)
    [line] = refused.value.stderr.splitlines()
    assert line.startswith(f"{folder} has no issuer.key of a CA in its ca.crt; copy the folder")
    assert "rotate-certificates.yml -e new_ca=true" in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("kept", [["ca.crt"], ["ca.crt", "issuer.crt", "r1.crt", "r1.key"]])
@pytest.mark.parametrize("is_changing", [False, True], ids=["one CA", "two CAs"])
def test_a_ca_whose_key_was_lost_can_be_changed(
    folder: Path, kept: list[str], is_changing: bool
) -> None:
    """With its certificate alone, such as a host has it; also when a change had begun before."""
    if is_changing:
        make(folder, "new-ca")
    (old := folder / "old.pem").write_bytes((folder / "r2.crt").read_bytes())
    for path in folder.iterdir():
        if path.name not in {*kept, old.name}:
            path.unlink()
    assert make(folder, "new-ca") == ["made a CA"]
    assert verifies(folder, "ca.crt", old.name)
    assert make(folder, "new-ca") == []
    make(folder, "renew-by-new-ca", *HOSTS)
    make(folder, "drop-old-ca", *HOSTS)
    assert verifies(folder, "ca.crt", "r1.crt")
    assert not verifies(folder, "ca.crt", old.name)


def test_without_its_folder_no_ca_is_changed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(tmp_path / "tls", "new-ca")
    assert "has no ca.crt: no CA to replace" in refused.value.stderr


@pytest.mark.parametrize(
    ("there", "handed"),
    [
        ([], []),
        (["ca.crt"], ["ca"]),
        (["ca.crt", "a.crt", "a.key"], ["ca", "certificate", "key"]),
    ],
    ids=["a check of a new fleet", "a folder that was lost", "as it should be"],
)
def test_hosts_get_what_the_folder_has(tmp_path: Path, there: list[str], handed: list[str]) -> None:
    """The new CA first, where the folder was lost: the certificates come from it afterwards."""
    for name in there:
        (tmp_path / name).write_text(name)
    files = ("defaults", "vars")
    play = {
        "hosts": "a",
        "gather_facts": False,
        "vars_files": [str(ANSIBLE / "roles" / "redis" / part / "main.yml") for part in files],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ __redis_converge_request.tls | to_json }}",
                    "dest": str(tmp_path / "said.json"),
                }
            }
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    given = {"redis_nova_password": "n", "redis_admin_password": "a", "redis_tls": True}
    given["redis_tls_folder"] = str(tmp_path)
    options = ("--inventory=a,", "--connection=local", "--extra-vars", json.dumps(given))
    said = run_playbook(tmp_path / "play.yml", *options)
    assert "failed=0" in said, said
    assert sorted(json.loads((tmp_path / "said.json").read_text())) == handed
