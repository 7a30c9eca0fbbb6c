"""The layers of DESIGN.md hold, and the contracts that say so (pyproject.toml, import-linter) do find what breaks them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True, no_logo=True))"


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package in ``source``; a process of its own, since it changes sys.path and logging."""
    command = [sys.executable, "-c", LINT, str(ROOT / "pyproject.toml")]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)


def test_every_import_keeps_to_the_layers() -> None:
    result = lint(ROOT / "src")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "finding"),
    [
        ("core", "import asyncio", "millstream.core is not allowed to import asyncio"),
        ("core", "from time import monotonic", "millstream.core is not allowed to import time"),
        ("core", "import os.path", "millstream.core is not allowed to import os"),
        ("core", "from millstream.engine import ports", "millstream.core is not allowed to import millstream.engine"),
        ("engine", "import rich.table", "millstream.engine is not allowed to import rich"),
        ("engine", "import millstream.runtime", "millstream.engine is not allowed to import millstream.runtime"),
        ("stores", "import millstream.connectors", "millstream.stores is not allowed to import millstream.connectors"),
        ("runtime", "import millstream.cli", "millstream.runtime is not allowed to import millstream.cli"),
        ("errors", "import millstream.core", "millstream.errors is not allowed to import millstream.core"),
        ("helpers", "", "The following modules are not listed as layers: - millstream.helpers"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, line: str, finding: str) -> None:
    package = tmp_path / "millstream"
    shutil.copytree(ROOT / "src" / "millstream", package, ignore=shutil.ignore_patterns("__pycache__"))
    planted = package / module / "planted.py" if (package / module).is_dir() else package / f"{module}.py"
    with planted.open("a") as file:
        file.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert finding in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize(("layer", "allowed"), [("core", {"msgspec"}), ("engine", {"msgspec", "apsw"})])
def test_core_and_engine_depend_on_no_other_distribution(layer: str, allowed: set[str]) -> None:
    graph = grimp.build_graph("millstream", include_external_packages=True, cache_dir=None)
    package = f"millstream.{layer}"
    modules = {package} | graph.find_descendants(package)
    imported = {name for module in modules for name in graph.find_modules_directly_imported_by(module)}
    assert {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names | {"millstream"}} <= allowed
