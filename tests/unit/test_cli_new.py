"""``millstream new``: the project runs, its tests pass, it is typed, and nothing is overwritten. The demo's app is typed too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from millstream.cli import demo, new


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MILLSTREAM_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("new")
    told = command(parent, "millstream", "new", "my-shop.2")
    assert told.returncode == 0, told.stderr
    return parent / "my-shop.2"


def test_the_project_has_these_files_and_its_name_in_them(project: Path) -> None:
    assert sorted(path.name for path in project.iterdir()) == [".gitignore", "README.md", "app.py", "orders.jsonl", "test_app.py"]
    assert 'App("my-shop.2")' in (project / "app.py").read_text()
    assert not any(new.PLACEHOLDER in path.read_text() for path in project.iterdir())


def test_its_tests_pass_with_plain_pytest(project: Path) -> None:
    told = command(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert told.returncode == 0, told.stdout
    assert "5 passed" in told.stdout


def test_what_it_needs_beyond_millstream_is_said_and_nothing_leads_nowhere(project: Path, tmp_path: Path) -> None:
    told = command(tmp_path, "millstream", "new", "shop").stdout
    assert "python -m pip install pytest" in told
    assert "python -m pip install pytest" in (project / "README.md").read_text()
    assert not any("://" in path.read_text() for path in project.iterdir())


def test_its_tests_leave_no_data_behind(project: Path) -> None:
    assert not (project / ".millstream").exists()
    assert not (project / "receipts.jsonl").exists()


def test_it_runs_as_its_readme_says(project: Path, tmp_path: Path) -> None:
    for name in ("app.py", "orders.jsonl"):
        shutil.copy(project / name, tmp_path)
    readme = (project / "README.md").read_text()
    assert "signal fulfil bo approval '{\"ok\": true}' --about o-3 --by ann" in readme
    assert command(tmp_path, "millstream", "run", "app.py", "--until-idle").returncode == 0
    waiting = command(tmp_path, "millstream", "runs", "--status", "waiting", "--json").stdout
    assert json.loads(waiting)["event"] == "o-3"


@pytest.mark.parametrize("template", [new.TEMPLATE, demo.TEMPLATE])
def test_the_templates_are_typed(template: Path, tmp_path: Path) -> None:
    for path in template.glob("*.py"):
        shutil.copy(path, tmp_path)
    told = command(tmp_path, "mypy", "--strict", ".")
    assert told.returncode == 0, told.stdout + told.stderr


def refused(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    with pytest.raises(typer.Exit) as ended:
        new.new(name)
    return ended.value.exit_code


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-x", "", "a b", "ä", "a\n", "a" * 65])
def test_names_that_cannot_be_an_apps_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(name, tmp_path, monkeypatch) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_is_overwritten(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shop"
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")
    assert refused("shop", tmp_path, monkeypatch) == 2
    assert [found.name for found in tmp_path.iterdir()] == ["shop"]
    assert kind != "folder" or list(path.iterdir()) == []
