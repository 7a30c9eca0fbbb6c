"""I/O in a handler is refused, whoever makes the call; what a handler did not ask for, and everything outside of one, is not."""

from __future__ import annotations

import asyncio
import gc
import glob
import http.client
import importlib
import importlib.metadata
import importlib.resources
import linecache
import logging
import logging.handlers
import multiprocessing
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import threading
import traceback
import urllib.request
import warnings
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from millstream import App, Context, jsonl, tool
from millstream.engine import guard
from millstream.errors import IoInRun
from millstream.testing import AppRun

Call = Callable[[Path, int], object]  # given a folder, and a port where somebody listens


def app_of(handler: Any, **options: Any) -> tuple[App, Any]:
    app = App("guard", **options)
    source = app.source("in", jsonl("in.jsonl"), key="k")
    app.agent(on=source, name="handler")(handler)
    return app, source


def error_of(handler: Any) -> dict[str, Any]:
    app, source = app_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        error: dict[str, Any] = world.run().expect("failed").error
        return error


def outcome_of(handler: Any, **options: Any) -> Any:
    app, source = app_of(handler, **options)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        return world.run().expect("done").output


# A socket whose connect is refused in a handler is closed by nobody: socket.create_connection closes it for an OSError alone.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What a refused call has left open is collected here, and not in the middle of somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def executed() -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(print).result()


def connected_unix(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.fspath(path / "socket"))


def sent(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("127.0.0.1", port))


def forked() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


def got(port: int) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=0.1)
    client.connect()
    client.close()


IO: list[tuple[str, Call, str]] = [
    ("open-read", lambda path, port: (path / "a").read_text(), r"open\('.*/a', 'r'\) was called"),
    ("open-write", lambda path, port: (path / "b").write_text("b"), r"open\('.*/b', 'w'\) was called"),
    ("os-open", lambda path, port: os.close(os.open(path / "a", os.O_RDONLY)), r"open\(.*/a'\)?, 'r'\) was called"),
    ("listdir", lambda path, port: os.listdir(path), r"os.listdir\("),
    ("iterdir", lambda path, port: list(path.iterdir()), r"os.(listdir|scandir)\("),
    ("glob", lambda path, port: glob.glob(f"{path}/*"), r"os.(scandir|listdir)\("),
    ("mkdir", lambda path, port: (path / "new").mkdir(), r"os.mkdir\("),
    ("rename", lambda path, port: (path / "a").rename(path / "a"), r"os.rename\(.*a'.*, .*a'.*\)"),
    ("remove", lambda path, port: (path / "c").unlink(), r"os.remove\("),
    ("copy", lambda path, port: shutil.copyfile(path / "a", path / "d"), r"open\("),
    ("temporary", lambda path, port: tempfile.TemporaryFile(dir=path).close(), r"open\("),
    ("create-connection", lambda path, port: socket.create_connection(("127.0.0.1", port)).close(), r"socket.getaddrinfo\('127"),
    ("connect", lambda path, port: connected_unix(path), r"socket.connect\('.*/socket'\) was called"),
    ("bind", lambda path, port: socket.create_server(("127.0.0.1", 0)).close(), r"socket.bind\(\('127.0.0.1', 0\)\)"),
    ("sendto", lambda path, port: sent(port), r"socket.sendto\(\('127.0.0.1', \d+\)\)"),
    ("resolve", lambda path, port: socket.gethostbyname("localhost"), r"socket.gethostbyname\('localhost'\)"),
    ("http", lambda path, port: got(port), r"http.client.connect\('127.0.0.1', \d+\)"),
    ("urllib", lambda path, port: urllib.request.urlopen(f"file://{path}/a").close(), r"urllib.request\('file:///.*/a'\)"),
    ("run", lambda path, port: subprocess.run(["true"], check=True), r"subprocess.Popen\(\['true'\]\) was called"),
    ("system", lambda path, port: os.system("true"), r"os.system\(b?'true'\)"),
    ("fork", lambda path, port: forked(), r"os.fork\(\)"),
    ("spawn", lambda path, port: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0), r"os.posix_spawn\('/bin/true'\)"),
    ("thread", lambda path, port: threading.Thread(target=print, name="t-1").start(), r"thread 't-1' was started"),
    ("executor", lambda path, port: executed(), r"thread 'ThreadPoolExecutor-\d+_0' was started"),
    ("sqlite", lambda path, port: sqlite3.connect(path / "db").close(), r"sqlite3.connect\("),
]
KINDS = [pytest.param(call, said, id=name) for name, call, said in IO]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "a").write_text("a")
    (tmp_path / "c").write_text("c")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tmp_path / "socket"))
        server.listen()
        yield tmp_path


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # Python's own sockets
@pytest.mark.parametrize(("call", "said"), KINDS)
def test_a_handler_that_does_it_fails_and_is_told_what_where_and_what_to_do(call: Call, said: str, folder: Path, port: int) -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        call(folder, port)

    error = error_of(handler)
    assert error["type"] == "IoInRun"
    assert re.match(
        rf"run \S+: {said}.* in a handler at tests/unit/test_guard.py:\d+\. A run cannot do I/O itself", error["message"]
    )
    assert error["message"].endswith("do this in a tool, or record it with ctx.step(name, fn).")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads, in Python 3.12 and later
