"""Every snippet of README and docs runs, every command they show exists, every link and every test they name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {"reference.md", "cli.md", "effects-matrix.md"}  # by scripts, with tests of their own beside this one
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "benchmarks/README.md", "tests/histories/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)```", re.DOTALL)


def blocks(page: Path, kind: str) -> list[tuple[str | None, str]]:
    return [(found["file"], found["text"]) for found in BLOCK.finditer(page.read_text()) if found["kind"] == kind]


def said(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "millstream", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_every_python_block_runs(page: Path, tmp_path: Path) -> None:
    for number, (file, text) in enumerate(blocks(page, "python")):
        name = file or f"test_block_{number}.py"
        (tmp_path / name).write_text(text)
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", name] if "def test_" in text else [name]
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{page.name}, block {number}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    for _, text in blocks(page, "console"):
        for command, rest in re.findall(r"^\$ (?:python -m )?millstream (\w[\w-]*)(.*)$", text, re.MULTILINE):
            options = re.findall(r"(?<!\S)(--[\w-]+)", re.sub(r"'[^']*'|\"[^\"]*\"", "", rest))
            shown = said(command, "--help")
            assert [option for option in options if option not in shown] == [], f"{page.name}: millstream {command}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_and_every_path_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:tests|docs|src|benchmarks)/[\w/.-]+)`", text) + re.findall(r"python ((?:tests|docs)/[\w/.-]+)", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()
    assert pages >= MADE


def test_a_snippet_of_python_is_marked_as_such_and_run() -> None:
    """What is not marked is not run. (A signature in the reference is no program.)"""
    for page in PAGES:
        if page.name in MADE:
            continue
        for found in re.finditer(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            looks_like_python = re.search(r"^(import |from \w+ import |async def |def |@\w+)", found[2], re.MULTILINE)
            assert found[1] == "python" or not looks_like_python, f"{name_of(page)}: {found[2][:80]}"


def test_the_benchmarks_page_tells_of_every_row() -> None:
    rows = re.findall(r'^    "(F\d+)": ', (ROOT / "benchmarks" / "run.py").read_text(), re.MULTILINE)
    assert len(rows) >= 9
    assert re.findall(r"^\| (F\d+) \|", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE) == rows


def test_the_readme_app_does_what_it_says(tmp_path: Path) -> None:
    for file, text in blocks(ROOT / "README.md", "python"):
        assert file is not None
        (tmp_path / file).write_text(text)
    subprocess.run([sys.executable, "make_orders.py"], cwd=tmp_path, check=True, timeout=60)
    command = [sys.executable, "-m", "millstream", "run", "app.py", "--until-idle"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, capture_output=True)
    assert len((tmp_path / "receipts.jsonl").read_text().splitlines()) == 1000
    assert len({line.split()[2] for line in (tmp_path / "bank.log").read_text().splitlines()}) == 1000
