"""Which data folder a command means."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from millstream.cli import folders


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(folders.VARIABLE, raising=False)
    return tmp_path


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / folders.DATABASE).touch()
    return folder


def refused(given: Path | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(typer.Exit) as ended:
        folders.data_folder(given)
    return ended.value.exit_code, capsys.readouterr().err


def test_the_only_store_in_the_current_folder_is_meant() -> None:
    made(Path(".millstream/orders"))
    Path(".millstream/empty").mkdir()
    assert folders.data_folder(None) == Path(".millstream/orders")


def test_several_stores_are_a_usage_error_that_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    made(Path(".millstream/orders"))
    made(Path(".millstream/shop"))
    code, error = refused(None, capsys)
    assert code == 2
    assert "--data .millstream/orders\n" in error
    assert "--data .millstream/shop\n" in error


def test_no_store_is_a_usage_error_that_says_where_was_looked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(None, capsys)
    assert code == 2
    assert str(here / ".millstream") in error


def test_a_named_folder_is_meant_whatever_else_there_is(here: Path) -> None:
    made(Path(".millstream/orders"))
    assert folders.data_folder(made(here / "other")) == here / "other"


@pytest.mark.parametrize("given", [".", ".millstream"])
def test_a_folder_that_holds_data_folders_is_refused_and_they_are_named(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    made(Path(".millstream/orders"))
    code, error = refused(Path(given), capsys)
    assert code == 1
    assert "--data .millstream/orders" in error


def test_a_named_folder_without_a_store_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(Path("nowhere"), capsys)[0] == 1


def test_the_default_data_folder_is_beside_the_target() -> None:
    assert folders.beside("shop/app.py", "orders") == Path("shop/.millstream/orders")
    assert folders.beside("shop.flows:app", "orders") == Path(".millstream/orders")


def test_a_suggested_command_names_the_folder_only_if_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = made(Path(".millstream/orders"))
    assert folders.option(orders.absolute()) == ""
    other = made(Path("with space"))
    assert folders.option(other) == " --data 'with space'"
    monkeypatch.setenv(folders.VARIABLE, str(other))
    assert folders.option(other) == ""