@pytest.mark.parametrize(("call", "said"), KINDS)
@pytest.mark.parametrize("how", ["def", "async def", "step"])
def test_a_tool_may_do_all_of_it(call: Call, said: str, how: str, folder: Path, port: int) -> None:
    def work() -> str:
        call(folder, port)
        return "done"

    async def work_on_the_loop() -> str:
        return work()

    plain, on_the_loop = tool(name="plain")(work), tool(name="on_the_loop")(work_on_the_loop)

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        if how == "step":
            return await ctx.step("work", work)
        return await (plain() if how == "def" else on_the_loop())

    assert outcome_of(handler) == "done"


def test_it_is_an_ordinary_exception_of_the_call_and_the_run_goes_on_where_it_is_caught(folder: Path) -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        try:
            (folder / "b").write_text("b")
        except IoInRun as error:
            return type(error).__name__
        return "written"

    assert outcome_of(handler) == "IoInRun"
    assert not (folder / "b").exists()


def test_a_task_of_the_handler_is_the_handler(folder: Path) -> None:
    async def read() -> str:
        return (folder / "a").read_text()

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await asyncio.gather(asyncio.sleep(1), read())

    assert "open(" in error_of(handler)["message"]


def test_a_thread_of_anyio_is_refused_at_once_and_hangs_nothing() -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        await anyio.to_thread.run_sync(print)

    assert "was started in a handler" in error_of(handler)["message"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="processes are forked")
def test_a_process_of_multiprocessing_is_refused() -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        multiprocessing.Process(target=print).start()

    assert error_of(handler)["type"] == "IoInRun"


# --- what a handler may do ------------------------------------------------------------------------------------------------


def lazily_imported(folder: Path) -> str:
    (folder / "data.txt").write_text("data")
    code = """
    import pathlib, subprocess, threading
    subprocess.run(["true"], check=True)
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    DATA = pathlib.Path(__file__).with_name("data.txt").read_text()
    """
    (folder / "lazily_imported.py").write_text("\n".join(line.strip() for line in code.splitlines()))
    return "lazily_imported"


def traced() -> str:
    try:
        raise ValueError("traced")
    except ValueError:
        linecache.clearcache()
        return traceback.format_exc()


def logged(folder: Path) -> None:
    late = logging.handlers.RotatingFileHandler(folder / "log", maxBytes=10, backupCount=1, delay=True)
    logger = logging.getLogger("test_guard")
    logger.addHandler(late)
    try:
        for _ in range(3):
            logger.warning("a line that is rotated")
    finally:
        logger.removeHandler(late)
        late.close()
    assert (folder / "log.1").exists()


def warned() -> None:
    linecache.clearcache()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a line of source is read", UserWarning, stacklevel=1)


def imported_anew(*names: str) -> None:
    """As a first import, in a handler."""
    for name in names:
        importlib.reload(importlib.import_module(name))


