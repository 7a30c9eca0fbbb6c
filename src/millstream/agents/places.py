"""Where a declaration stands, and what its annotations say.

Rules:

* every ``DeclarationError`` begins with ``file:line`` of the user's declaration: the line of the decorator or ``def`` for
  functions, else the innermost line that called into this layer;
* annotations are resolved one at a time: a name that exists for type checkers only (``if TYPE_CHECKING``) must not keep us from
  reading the others;
* an annotation may name what is defined further down in its module. It is tried at the declaration, where names of an
  enclosing function can be seen too, and again when the graph is compiled, where the whole module is there.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from millstream.engine.places import PACKAGE as PACKAGE
from millstream.engine.places import place as place
from millstream.errors import DeclarationError

LAYER = os.path.dirname(os.path.abspath(__file__)) + os.sep  # declarations come from outside of it
MISSING: Any = inspect.Parameter.empty  # no annotation, no default

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def caller() -> types.FrameType | None:
    """The innermost frame outside this layer: of the code that declares."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(LAYER):
        frame = frame.f_back
    return frame


def here() -> str:
    """``file:line`` of the declaration that is being made."""
    frame = caller()
    return "<unknown>:0" if frame is None else place(frame.f_code.co_filename, frame.f_lineno)


def place_of(fn: Callable[..., Any]) -> str:
    """``file:line`` where a function is defined; of the calling declaration for what has no code of its own."""
    function = function_of(fn)
    return here() if function is None else place(function.__code__.co_filename, function.__code__.co_firstlineno)


def function_of(fn: Callable[..., Any]) -> types.FunctionType | None:
    """The Python function behind wrappers, partials, methods and callable objects; None for what is not written in Python."""
    found: Any = fn
    while True:
        if isinstance(found, functools.partial):
            found = found.func
        elif isinstance(found, types.MethodType):
            found = found.__func__
        elif hasattr(found, "__wrapped__"):
            found = found.__wrapped__
        elif isinstance(found, types.FunctionType):
            return found
        elif isinstance(found, type) or not isinstance(call := inspect.getattr_static(found, "__call__", None), types.FunctionType):
            return None
        else:
            found = call


def annotation(fn: Callable[..., Any], name: str, scope: Mapping[str, Any] | None = None) -> Any:
    """The resolved annotation of a parameter, or of ``"return"``; ``MISSING`` where there is none.

    Args:
        scope: names of an enclosing function that its text may use, beside those of its module.

    Raises:
        NameError: it names something that does not exist, or not yet.
        DeclarationError: it is no type at all.
    """
    function = function_of(fn)
    raw = MISSING if function is None else _annotations(function).get(name, MISSING)
    if raw is MISSING or function is None:
        return MISSING
    alone = types.SimpleNamespace(__annotations__={name: raw})
    try:
        return typing.get_type_hints(alone, function.__globals__, dict(scope) if scope else None, include_extras=True)[name]
    except NameError:
        raise
    except AttributeError as missing:  # of a module that is still being imported
        raise NameError(str(missing)) from None
    except Exception as problem:
        what = f"{name_of(fn)}: the annotation of {name}, {raw!r}, cannot be evaluated: {type(problem).__name__}: {problem}"
        raise wrong(place_of(fn), what, "annotate it with a type") from None


def takes(fn: Callable[..., Any], args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
    """Can it be called with so many arguments, and these names?"""
    try:
        inspect.signature(fn).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # built in, without a signature: found out when it is called
        return True
    return True


def _annotations(function: types.FunctionType) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # they are evaluated together, on demand: one unknown name would cost us all of them
        import annotationlib

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return function.__annotations__


def wrong(at: str, problem: str, fix: str) -> DeclarationError:
    """The error of a declaration: where, what, and what to do."""
    return DeclarationError(f"{at}: {problem}; {fix}")


def check_name(name: object, what: str, where: str) -> str:
    """The name, if it may be one: names become parts of ids that people paste into a shell.

    Raises:
        DeclarationError: it is not text of letters, digits, ``_``, ``-`` and ``.``, or begins with ``-`` or ``.``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise wrong(where, f"{what} cannot be named {name!r}", "use ASCII letters, digits, '_', '-' and '.': ids are made of names")
    return name


def check_choice(value: object, choices: tuple[str, ...], option: str, where: str) -> str:
    """The value, if it is one of the choices of an option.

    Raises:
        DeclarationError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise wrong(where, f"{option}={value!r} is not known", f"use {' or '.join(map(repr, choices))}")
    return value


def name_of(fn: object) -> str:
    """What a message calls a function."""
    return getattr(fn, "__name__", None) or repr(fn)
