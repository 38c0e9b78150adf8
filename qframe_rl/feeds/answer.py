"""What an exchange's answers are taken for: clear ones, unclear ones, and what is a mistake of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
_PARSERS = (LookupError, TypeError, AttributeError, ValueError)
"""What CCXT's parsers raise on well-formed JSON of another form."""


@cache
def unclear() -> type[Exception]:
    """What an answer that is no clear yes is raised as, if every request is put with `answer`."""
    import ccxt

    kind: type[Exception] = ccxt.BaseError
    return kind


def answer(call: Callable[..., T], *given: Any) -> T:
    """What CCXT makes of an exchange's answer.

    Its parsers raise whatever comes on well-formed JSON of another form: that is an unclear answer. The same errors
    raised anywhere else are mistakes of ours, which nobody may take for one and ask again for ever.
    """
    import ccxt

    try:
        return call(*given)
    except _PARSERS as error:
        if _unasked(error):
            raise
        raise ccxt.BadResponse(f"an answer of another form ({type(error).__name__})") from error


async def awaited(call: Callable[..., Awaitable[T]], *given: Any) -> T:
    """As `answer`, what is awaited of CCXT's asynchronous clients; they also tell of a broken socket as it comes."""
    import ccxt

    try:
        return await call(*given)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Not we have had enough: CCXT cancels what waits on a socket that it closes.
        raise ccxt.NetworkError("the connection was given up") from None
    except OSError as error:
        raise ccxt.NetworkError(f"the connection broke ({type(error).__name__})") from error
    except _PARSERS as error:
        if _unasked(error):
            raise
        raise ccxt.BadResponse(f"an answer of another form ({type(error).__name__})") from error


def _unasked(error: Exception) -> bool:
    """Whether it was called in a way in which it cannot be: nobody was asked."""
    return error.__traceback__ is None or error.__traceback__.tb_next is None


def shaped(shape: Any, said: Any) -> Any:
    """An answer as the type of pydantic that it must be of; another one is unclear."""
    import ccxt

    try:
        return _adapter(shape).validate_python(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "answer"
        raise ccxt.BadResponse(f"an answer of another form ({where}: {first['msg']})") from None


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)
