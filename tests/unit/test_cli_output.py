"""What commands print: text that cannot harm a terminal, times, lengths, tables, errors."""

from __future__ import annotations

import io
import json
import shlex
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


@pytest.mark.parametrize("length", range(1, 100))
def test_what_is_cut_never_gets_longer(length: int) -> None:
    assert len(output.cut("x" * length, 20, "; --full shows all")) <= length


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """Makes stdout and stderr a terminal without colours."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    return terminal


ROWS = [["63-1-4000000000", "of/a/rather/long/customer", "in_doubt", "2026-01-02T03:04:05Z", "[red]" + "word " * 20]]
COLUMNS = ("RUN", "KEY", "STATUS", "CREATED", "NOTE")


def test_a_narrow_table_has_its_note_below_in_whole_words_and_ids_and_times_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 80)
    output.table(COLUMNS, ROWS, {"NOTE": ""})
    heading, row, *note = terminal.getvalue().splitlines()
    assert heading.split() == ["RUN", "KEY", "STATUS", "CREATED"]
    assert row.split() == ROWS[0][:4]
    assert all(line.startswith("    ") and len(line) <= 80 for line in note)
    assert " ".join(note).split() == ROWS[0][4].split()


def test_a_wide_table_has_its_note_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 120)
    output.table(COLUMNS, ROWS, {"NOTE": ""})
    heading, row, *others = terminal.getvalue().splitlines()
    assert heading.endswith("NOTE")
    assert row.split()[:5] == [*ROWS[0][:4], "[red]word"]
    assert all(line.startswith(" " * heading.index("NOTE")) for line in others)


def test_where_not_all_fits_a_key_is_broken_last_and_an_id_never(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 50)
    output.table(("RUN", "KEY", "EVENT"), [["63-1000000-4000000000", "customer-42", "e" * 40]])
    lines = terminal.getvalue().splitlines()
    assert "63-1000000-4000000000  customer-42" in lines[1]
    assert "".join(line.split()[-1] for line in lines[1:]) == "e" * 40


def test_a_row_on_a_coloured_terminal_is_aligned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 80)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    output.table(("STATUS", "KEY"), [["done", "done-1"], ["in_doubt", "東京"]])
    assert terminal.getvalue().splitlines() == [
        "\x1b[1mSTATUS    KEY\x1b[0m",
        "\x1b[32mdone\x1b[0m      done-1",
        "\x1b[1;33min_doubt\x1b[0m  東京",
    ]


def test_text_is_broken_between_words_and_goes_on_under_its_own_indent(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 20)
    output.tell("  one two three four five six")
    assert terminal.getvalue().splitlines() == ["  one two three four", "    five six"]


def test_a_word_that_fits_no_line_is_broken_behind_a_comma_if_one_is_near() -> None:
    assert output.wrapped('{"a":1,"b":22,"c":333}', 16, "") == ['{"a":1,"b":22,', '"c":333}']
    assert output.wrapped("x" * 25, 10, "  ") == ["x" * 10, "  " + "x" * 8, "  " + "x" * 7]
    assert output.wrapped("東京東京", 5, "") == ["東京", "東京"]


def test_a_command_that_does_not_fit_can_be_pasted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 100)
    line = "millstream resolve 1-1-1/letter --result '\"by hand, today\"' --data 'with space'"
    assert output.command(line, terminal) == f"  {line}"
    monkeypatch.setenv("COLUMNS", "40")
    shown = output.command(line, terminal)
    assert all(len(part) <= 40 for part in shown.split("\n"))
    assert shlex.split(shown.replace("\\\n", "")) == shlex.split(line)


def test_choices_stand_beside_what_they_mean_where_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 80)
    rows = [("resolve --retry", "do it now"), ("resolve --fail TEXT", "it failed")]
    assert output.choices(rows, terminal) == "  resolve --retry       do it now\n  resolve --fail TEXT   it failed"
    monkeypatch.setenv("COLUMNS", "24")
    assert output.choices(rows, terminal).splitlines() == [
        "  resolve --retry",
        "      do it now",
        "  resolve --fail TEXT",
        "      it failed",
    ]


def test_a_short_time_is_that_of_the_day_or_another_days_date() -> None:
    now = 1_767_323_045_123_456
    assert output.short_time(now, now) == "03:04:05Z"
    assert output.short_time(now, now + 86_400_000_000) == "2026-01-02"


def test_an_error_on_a_terminal_goes_on_under_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, 30)
    with pytest.raises(typer.Exit):
        output.fail("what happened and where it did")
    assert terminal.getvalue().splitlines() == ["error: what happened and where", "       it did"]


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
