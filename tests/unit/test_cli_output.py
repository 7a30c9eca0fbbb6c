"""What commands print: text that cannot harm a terminal, times, lengths, tables, errors."""

from __future__ import annotations

import io
import json
import sys

import pytest
import typer

from millstream.cli import output
from millstream.errors import StoreLocked


def test_terminal_control_characters_are_escaped() -> None:
    assert output.printable("a\x1b[2Jb\x07\x9b31m\x7f\r\t") == "a\\x1b[2Jb\\x07\\x9b31m\\x7f\\r\\t"


def test_characters_that_turn_text_around_are_escaped() -> None:
    assert output.printable("pay \u202e001$\u2066x\u2028y") == "pay \\u202e001$\\u2066x\\u2028y"


def test_newlines_are_kept_only_where_lines_are_wanted() -> None:
    assert output.printable("a\nb") == "a\\nb"
    assert output.printable("a\nb", lines=True) == "a\nb"


def test_other_text_is_left_as_it_is() -> None:
    text = "Grüße, 東京, 🙂, \\ and [red]"
    assert output.printable(text) == text


def test_json_lines_are_safe_for_a_terminal_and_the_same_value() -> None:
    value = {"key": "a\x1b[31m\x9b\x7f\u202e", "text": "Grüße\n"}
    line = output.jsonl(value)
    assert line.isprintable()
    assert json.loads(line) == value


def test_what_is_cut_says_how_much() -> None:
    assert output.cut("abc", 3) == "abc"
    assert output.cut("x" * 1_500, 10) == "xxxxxxxxxx… (cut: 1,490 of 1,500 characters)"


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_767_323_045_123_456, "2026-01-02T03:04:05.123456Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1 << 62, f"{1 << 62} us"),
    ],
)
def test_times_are_rfc_3339(us: int, text: str) -> None:
    assert output.rfc3339(us) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0.0 ms"),
        (1_540, "1.5 ms"),
        (9_960, "10 ms"),
        (999_400, "999 ms"),
        (999_600, "1.0 s"),
        (59_940_000, "59.9 s"),
        (59_960_000, "1 min"),
        (185_000_000, "3 min 5 s"),
        (3_600_000_000, "1 h"),
        (7_500_000_000, "2 h 5 min"),
        (100 * 3_600_000_000, "4 d 4 h"),
        (-2_000_000, "-2.0 s"),
    ],
)
def test_lengths_of_time_have_two_figures_or_units(us: int, text: str) -> None:
    assert output.span(us) == text


def test_a_table_in_a_pipe_is_aligned_complete_and_needs_no_rich(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("RUN", "NOTE"), [["1-1-1", "x" * 200], ["10-1-17", "\x1b[2J"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["RUN      NOTE", f"1-1-1    {'x' * 200}", "10-1-17  \\x1b[2J"]


def test_a_table_on_a_terminal_takes_markup_as_text_and_never_cuts_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    run = "63-1000000-4000000000"
    output.table(("RUN", "NOTE"), [[run, "[red]" + "word " * 30]])
    assert run in terminal.getvalue()
    assert "[red]" in terminal.getvalue()


def test_an_error_is_one_block_on_stderr_and_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, output.errors():
        raise StoreLocked("the folder is held\nby \x1b[31mpid 7")
    assert ended.value.exit_code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: the folder is held\n       by \\x1b[31mpid 7\n"


def test_an_argument_that_is_no_text_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, output.errors():
        "\udcff".encode()
    assert ended.value.exit_code == 2
    assert "UTF-8" in capsys.readouterr().err


def test_text_that_a_terminal_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    output.say("Grüße")
    assert raw.getvalue() == b"Gr\\xfc\\xdfe\n"
