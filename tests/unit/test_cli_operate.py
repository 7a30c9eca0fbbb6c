"""``signal``, ``resolve``, ``retry``, ``cancel``, ``dead-letters --retry``: with an engine that is asked, and without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream.cli import operate
from millstream.cli.main import main
from millstream.stores.folder import DataFolder

COMMAND = [sys.executable, "-m", "millstream"]

APP = """
import os
from pathlib import Path
from millstream import App, Context, Effect, jsonl, tool

app = App("orders")


def customer(order: dict) -> str:
    if not Path("repaired").exists():
        order = {"customer": order["customer"]}
    return order.get("customer", "nobody")


orders = app.source("orders", jsonl("orders.jsonl", follow=bool(os.environ.get("FOLLOW"))), key=customer, id="id")


@tool(effect=Effect.AT_MOST_ONCE)
async def letter(id: str) -> str:
    if not Path("repaired").exists():
        raise TimeoutError("no answer")
    return "posted"


def started() -> None:
    Path("started").write_text("")  # a named pipe


@app.agent(on=orders, state=dict)
async def fulfil(ctx: Context[dict], order: dict) -> dict:
    if order["id"] == "wrong" and not Path("repaired").exists():
        raise ValueError("no such article")
    if order["id"] == "large":
        if os.environ.get("FOLLOW"):
            await ctx.step("started", started)
        answer = await ctx.receive("approval", about="large")
        return {"order": "large", "ok": answer.value, "by": answer.by}
    if order["id"] == "lost":
        return {"order": "lost", "letter": await letter("lost")}
    return {"order": order["id"]}


