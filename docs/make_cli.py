"""Writes docs/cli.md from the help of every command: ``python docs/make_cli.py``."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

from millstream.cli.main import COMMANDS, app

PAGE = Path(__file__).parent / "cli.md"

# Help is as wide as the terminal, up to 100 columns, and coloured where it can be: neither is to be seen in the page.
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}

HEAD = """\
# The command line

What `--help` says, of each command. Made by `python docs/make_cli.py`: edit the commands in `src/millstream/cli`, not this page.

Exit codes: 0 done, whatever became of the runs; 1 the engine, or what was named, failed; 2 the command was called wrongly.
`--json` prints one object a line; times are RFC 3339, UTC.

"""


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The text of docs/cli.md."""
    return HEAD + "\n".join([_section(), *(_section(command.__name__.replace("_", "-")) for command in COMMANDS)])


def _section(*command: str) -> str:
    shown = io.StringIO()
    with patch.dict(os.environ, PLAIN), redirect_stdout(shown):
        app([*command, "--help"], prog_name="millstream", standalone_mode=False)
    return f"## {' '.join(['millstream', *command])}\n\n```text\n{shown.getvalue().strip()}\n```\n"


if __name__ == "__main__":
    main()
