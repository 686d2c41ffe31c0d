"""``gaitperf doctor`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gaitperf.cli import main
from pytest_gaitperf.doctor import Finding, Machine, command
from pytest_gaitperf.triton.launch import ServerOptions
from pytest_gaitperf.triton.server import open_server
from tests.doctor.conftest import machine
from tests.triton.models import write_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_gaitperf.triton.server import TritonServer

NO_SERVER = ("--triton=attach", "--triton-url=127.0.0.1:9")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    repository = tmp_path_factory.mktemp("doctor")
    write_model(repository, "steady", sleep_s=0.01)
    with open_server(ServerOptions(mode="local", repository=repository)) as server:
        yield server


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_LOOK_S", 0.05)


def answers(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the checks find this, whatever the machine of the tests is like."""
    monkeypatch.setattr(command, "examine", lambda _machine: {"group": list(findings)})


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    shown = capsys.readouterr()
    assert shown.err == ""
    answer: dict[str, Any] = json.loads(shown.out)
    return answer


def test_every_group_is_looked_at_in_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *NO_SERVER]) == 1, "there is no server"
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    names = {line[5:19].strip() for line in lines if line[:4].strip() in ("ok", "warn", "fix")}
    assert names >= {"triton", "power", "governor", "throttling", "temperature", "other load"}
    assert names >= {"memory", "swap", "shared memory", "disk", "python", "extras", "runner"}
    assert "fix  triton         no server: 127.0.0.1:9: nothing listens there" in shown.out
    assert lines[-1].startswith("UNFIT to measure: ")


def test_json_has_every_finding_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *NO_SERVER, "--json"]) == 1
    answer = document(capsys)
    assert set(answer) == {"schema", "fit", "findings"}
    assert (answer["schema"], answer["fit"]) == (1, False)
    keys = {"group", "name", "state", "what", "advice", "command"}
    assert all(set(finding) == keys for finding in answer["findings"])
    assert {finding["group"] for finding in answer["findings"]} == set(command.CHECKS)
    assert {finding["state"] for finding in answer["findings"]} <= {"ok", "warn", "fix"}
    assert main(["doctor", *NO_SERVER, "--json", "found.json"]) == 1
    assert json.loads(Path("found.json").read_text())["schema"] == 1


def test_warnings_leave_a_machine_fit_and_one_thing_to_fix_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine, noisy = Finding("a", "ok", "fine"), Finding("b", "warn", "noisy", "quieten", "sudo hush")
    answers(monkeypatch, fine, noisy)
    assert main(["doctor", *NO_SERVER]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok   a              fine",
        "warn b              noisy",
        " " * 20 + "quieten",
        " " * 20 + "sudo hush",
        "fit to measure: 1 warning, 1 ok",
    ]
    answers(monkeypatch, fine, noisy, Finding("c", "fix", "broken"))
    assert main(["doctor", *NO_SERVER]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (
        "UNFIT to measure: 1 to fix, 1 warning, 1 ok"
    )


def test_colours_are_for_those_who_want_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, Finding("a", "warn", "noisy"))
    main(["doctor", *NO_SERVER])
    assert "\x1b[" not in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["doctor", *NO_SERVER])
    assert "\x1b[33mwarn" in capsys.readouterr().out


def test_a_command_that_a_wrap_brings_to_the_start_of_a_line_is_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command.show({"group": [Finding("a", "ok", f"{'y' * 55} ::stop-commands::x")]})
    assert capsys.readouterr().out.splitlines()[1] == " " * 20 + ": :stop-commands::x"


def test_a_terminal_of_ten_columns_shows_what_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    command.show({"group": [Finding("a", "warn", "noisy", "quieten")]})
    assert {"noisy", "quieten"} <= set(capsys.readouterr().out.split())


def test_options_are_taken_as_pytest_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Machine] = []

    def look(looked_at: Machine) -> dict[str, list[Finding]]:
        seen.append(looked_at)
        return {"group": [Finding("a", "ok", "fine")]}

    monkeypatch.setattr(command, "examine", look)
    headers = ("--triton-header=X-One: 1", "--triton-header", "X-Two: 2")
    assert main(["doctor", *NO_SERVER, *headers, "--triton-ssl-no-verify"]) == 0
    (looked_at,) = seen
    assert looked_at.settings.triton_header == ("X-One: 1", "X-Two: 2")
    assert looked_at.settings.triton_ssl_no_verify is True
    assert main(["doctor", *NO_SERVER, "--triton-ssl-no-verify=false"]) == 2, "it is a switch"


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on() -> None:
    def breaks(_machine: Machine) -> list[Finding]:
        raise ZeroDivisionError("no such thing")

    def works(_machine: Machine) -> list[Finding]:
        return [Finding("fine", "ok", "it is")]

    found = command.examine(machine(Path("/")), {"group": (breaks, works)})["group"]
    assert [finding.state for finding in found] == ["warn", "ok"]
    assert "could not be checked (breaks: ZeroDivisionError: no such thing)" in found[0].what


def test_the_project_s_table_and_wrong_values(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pyproject.toml").write_text(
        '[tool.gaitperf]\ntriton = "attach"\ntriton_url = "127.0.0.1:8"\n'
    )
    assert main(["doctor"]) == 1
    assert "no server: 127.0.0.1:8: nothing listens there" in capsys.readouterr().out
    for arguments, message in (
        (["--triton-url=here:there"], "gaitperf: URL 'here:there': "),
        (["--triton=magic"], "--triton: "),
    ):
        assert main(["doctor", *arguments]) != 0
        shown = capsys.readouterr()
        assert message in shown.err
        assert (shown.out, "Traceback" in shown.err) == ("", False)


def test_a_running_server_is_told_with_version_models_and_backends(
    server: TritonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", f"--triton-url={server.url}", "--json"])
    first = document(capsys)["findings"][0]
    assert (first["name"], first["state"]) == ("triton", "ok")
    assert f"{server.version} runs at {server.url}, 1 model ready, backends python" in first["what"]