class Finalized:
    """Writes when the garbage collector finds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.me = self

    def __del__(self) -> None:
        self.path.write_text("finalized")


def collected(folder: Path) -> None:
    Finalized(folder / "finalized")
    gc.collect()
    assert os.path.exists(folder / "finalized")


MAY: list[tuple[str, Callable[[Path], object]]] = [
    ("traceback", lambda folder: traced()),
    ("logging", logged),
    ("warning", lambda folder: warned()),
    ("time-zone", lambda folder: zoneinfo.ZoneInfo.no_cache("Europe/Madrid")),
    ("stdlib-import", lambda folder: imported_anew("colorsys", "xml.dom.minidom", "http.cookiejar")),
    ("ssl", lambda folder: imported_anew("ssl")),
    ("pydantic", lambda folder: importlib.import_module("pydantic").create_model("M", a=(int, ...))(a=1)),
    ("metadata", lambda folder: importlib.metadata.version("msgspec")),
    ("resources", lambda folder: importlib.resources.files("pytest").joinpath("__init__.py").read_text()),
    ("package-data", lambda folder: Path(pytest.__file__).read_text()),
    ("stdlib-data", lambda folder: Path(sysconfig.get_path("stdlib"), "this.py").read_text()),
    ("signal", lambda folder: os.kill(os.getpid(), 0)),  # no I/O, and how tests play a crash
    ("stat", lambda folder: os.path.exists(folder)),
    ("print", lambda folder: print("printed")),
    ("socketpair", lambda folder: [end.close() for end in socket.socketpair()]),
    ("garbage", collected),
]


@pytest.mark.parametrize("work", [pytest.param(work, id=name) for name, work in MAY])
def test_what_a_handler_did_not_ask_for_and_what_is_code_is_let_through(work: Callable[[Path], object], folder: Path) -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> str:
        work(folder)
        return "done"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert outcome_of(handler) == "done"


def test_a_lazy_import_may_do_what_an_import_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    name = lazily_imported(folder)

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
        return importlib.import_module(name).DATA

    assert outcome_of(handler) == "data"
    sys.modules.pop(name)


def test_an_app_that_runs_below_an_import_is_watched_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "below_an_import.py").write_text(f"""
from millstream import App, jsonl
from millstream.testing import AppRun

app = App("below")
source = app.source("in", jsonl("in.jsonl"), key="k")

@app.agent(on=source)
async def handler(ctx, event):
    open({os.fspath(folder / "a")!r}).close()

with AppRun(app) as world:
    world.send(source, {{"k": "a"}})
    world.settle()
    ERROR = world.run().expect("failed").error
""")
    assert "open(" in importlib.import_module("below_an_import").ERROR["message"]
    sys.modules.pop("below_an_import")


def test_lifespans_probes_and_types_of_sources_are_not_watched(folder: Path) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        thread = threading.Thread(target=print)
        thread.start()
        thread.join()
        yield (folder / "a").read_text()

    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> Any:
        return ctx.resources

    app = App("guard", lifespan)
    source = app.source("in", jsonl("in.jsonl"), key=lambda event: (folder / "a").read_text())
    app.agent(on=source, name="handler")(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "x"})
        world.settle()
        run = world.run()
        assert (run.key, run.expect("done").output) == ("a", "a")


def test_a_run_that_is_put_away_may_not_do_it_in_its_finally_either(folder: Path) -> None:
    async def handler(ctx: Context[dict[str, Any]], event: dict[str, Any]) -> None:
        try:
            await ctx.receive("never")
        finally:
            (folder / "b").write_text("b")

    app, source = app_of(handler)
    with AppRun(app) as world:
        world.send(source, {"k": "a"})
        world.settle()
        world.restart()
        world.settle()
        assert not (folder / "b").exists()
        assert world.run().status == "waiting"


def test_it_is_installed_once_and_costs_other_threads_and_loops_nothing_but_a_look(folder: Path) -> None:
    guard.install()
    guard.install()
    assert (folder / "a").read_text() == "a"

    async def main() -> str:
        return (folder / "a").read_text()

    assert asyncio.run(main()) == "a"
