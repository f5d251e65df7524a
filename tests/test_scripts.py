"""The script `autochrome`, and the commands that other packages add to it by entry points."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from model.__main__ import main
from service.__main__ import main as service_main

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path with the metadata of an installed package, and its commands `serve` and `bot`."""
    (tmp_path / "fake_commands.py").write_text(
        "import sys\n"
        "def serve():\n    print(sys.argv)\n    return 7\n"
        "def bot():\n    import reddit_of_the_bot\n"
    )
    metadata = tmp_path / "fake-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake\nVersion: 1.0\n")
    lines = ["[autochrome.commands]", "serve = fake_commands:serve", "bot = fake_commands:bot"]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/usr/bin/autochrome"])
    return tmp_path


@pytest.mark.parametrize(("group", "count"), [("scripts", 1), ("autochrome.commands", 2)])
def test_every_entry_point_is_a_main(group: str, count: int) -> None:
    points = PROJECT[group] if group == "scripts" else PROJECT["entry-points"][group]
    assert len(points) == count
    for name, place in points.items():
        assert callable(EntryPoint(name, place, group).load())


def test_the_extra_all_has_every_extra_but_those_of_developers_and_of_one_kind_of_machine() -> None:
    extras = PROJECT["optional-dependencies"]

    def within(name: str) -> set[str]:
        found = {name}
        for requirement in extras[name]:
            if requirement.startswith("autochrome["):
                for one in requirement.removeprefix("autochrome[").rstrip("]").split(","):
                    found |= within(one)
        return found

    assert within("all") == {*extras} - {"dev", "gpu"}


def test_a_command_of_another_package_gets_its_words_and_gives_its_status(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "api", "--help"]) == 7
    assert capsys.readouterr().out == "['autochrome serve', 'api', '--help']\n"


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["autochrome serve", "--help"], "autochrome serve"),
        (["/a/service/__main__.py", "--help"], "python -m service"),
    ],
)
def test_the_service_s_help_says_the_name_by_which_it_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], program: str
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit):
        service_main()
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {program} [-h]")
    assert f"\n    {program} worker  " in said
    assert [name for name in ("autochrome serve", "python -m service") if name in said] == [program]


def test_what_a_command_of_another_package_lacks_is_said_with_its_extra(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bot", "--once"]) == 1
    said = "autochrome bot: reddit_of_the_bot is not installed; `pip install '.[bot]'` has what it needs\n"
    assert capsys.readouterr().err == said


def test_help_names_the_commands_of_other_packages(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Usage: autochrome ")
    assert "Beside these: bot, serve." in said


def test_without_typer_it_is_said_what_to_install_and_other_packages_commands_run(installed: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); sys.modules['typer'] = None; "
        "from model.__main__ import main; print(main(['serve'])); sys.exit(main(['colorize', 'a', '-o', 'b']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.endswith("\n7\n")
    assert "typer is not installed; `make setup`, or `pip install '.[all]'`, has it all" in done.stderr


def test_a_checkout_that_is_not_installed_has_no_command_of_another_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("model.__main__.entry_points", lambda **_: EntryPoints())
    assert main(["serve"]) == 2
    assert "No such command 'serve'" in capsys.readouterr().err
