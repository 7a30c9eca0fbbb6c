"""Text that can be stored, whatever it is made from.

An app's keys, values and exceptions may hold what UTF-8 cannot (a lone surrogate: half of a character), be endless, or raise
when they are asked for their text. One of them in a commit would stop the engine, and stop it again after every restart.
"""

from __future__ import annotations

from typing import Any

MESSAGE_LIMIT = 4_000  # characters of a message
REPR_LIMIT = 200


def clean(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """At most ``limit`` characters of the text, all of which can be encoded: lone surrogates are written as escapes."""
    if len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(error: BaseException) -> str:
    """What the exception says; of a group, what its leaves say too."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        text = f"(its text cannot be had: {type(broken).__name__})"
    if isinstance(error, BaseExceptionGroup):
        text = f"{text}: " + "; ".join(f"{type(leaf).__name__}: {text_of(leaf)}" for leaf in error.exceptions[:10])
    return clean(text)


def shown(value: Any, limit: int = REPR_LIMIT) -> str:
    """The ``repr`` of the value, as far as it has one."""
    try:
        return clean(repr(value), limit)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{type(value).__qualname__}>"


def encodable(text: str, what: str) -> str:
    """The text, which is going to be stored.

    Raises:
        ValueError: it holds a lone surrogate (``os.fsdecode`` and ``errors="surrogateescape"`` make them) and has no UTF-8.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as problem:
            raise ValueError(f"{what} is not Unicode text ({problem.reason}): {shown(text)}") from None
    return text


def key_text(key: Any, what: str = "key") -> str:
    """A key, or id, as text: str as it is, int (not bool) in decimals.

    Raises:
        ValueError: there is none, it is of another type, or it cannot be encoded; names ``what`` it should have been.
    """
    if isinstance(key, str):
        return encodable(key if type(key) is str else str(key), f"the {what}")
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    if key is None:
        raise ValueError(f"the {what} is missing")
    raise ValueError(f"the {what} must be text or an integer, not {type(key).__name__}: {shown(key, 100)}")
