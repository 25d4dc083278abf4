"""The units agree with systemd, with the settings, with Celery and with each other."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nova.runtime.drain import EXTEND_SECONDS, NOTIFY_SECONDS
from nova.runtime.watchdog import PINGS_PER_PERIOD
from nova.settings import Settings
from nova.store import SOCKET_TIMEOUT_SECONDS

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENT = ROOT / "deployment"
UNITS = DEPLOYMENT / "systemd"
SERVICES = ("celery-worker@.service", "celery-beat.service", "nova-api.service", "flower.service")
MEMBERS = (*SERVICES, "nova-api.socket")
#: Where a host has programs; systemd-analyze wants to find them.
RELEASE = "/opt/nova/current/bin"
NOTING = "/usr/local/sbin/nova-host"
FLOWER_FILE = "flower.conf"
WORST_EXPOSURE = 2.0


def values(unit: str, key: str) -> list[str]:
    """All values that a unit gives for a key, in order."""
    lines = (UNITS / unit).read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def analyze(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on unit files in a folder."""
    program = shutil.which("systemd-analyze")
    assert program, "systemd-analyze is needed: apt install systemd"
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def unit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as a host has them, with an instance of the template, and a program to run."""
    folder = tmp_path_factory.mktemp("units")
    for path in UNITS.iterdir():
        # They are not on this machine: another program that exists stands for them.
        text = path.read_text(encoding="utf-8")
        text = re.sub(rf"{RELEASE}/\w+|{NOTING}", "/bin/true", text)
        (folder / path.name).write_text(text, encoding="utf-8")
    template = folder / "celery-worker@.service"
    shutil.copy(template, folder / "celery-worker@trends.service")
    shutil.copy(template, folder / "celery-worker.service")
    return folder


def test_systemd_accepts_every_unit(unit_folder: Path) -> None:
    """`systemd-analyze verify` has nothing to say about any unit, template and links included."""
    names = [path.name for path in unit_folder.iterdir() if path.name != "celery-worker@.service"]
    result = analyze("verify", "--man=no", *(f"./{name}" for name in names), folder=unit_folder)
    # What the machine's own units are told is not about ours.
    about_ours = [
        line for line in result.stderr.splitlines() if any(name in line for name in names)
    ]
    assert about_ours == []
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_exposure_is_low(service: str, unit_folder: Path) -> None:
    """Each service's exposure score is at most 2.0 of 10; on the lab's hosts this is tested too."""
    name = service.replace("@.", "@trends.")
    result = analyze("security", "--offline=true", f"./{name}", folder=unit_folder)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    assert float(found.group(1)) <= WORST_EXPOSURE


@pytest.mark.parametrize("link", ["celery-worker.service", "celery-beat.service"])
def test_the_paths_of_the_guide_lead_to_the_units(link: str) -> None:
    """`cp deployment/<link>` of the guide copies the one unit file that there is."""
    path = DEPLOYMENT / link
    assert path.is_symlink()
    assert not path.readlink().is_absolute()
    assert path.resolve().parent == UNITS


@pytest.mark.parametrize("unit", MEMBERS)
def test_the_target_starts_and_stops_every_unit(unit: str) -> None:
    """Enabled units start with nova.target and stop with it, the API's socket too."""
    assert values(unit, "PartOf") == ["nova.target"]
    assert "nova.target" in values(unit, "WantedBy")[0].split()


@pytest.mark.parametrize("unit", MEMBERS)
def test_every_unit_notes_what_it_starts_with(unit: str) -> None:
    """As root, and without failing where the role's program is not: on the guide's simple host."""
    assert values(unit, "ExecStartPre") == [f"-+{NOTING} record %n"]


@pytest.mark.parametrize("service", SERVICES)
def test_units_start_without_the_target(service: str) -> None:
    """On the guide's simple host nova.target is not there; the units start at boot all the same."""
    assert "multi-user.target" in values(service, "WantedBy")[0].split()


@pytest.mark.parametrize("service", SERVICES)
def test_every_credential_is_a_secret_setting_with_a_fallback(service: str) -> None:
    """Credentials are named after secret settings, and a missing file does not stop the unit."""
    secrets = {
        (field.alias or "").lower()
        for field in Settings.model_fields.values()
        if "Secret" in str(field.annotation)
    }
    loaded = dict(value.split(":", 1) for value in values(service, "LoadCredential"))
    loaded.pop(FLOWER_FILE, None)
    fallbacks = {value.partition(":")[0] for value in values(service, "SetCredential")}
    assert loaded
    assert set(loaded) <= secrets
    assert set(loaded) == fallbacks
    assert all(path == f"/etc/nova/credentials/{name}" for name, path in loaded.items())


def test_flower_does_not_start_without_its_password() -> None:
    """Nothing stands in for the file, which is Flower's own and no setting of Nova's."""
    names = [value.partition(":")[0] for value in values("flower.service", "LoadCredential")]
    assert FLOWER_FILE in names
    assert FLOWER_FILE not in str(values("flower.service", "SetCredential"))
    assert values("flower.service", "ExecStart")[0].endswith(f" --conf=%d/{FLOWER_FILE}")


def test_only_the_api_gets_the_key_of_the_tokens() -> None:
    """Workers, beat and Flower sign no tokens, so they are not given the key."""
    having = [unit for unit in SERVICES if "jwt_secret_key" in str(values(unit, "LoadCredential"))]
    assert having == ["nova-api.service"]


@pytest.mark.parametrize("service", SERVICES)
def test_redis_may_be_away_for_ever(service: str) -> None:
    """Neither a start timeout nor a start limit makes systemd give up on a unit."""
    assert values(service, "StartLimitIntervalSec") == ["0"]
    if values(service, "Type") == ["notify"]:
        assert values(service, "TimeoutStartSec") == ["infinity"]


@pytest.mark.parametrize("service", SERVICES)
def test_only_the_main_process_is_asked_to_stop(service: str) -> None:
    """Pool children that got SIGTERM themselves would drop what they run."""
    assert values(service, "KillMode") == ["mixed"]


@pytest.mark.parametrize("service", [unit for unit in SERVICES if unit != "flower.service"])
def test_what_does_not_get_on_is_killed_soon(service: str) -> None:
    """A process that is stuck ignores SIGABRT too, and would live on for TimeoutStopSec.

    A command waits for a Redis that froze for some seconds, so the watchdog waits for longer.
    """
    [watchdog] = values(service, "WatchdogSec")
    assert int(watchdog) / PINGS_PER_PERIOD > 2 * SOCKET_TIMEOUT_SECONDS
    [abort] = values(service, "TimeoutAbortSec")
    assert int(abort) <= 10


def test_a_worker_that_asks_for_time_gets_it() -> None:
    """What it asks for at a time is longer than it lets systemd wait for the next word."""
    [stop] = values("celery-worker@.service", "TimeoutStopSec")
    assert EXTEND_SECONDS >= 10 * NOTIFY_SECONDS
    assert int(stop) > EXTEND_SECONDS


def test_the_hardening_is_the_same_everywhere() -> None:
    """A line added to one service's hardening is not forgotten in the others."""
    blocks = {
        (UNITS / unit).read_text(encoding="utf-8").partition("# What the process may touch")[2]
        for unit in SERVICES
    }
    assert len(blocks) == 1
    assert "NoNewPrivileges=yes" in blocks.pop()


def test_the_api_listens_where_its_settings_say() -> None:
    """Socket unit and `nova api` by hand have one default address."""
    fields = Settings.model_fields
    expected = f"{fields['api_host'].default}:{fields['api_port'].default}"
    assert values("nova-api.socket", "ListenStream") == [expected]
