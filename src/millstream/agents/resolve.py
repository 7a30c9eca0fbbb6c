"""From a TARGET of the command line to the ``App`` it means.

Rules:

* ``path.py`` is loaded as Python would run it, with its folder first on ``sys.path``, but under its own module name, so that
  ``if __name__ == "__main__":`` stays silent and other modules that import it get the same one;
* ``module:app`` is imported, with the working directory first on ``sys.path``; ``app`` may be dotted;
* a file's app is the one named ``app``, else its only one;
* what goes wrong in the user's code is reported where it went wrong: the ``DeclarationError`` names the innermost line of
  theirs and has the original error as its cause.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from types import ModuleType
from typing import Any

from millstream.agents import places
from millstream.agents.app import App
from millstream.engine.places import theirs
from millstream.errors import DeclarationError, UsageError


def resolve(target: str) -> App:
    """The app that ``path.py`` or ``module:app`` means.

    Raises:
        UsageError: there is no such file, module or name.
        DeclarationError: its code cannot be imported, or holds no app, or several and none of them is named ``app``.
    """
    name, colon, attribute = target.partition(":")
    if target.endswith(".py"):
        return _only_app(_load(target), target)
    if not colon and os.path.exists(target):
        raise UsageError(f"TARGET {target!r} is no Python file; give path.py, or module:app")
    if not colon or not attribute or not name:
        raise UsageError(f"TARGET {target!r} is neither a file nor a name in a module; give path.py, or module:app")
    if name.endswith(".py") or os.sep in name:
        raise UsageError(f"TARGET {target!r} mixes a path with a name; give {name}, or the module's dotted name before the colon")
    return _named_app(_import(name, target), attribute, target)


def _load(path: str) -> ModuleType:
    file = os.path.abspath(path)
    if not os.path.isfile(file):
        raise UsageError(f"there is no file {path} (looked for {file}); give path.py, or module:app")
    folder, name = os.path.dirname(file), os.path.basename(file).removesuffix(".py")
    known = sys.modules.get(name)
    if known is not None and os.path.abspath(getattr(known, "__file__", None) or "") == file:
        return known
    if known is not None or not name.isidentifier():  # orders.py beside an installed package of that name
        name = f"_target_{name}"
    _put_first(folder)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"Python cannot load {path}; give a file of Python source")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and annotations look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(error, path) from error
    return module


def _import(name: str, target: str) -> ModuleType:
    _put_first(os.getcwd())
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and (name == error.name or name.startswith(error.name + ".")):
            raise UsageError(
                f"there is no module {error.name} (looked in {os.getcwd()} first); give path.py, or module:app"
            ) from None
        raise _failed(error, target) from error


def _only_app(module: ModuleType, target: str) -> App:
    apps = {name: value for name, value in vars(module).items() if isinstance(value, App)}
    if "app" in apps:
        return apps["app"]
    different = {id(app): app for app in apps.values()}
    if len(different) == 1:
        return next(iter(different.values()))
    if not apps:
        raise DeclarationError(
            f"{target}: no App was found in it; declare one at the top of the file: app = App({_stem(module)!r})"
        )
    where = ", ".join(f"{name} ({app.place})" for name, app in apps.items())
    raise DeclarationError(
        f"{target}: several Apps were found in it: {where}; name the one to run app, or give {_stem(module)}:NAME"
    )


def _named_app(module: ModuleType, attribute: str, target: str) -> App:
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            apps = [name for name, found in vars(module).items() if isinstance(found, App)]
            there = f"its Apps are {', '.join(apps)}" if apps else "it holds no App"
            raise UsageError(f"TARGET {target!r}: {module.__name__} has no {attribute}; {there}")
        value = getattr(value, part)
    if not isinstance(value, App):
        raise UsageError(f"TARGET {target!r} is {type(value).__name__}, not an App; name one, such as {module.__name__}:app")
    return value


def _failed(error: Exception, target: str) -> DeclarationError:
    """The user's error with the innermost line of theirs: neither libraries nor the importing machinery are for them to mend."""
    if isinstance(error, DeclarationError):
        return error
    if isinstance(error, SyntaxError) and error.filename:
        where = places.place(error.filename, error.lineno or 0)
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if theirs(frame.filename)]
        where = places.place(frames[-1].filename, frames[-1].lineno or 0) if frames else target
    hint = ""
    if isinstance(error, ImportError) and "no known parent package" in str(error) and target.endswith(".py"):
        hint = "; it is part of a package, so give module:app instead of its path"
    return DeclarationError(f"{where}: {target} cannot be imported: {type(error).__name__}: {error}{hint}")


def _stem(module: ModuleType) -> str:
    return module.__name__.removeprefix("_target_")


def _put_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
