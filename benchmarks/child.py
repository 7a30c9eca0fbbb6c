"""The inside of a child process: ``python -m benchmarks.child MODULE:FUNCTION JSON`` calls it and prints what it returns.

Everything that is measured runs in a process of its own, so that no measurement inherits another's memory or threads. A
function may return a coroutine; it then runs on uvloop, the bare ones as well as Millstream's.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys

from millstream.runtime.local import run_loop


def main() -> None:
    name, arguments = sys.argv[1:]
    module, _, function = name.partition(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    if inspect.iscoroutine(result):
        result = run_loop(result)
    print(json.dumps(result), flush=True)


main()
