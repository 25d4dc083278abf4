"""What counts as the same end state."""

from typing import Any

from bench.fleet_size.end_state import comparable, differences, users_without_passwords


def state(**changed: Any) -> dict[str, Any]:
    """Return what a host answers."""
    files = {
        "/etc/nova/nova.env": "# Written by a role.\nB='2'\nREDIS_URL='redis://10.0.0.2:6379/0'\n",
        "/etc/systemd/system/x.service": "[Service]\nExecStart=a\nExecStart=b\n",
    }
    found = {path: {"rights": "root 0644", "text": text} for path, text in files.items()}
    return {"packages": ["Celery==5.7.0", "pip==23.0"], "files": found, "units": {}} | changed


def test_comments_order_of_settings_addresses_and_installers_do_not_count() -> None:
    other = state(packages=["setuptools==68.0", "celery==5.7.0"])
    other["files"]["/etc/nova/nova.env"]["text"] = "REDIS_URL='redis://10.0.0.20:6379/0'\n\nB='2'\n"
    one = comparable(state(), {"10.0.0.2": "bench01"})
    assert one["packages"] == {"celery": "5.7.0"}
    assert list(differences(one, comparable(other, {"10.0.0.20": "bench01"}))) == []


def test_another_version_of_a_package_counts() -> None:
    lines = list(
        differences(comparable(state(), {}), comparable(state(packages=["celery==5.7.1"]), {}))
    )
    assert lines == ["packages, celery: '5.7.0' and '5.7.1'"]


def test_the_order_in_a_unit_counts() -> None:
    other = state()
    other["files"]["/etc/systemd/system/x.service"]["text"] = (
        "[Service]\nExecStart=b\nExecStart=a\n"
    )
    [line] = differences(comparable(state(), {}), comparable(other, {}))
    assert line == "files, /etc/systemd/system/x.service, text: the order differs"


def test_a_file_that_is_missing_and_a_unit_that_is_down_count() -> None:
    one = comparable(state(units={"flower.service": "active enabled"}), {})
    other = comparable(state(units={"flower.service": "failed enabled"}), {})
    del other["files"]["/etc/nova/nova.env"]
    lines = list(differences(one, other))
    assert len(lines) == 2
    assert lines[0].startswith("files, /etc/nova/nova.env: ")
    assert lines[1] == "units, flower.service: 'active enabled' and 'failed enabled'"


def test_users_of_redis_are_compared_without_passwords() -> None:
    found = users_without_passwords(
        ["user nova on sanitize-payload #1a2b ~* +@all", "user root on #ff ~* +@all"]
    )
    assert found == {"nova": "on sanitize-payload (password) ~* +@all"}
