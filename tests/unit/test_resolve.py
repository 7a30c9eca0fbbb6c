"""TARGET of the command line: which app it means, and what is said when it means none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.agents.resolve import resolve
from millstream.errors import DeclarationError, UsageError

APP = "from millstream import App\napp = App('shop')\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def test_a_file_means_the_app_named_app() -> None:
    write("shop.py", APP + "other = App('other')\n")
    assert resolve("shop.py").name == "shop"


def test_a_file_means_its_only_app() -> None:
    write("shop.py", "from millstream import App\nmine = also_mine = App('shop')\n")
    assert resolve("shop.py").name == "shop"


def test_a_file_imports_what_lies_beside_it_and_is_found_by_it() -> None:
    write("deep/inside/parts.py", "import whole\nNAME = 'shop'\n")
    write("deep/inside/whole.py", "import parts\nfrom millstream import App\napp = App(parts.NAME)\n")
    app = resolve("deep/inside/whole.py")
    assert sys.modules["whole"].app is app
    assert resolve("deep/inside/whole.py") is app


def test_a_file_may_be_named_as_an_installed_module_or_as_no_module_could() -> None:
    write("json.py", APP)
    write("my-shop.py", APP)
    assert resolve("json.py").name == "shop"
    assert "loads" in vars(sys.modules["json"])
    assert resolve("my-shop.py").name == "shop"


def test_a_file_is_not_run_as_the_main_program() -> None:
    write("shop.py", APP + "if __name__ == '__main__':\n    raise SystemExit('run')\n")
    assert resolve("shop.py").name == "shop"


def test_types_of_the_file_can_be_resolved() -> None:
    agent = "@app.agent()\nasync def act(ctx: 'Context[dict]', event: 'Order') -> 'Order | None': ...\n"
    types = "from dataclasses import dataclass\nfrom millstream import Context\n@dataclass\nclass Order:\n    id: str\n"
    write("shop.py", "from __future__ import annotations\n" + APP + types + agent)
    assert resolve("shop.py").graph().agents["act"].event.name == "Order"


def test_a_module_and_a_name_mean_that_app() -> None:
    write("shops/web.py", APP + "class Apps:\n    second = App('second')\n")
    assert resolve("shops.web:app").name == "shop"
    assert resolve("shops.web:Apps.second").name == "second"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("shop", "TARGET 'shop' is neither a file nor a name in a module; give path.py, or module:app"),
        ("shop:", "is neither a file nor a name in a module"),
        (":app", "is neither a file nor a name in a module"),
        ("nowhere.py", r"there is no file nowhere.py \(looked for .*/nowhere.py\); give path.py, or module:app"),
        ("shop.py:app", "TARGET 'shop.py:app' mixes a path with a name; give shop.py, or the module's dotted name"),
        ("nowhere:app", r"there is no module nowhere \(looked in .* first\); give path.py, or module:app"),
        ("shop.nowhere:app", "there is no module shop.nowhere"),
        ("shop:ap", "TARGET 'shop:ap': shop has no ap; its Apps are app"),
        ("empty:app", "TARGET 'empty:app': empty has no app; it holds no App"),
        ("shop:App", "TARGET 'shop:App' is type, not an App; name one, such as shop:app"),
    ],
)
def test_what_cannot_be_found_is_an_error_of_use(target: str, says: str) -> None:
    write("shop.py", APP)
    write("empty.py", "")
    with pytest.raises(UsageError, match=says):
        resolve(target)


def test_a_file_without_an_app_or_with_several_says_so() -> None:
    write("empty.py", "")
    write("two.py", "from millstream import App\none = App('a')\ntwo = App('b')\n")
    with pytest.raises(DeclarationError, match=r"^empty.py: no App was found in it; declare one .*: app = App\('empty'\)"):
        resolve("empty.py")
    with pytest.raises(
        DeclarationError, match=r"two.py: several Apps .*: one \(two.py:2\), two \(two.py:3\); name .* or give two:NAME"
    ):
        resolve("two.py")


@pytest.mark.parametrize("target", ["shop.py", "shop:app"])
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import millstream\n\n1 / 0\n", "shop.py:3: {} cannot be imported: ZeroDivisionError: division by zero"),
        ("import nowhere\n", "shop.py:1: {} cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("import json\njson.loads('{{')\n", "^shop.py:2: {} cannot be imported: JSONDecodeError"),
        ("def f(:\n", r"shop.py:1: {} cannot be imported: SyntaxError: invalid syntax"),
        (
            "from . import x\n",
            "shop.py:1: {} cannot be imported: ImportError: attempted relative import with no known parent package",
        ),
        ("from millstream import App\napp = App('no name')\n", "^shop.py:2: an app cannot be named 'no name'"),
        ("import parts\n", "^parts.py:2: {} cannot be imported: KeyError: 'x'"),
    ],
)
def test_an_error_of_the_users_code_is_reported_where_it_is(text: str, says: str, target: str) -> None:
    write("shop.py", text)
    write("parts.py", "\n{}['x']\n")
    with pytest.raises(DeclarationError, match=says.replace("{}", re.escape(target))) as failed:
        resolve(target)
    assert failed.value.__cause__ is not None or "cannot be named" in says
    assert "shop" not in sys.modules


def test_a_file_of_a_package_is_better_named_as_a_module() -> None:
    write("shops/web.py", "from . import parts\n" + APP)
    write("shops/parts.py", "")
    with pytest.raises(DeclarationError, match="it is part of a package, so give module:app instead of its path"):
        resolve("shops/web.py")
    assert resolve("shops.web:app").name == "shop"