fulfil.output.sink(jsonl("out.jsonl"))
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    os.mkfifo(tmp_path / "started")
    monkeypatch.delenv("MILLSTREAM_DATA", raising=False)
    monkeypatch.delenv("FOLLOW", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls ``millstream`` in ``shop``; gives its exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["millstream", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.out, told.err

    return call


def run(shop: Path, *orders: str) -> None:
    """Run the app until it is idle, with these orders."""
    if orders:
        (shop / "orders.jsonl").write_text("".join(json.dumps({"id": id, "customer": f"of-{id}"}) + "\n" for id in orders))
    subprocess.run([*COMMAND, "run", "app.py", "--until-idle"], cwd=shop, check=True, capture_output=True)


@pytest.fixture
def engine(shop: Path) -> Iterator[subprocess.Popen[str]]:
    """An engine that follows its input: the order ``large`` waits, and there is a dead letter."""
    (shop / "orders.jsonl").write_text('{"id": "no customer"}\n{"id": "large", "customer": "of-large"}\n')
    environment = {**os.environ, "FOLLOW": "1"}
    child = subprocess.Popen([*COMMAND, "run", "app.py"], cwd=shop, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        (shop / "started").read_text()
        yield child
    finally:
        child.kill()
        child.communicate()


def status(call: Call, key: str) -> tuple[str, str]:
    """Run id and status of the only run of a key."""
    (found,) = map(json.loads, call("runs", "--key", key, "--json")[1].splitlines())
    return found["run"], found["status"]


def out(shop: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (shop / "out.jsonl").read_text().splitlines()]


# --- without an engine ----------------------------------------------------------------------------------------------------


def test_a_signal_to_a_key_is_taken_by_the_next_run_of_the_engine(shop: Path, call: Call) -> None:
    run(shop, "large")
    code, _, err = call("signal", "fulfil", "of-large", "approval", '{"fine": 1}', "--about", "large", "--by", "ann")
    assert code == 0
    assert "takes effect with the next `millstream run`" in err
    run(shop)
    assert out(shop) == [{"order": "large", "ok": {"fine": 1}, "by": "ann"}]


def test_a_signal_to_a_run_is_signed_with_the_login_name(shop: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    run(shop, "large")
    assert call("signal", status(call, "of-large")[0], "approval", "true", "--about", "large")[0] == 0
    run(shop)
    assert out(shop) == [{"order": "large", "ok": True, "by": "carol"}]


def test_a_signal_without_a_name_is_refused_and_not_kept(shop: Path, call: Call) -> None:
    run(shop, "large")
    code, _, err = call("signal", "fulfil", "of-large", "", "1")
    assert code == 2
    assert "the NAME of the signal is empty" in err


def test_a_signal_with_an_id_is_taken_once(shop: Path, call: Call) -> None:
    run(shop, "large")
    arguments = ("signal", "fulfil", "of-large", "other", "1", "--id", "s-1")
    assert call(*arguments)[0] == 0
    code, _, err = call(*arguments)
    assert code == 0
    assert "sent before" in err


@pytest.mark.parametrize(("how", "letter"), [(["--result", '"posted by hand"'], "posted by hand"), (["--retry"], "posted")])
def test_a_doubt_is_settled(shop: Path, call: Call, how: list[str], letter: str) -> None:
    run(shop, "lost")
    step = json.loads(call("doubts", "--json")[1])["step"]
    (shop / "repaired").touch()
    assert call("resolve", step, *how)[0] == 0
    assert call("resolve", step, *how)[0] == 1  # it is in doubt no more
    run(shop)
    assert out(shop) == [{"order": "lost", "letter": letter}]


def test_a_doubt_is_settled_as_failed(shop: Path, call: Call) -> None:
    run(shop, "lost")
    step = json.loads(call("doubts", "--json")[1])["step"]
    assert call("resolve", step, "--fail", "never arrived")[0] == 0
    run(shop)
    assert status(call, "of-lost")[1] == "failed"
    assert "never arrived" in call("runs", "--status", "failed")[1]


def test_a_failed_run_is_tried_again(shop: Path, call: Call) -> None:
    run(shop, "wrong")
    found, before = status(call, "of-wrong")
    assert before == "failed"
    (shop / "repaired").touch()
    assert call("retry", found)[0] == 0
    run(shop)
    assert status(call, "of-wrong") == (found, "done")


def test_a_waiting_run_is_cancelled(shop: Path, call: Call) -> None:
    run(shop, "large")
    found, before = status(call, "of-large")
    assert before == "waiting"
    assert call("cancel", found)[0] == 0
    run(shop)
    assert status(call, "of-large") == (found, "cancelled")


def note(call: Call, key: str) -> str:
    return call("runs", "--key", key)[1].splitlines()[1].partition("cancelled ")[2].partition("cancelled ")[2].strip()


def test_of_a_run_in_doubt_it_is_said_that_its_cancellation_waits_for_the_settlement(shop: Path, call: Call) -> None:
    run(shop, "lost")
    found = status(call, "of-lost")[0]
    assert call("cancel", found)[2] == (
        "cancellation is recorded; letter is in doubt, and its handler goes on when that is settled:\nsee `millstream doubts`\n"
    )
    run(shop)
    assert status(call, "of-lost")[1] == "in_doubt"
    assert call("resolve", f"{found}/letter", "--fail", "nobody has it")[0] == 0
    child = subprocess.run([*COMMAND, "run", "app.py", "--until-idle"], cwd=shop, check=True, capture_output=True, text=True)
    assert "0 done, 0 failed, 0 outputs, 1 cancelled" in child.stderr
    assert status(call, "of-lost")[1] == "cancelled"


def test_a_failed_run_is_cancelled_at_once_and_its_note_is_as_that_of_a_waiting_one(
    shop: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    run(shop, "wrong", "large")
    assert call("cancel", status(call, "of-wrong")[0]) == (0, "", "cancelled\n")
    assert "takes effect with the next" in call("cancel", status(call, "of-large")[0])[2]
    run(shop)
    assert [status(call, key)[1] for key in ("of-wrong", "of-large")] == ["cancelled", "cancelled"]
    assert [note(call, key) for key in ("of-wrong", "of-large")] == ["by carol", "by carol"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["of-large", "aproval", "--about", "large"], "waits for signal approval about large"),
        (["of-large", "approval", "--about", "lagre"], "waits for signal approval about large"),
        (["of-large", "approval"], "waits for signal approval about large"),
        (["of-lagre", "approval", "--about", "large"], "fulfil, key 'of-lagre' has handled no event yet"),
        (["of-fine", "approval"], "no run of fulfil, key 'of-fine' waits"),
    ],
)
def test_a_signal_that_nobody_waits_for_is_kept_and_said_to_be(shop: Path, call: Call, words: list[str], hint: str) -> None:
    run(shop, "large", "fine")
    key, name, *about = words
    code, out, err = call("signal", "fulfil", key, name, "1", *about)
    assert (code, out) == (0, "")
    assert err.startswith("signal sent; nobody waits for it now; it is kept\n")
    assert hint in err


def test_an_id_of_another_partition_names_no_run_whatever_the_command(shop: Path, call: Call) -> None:
    run(shop, "lost")
    found, _ = status(call, "of-lost")
    partition, _, number = found.partition("-")
    wrong = f"{(int(partition) + 1) % 64}-{number}"
    for arguments in (
        ["show", wrong],
        ["show", f"{wrong}/letter"],
        ["retry", wrong],
        ["cancel", wrong],
        ["signal", wrong, "approval", "1"],
        ["resolve", f"{wrong}/letter", "--retry"],
        ["resolve", f"{wrong}/letter", "--fail", "no"],
    ):
        said = f"error: there is no run {wrong}; {found} is of agent fulfil, key 'of-lost'\n"
        assert call(*arguments) == (1, "", said), arguments
    assert status(call, "of-lost") == (found, "in_doubt")


def test_a_step_that_is_not_there_is_told_what_is_in_doubt(shop: Path, call: Call) -> None:
    run(shop, "lost", "fine")
    found, _ = status(call, "of-lost")
    assert call("resolve", f"{found}/lettre", "--retry") == (
        1,
        "",
        f"error: there is no step {found}/lettre in doubt; in doubt there: {found}/letter\n",
    )
    assert call("resolve", f"{found}/letter", "--fail", "no")[0] == 0
    assert f"step {found}/letter is not in doubt" in call("resolve", f"{found}/letter", "--fail", "no")[2]


def test_a_command_waits_for_an_engine_that_is_about_to_let_go(shop: Path, call: Call) -> None:
    run(shop, "wrong")
    found, _ = status(call, "of-wrong")
    lock = DataFolder(shop / ".millstream/orders").lock()
    threading.Timer(0.2, lock.release).start()
    assert call("retry", found)[0] == 0
    assert status(call, "of-wrong") == (found, "queued")


def test_a_command_gives_up_on_what_holds_the_folder_and_does_not_answer(
    shop: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(shop, "wrong")
    found, _ = status(call, "of-wrong")
    monkeypatch.setattr(operate, "PATIENCE_S", 0.1)
    with DataFolder(shop / ".millstream/orders").lock():
        code, _, err = call("retry", found)
    assert code == 1
    assert f"held by process {os.getpid()}" in err


# --- with an engine -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
def test_a_running_engine_is_asked_and_has_committed_when_the_command_returns(shop: Path, call: Call) -> None:
    assert call("signal", "fulfil", "of-large", "other", "1")[0] == 0
    found, _ = status(call, "of-large")  # its event came before the signal, so it is durable too
    waits = f"run {found} waits for signal approval about large"
    assert call("signal", found, "other", "1") == (0, "", f"signal sent; nobody waits for it now; it is kept\n{waits}\n")
    assert call("retry", found)[0] == 1
    assert call("signal", found, "approval", "1", "--about", "large") == (0, "", "signal sent\n")
    assert status(call, "of-large") == (found, "done")
    (shop / "repaired").touch()
    assert call("dead-letters", "--retry") == (0, "", "1 dead letter became an event, 0 remain\n")
    assert call("dead-letters", "--json") == (0, "", "")
    assert status(call, "nobody")[0]
    nothing = {"retried": 0, "duplicates": 0, "refused": 0, "reason": None, "cannot": {}, "remaining": 0}
    assert json.loads(call("dead-letters", "--retry", "--json")[1]) == nothing


def test_after_kill_9_the_socket_that_is_left_is_no_engine(engine: subprocess.Popen[str], shop: Path, call: Call) -> None:
    assert call("signal", "fulfil", "of-large", "other", "1")[0] == 0  # what was before it is durable, too
    engine.kill()
    engine.wait()
    assert (shop / ".millstream/orders/control.sock").exists()
    code, _, err = call("signal", "fulfil", "of-large", "approval", "1", "--about", "large")
    assert code == 0
    assert "no engine runs" in err


def test_a_result_that_is_not_what_the_tool_returns_is_refused_and_the_step_stays_in_doubt(
    engine: subprocess.Popen[str], shop: Path, call: Call
) -> None:
    with (shop / "orders.jsonl").open("a") as lines:
        lines.write('{"id": "lost", "customer": "of-lost"}\n')
    assert engine.stderr is not None
    line = next(line for line in iter(engine.stderr.readline, "") if "in doubt: " in line)
    step = line.partition("in doubt: ")[2].split()[0]
    code, out, err = call("resolve", step, "--result", '{"posted": true}')
    assert (code, out) == (1, "")
    assert f"{step} stays in doubt: the result must be what letter returns, str: Expected `str`" in err
    assert 'given was {"posted":true}' in err
    assert json.loads(call("doubts", "--json")[1])["step"] == step
    assert call("resolve", step, "--result", '"posted"')[0] == 0
    assert call("doubts", "--json")[1] == ""


# --- what cannot be done --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["signal", "1-1-1", "approval"],
        ["signal", "a", "b", "c", "1", "2"],
        ["signal", "fulfil", "approval", "1"],  # neither a run nor an agent with a key
        ["signal", "fulfil", "ada", "approval", "yes"],
        ["signal", "fulfil", "ada", "approval", "NaN"],
        ["resolve", "1-1-1/letter"],
        ["resolve", "1-1-1/letter", "--retry", "--fail", "x"],
        ["resolve", "1-1-1/letter", "--result", "posted"],
        ["resolve", "1-1-1", "--retry"],
        ["retry", "ada"],
        ["cancel", "1-1"],
    ],
)
def test_wrong_usage_has_exit_code_2_and_needs_no_folder(call: Call, arguments: list[str]) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert "data folder" not in err


def test_text_that_is_no_json_is_told_its_quotes(call: Call) -> None:
    assert "'\"yes\"'" in call("signal", "fulfil", "ada", "approval", "yes")[2]


def test_what_is_not_there_or_not_possible_is_an_error_with_exit_code_1(shop: Path, call: Call) -> None:
    run(shop, "fine")
    done = status(call, "of-fine")[0]
    for arguments, said in (
        (["signal", "nobody", "x", "approval", "1"], "there is no agent 'nobody'; there are: fulfil\n"),
        (["signal", done, "approval", "1"], "done"),
        (["signal", "1-1-4000", "approval", "1"], "1-1-4000"),
        (["retry", done], "is done"),
        (["retry", "1-1-4000"], "1-1-4000"),
        (["cancel", done], "is done"),
        (["resolve", f"{done}/letter", "--retry"], f"no step {done}/letter in doubt; nothing of run {done} is"),
    ):
        code, out, err = call(*arguments)
        assert (code, out) == (1, ""), arguments
        assert said in err
        assert err.startswith("error: ")


def test_what_became_of_dead_letters_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    cannot = {"cut": 1, "evidence only": 2}
    operate._tell_others({"duplicates": 2, "refused": 1, "reason": "operator op raised \x1b", "cannot": cannot, "remaining": 4})
    assert capsys.readouterr().err.splitlines() == [
        "2 were duplicates of events that had come otherwise, and are gone",
        "1 was refused again, because: operator op raised \\x1b",
        "3 cannot be retried: 1 cut, 2 evidence only",
    ]
