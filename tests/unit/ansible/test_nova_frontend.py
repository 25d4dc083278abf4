"""`nova-frontend`: what it makes of haproxy's states, and which certificates it refuses."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "ansible/roles/frontend/files/nova_frontend.py"
HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "
    "srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health "
    "srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord "
    "srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
)
ROW = "4 api 1 {name} 192.0.2.1 2 8 1 1 5 6 3 4 6 0 0 0 - {port} - {tls} 0 - - 0\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with files of the test's own; one server has moved to port 9000, with TLS."""
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        "backend api\n    server a1 192.0.2.1:9000 ssl verify required\n    server a2 [::1]:8000\n"
    )
    monkeypatch.setenv("NOVA_FRONTEND_CONFIG", str(configuration))
    monkeypatch.setenv("NOVA_FRONTEND_STATES", str(tmp_path / "servers"))
    monkeypatch.setenv("NOVA_FRONTEND_RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("NOVA_FRONTEND_UNIT", str(tmp_path / "unit"))
    monkeypatch.setenv("NOVA_FRONTEND_SOCKET", str(tmp_path / "no.sock"))
    spec = importlib.util.spec_from_file_location("nova_frontend", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def states(a1: int, a1_tls: int = 0) -> str:
    """States of three servers, of which the configuration has two, in forced drain."""
    rows = (("a1", a1, a1_tls), ("a2", 8000, 0), ("gone", 8000, 0))
    return HEADER + "".join(ROW.format(name=name, port=port, tls=tls) for name, port, tls in rows)


def test_a_kept_port_and_clear_text_do_not_overrule_the_configuration(
    program: ModuleType, tmp_path: Path
) -> None:
    """All else stays, the drain too. haproxy takes both from the file if it may."""
    (tmp_path / "servers").write_text(states(8000))
    program.fit()
    assert (tmp_path / "servers").read_text() == states(9000, a1_tls=1)


def test_without_kept_states_there_is_nothing_to_fit(program: ModuleType, tmp_path: Path) -> None:
    program.fit()
    assert not (tmp_path / "servers").exists()


def test_what_is_due_follows_from_what_haproxy_was_started_and_reloaded_with(
    program: ModuleType, tmp_path: Path
) -> None:
    """Not from what a run has changed: one that was interrupted is made up for."""
    configuration, unit, certificate = (
        tmp_path / name for name in ("haproxy.cfg", "unit", "frontend.pem")
    )
    configuration.write_text(f"bind :443 ssl crt {certificate} alpn h2\n")
    unit.write_text("[Service]\n")
    certificate.write_text("one")
    program.record(is_start=False)
    assert program.due() == "restarted"  # nobody knows what it was started with
    program.record(is_start=True)
    assert program.due() == ""
    (tmp_path / "other.pem").write_text("not named")
    assert program.due() == ""
    for path in (configuration, certificate):
        path.write_text(f"{path.read_text()}# changed\n")
        assert program.due() == "reloaded"
        program.record(is_start=False)
        assert program.due() == ""
    unit.write_text("[Service]\nUMask=0077\n")
    assert program.due() == "restarted"
    program.record(is_start=False)
    assert program.due() == "restarted"


def test_a_haproxy_that_is_away_is_named_with_where_to_look(program: ModuleType) -> None:
    with pytest.raises(program.FrontendError, match=r"does not answer at .*journalctl -u haproxy"):
        program.drain("a1", 1)


def test_a_file_without_a_key_is_refused(program: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "servers.pem").write_text("no certificate")
    with pytest.raises(program.FrontendError, match="no pair that can be used"):
        program.check_certificate(str(tmp_path / "servers.pem"))


@pytest.mark.parametrize(
    ("other", "is_drained"), [("UP", True), ("UP 1/2", True), ("DRAIN", False)]
)
def test_the_last_server_that_takes_requests_is_left_in_service(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, other: str, is_drained: bool
) -> None:
    """A roll whose batch has every API host must not leave clients without any."""
    commands = []

    def ask(command: str) -> str:
        commands.append(command)
        if command.startswith("show servers state"):
            return states(8000).replace(" 2 8 ", " 2 0 ")
        if command.startswith("show stat"):
            return f"# pxname,svname,scur,status,\napi,a1,0,UP,\napi,a2,0,{other},\n"
        return ""

    monkeypatch.setattr(program, "ask", ask)
    program.drain("a1", 1, unless_last=True)
    assert ("set server api/a1 state drain" in commands) == is_drained


@pytest.mark.parametrize("command", ["drain", "resume"])
def test_a_server_that_the_frontend_does_not_have_yet_is_let_be(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A new API host is rolled before the frontends hear of it."""
    monkeypatch.setattr(program, "ask", lambda _command: states(8000))
    monkeypatch.setattr("sys.argv", ["nova-frontend", command, "a9", "--if-known"])
    assert program.main() == 0
    monkeypatch.setattr("sys.argv", ["nova-frontend", command, "a9"])
    assert program.main() == 1
