"""The code of a function or class as a digest: one that was edited is another one, whatever it is called.

Comments, docstrings and layout do not count. What it uses does, where it is a user's own: constants, arrays, defaults,
what a closure holds, functions that it calls, what decorates it, base classes, and modules with all that stands in
them; and what these use in their turn. The standard library, installed packages and this library count by name alone.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from qframe_rl.syntax import is_installed, plain

_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_Seen = dict[int, Any]
"""Things that were met, by their ids; kept, so that no id is given again."""


def digest(thing: Callable[..., Any]) -> str:
    """Sixteen hexadecimal digits of the code of a function or class, and of what it uses of a user's own."""
    parts = sorted({repr(part) for part in _facts("", thing, {})})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _facts(name: str, value: Any, seen: _Seen) -> Iterator[Any]:
    """Facts about a value that stands under a name, in no order; each thing once."""
    if isinstance(value, _PLAIN):
        yield name, value
    elif isinstance(value, np.ndarray | np.generic):
        yield name, value.shape, value.dtype.str, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    elif id(value) not in seen:
        seen[id(value)] = value
        yield from _of_thing(name, value, seen)


def _of_thing(name: str, value: Any, seen: _Seen) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from _of_names(name, value, seen)
    elif isinstance(value, tuple | list):
        yield from _of_names(name, dict(enumerate(value)), seen)
    elif isinstance(value, set | frozenset):
        yield from (fact for one in value for fact in _facts(name, one, seen))
    elif isinstance(value, partial):
        yield from _of_names(name, {"func": value.func, "args": value.args, "keywords": value.keywords}, seen)
    elif isinstance(value, types.ModuleType):
        yield from _of_module(value, seen)
    elif hasattr(value, "py_func"):  # of what Numba compiled
        yield from _facts(name, value.py_func, seen)
    elif isinstance(value, staticmethod | classmethod | types.MethodType):
        yield from _facts(name, value.__func__, seen)
    elif isinstance(value, property):
        yield from _of_names(name, {"get": value.fget, "set": value.fset}, seen)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(name, value, seen)
    elif isinstance(value, type):
        yield from _of_class(name, value, seen)
    else:
        yield name, type(value).__module__, type(value).__qualname__
        if _is_own(type(value)):
            yield from _of_class(name, type(value), seen)
            yield from _of_names(name, getattr(value, "__dict__", {}), seen)


def _of_names(name: str, values: Mapping[Any, Any], seen: _Seen) -> Iterator[Any]:
    for key, value in values.items():
        yield from _facts(f"{name}.{key}", value, seen)


def _of_module(module: types.ModuleType, seen: _Seen) -> Iterator[Any]:
    if not _is_own(module):
        yield "module", module.__name__
        return
    yield _tree(inspect.getsource(module))
    for name, value in vars(module).items():
        if isinstance(value, types.ModuleType | types.FunctionType | type):
            yield from _facts(name, value, seen)


def _of_function(name: str, function: types.FunctionType, seen: _Seen) -> Iterator[Any]:
    if not _is_own(function):
        yield name, function.__module__, function.__qualname__
        return
    yield _source(function, [function])
    used = {key: function.__globals__[key] for key in _names(function.__code__) if key in function.__globals__}
    inner = inspect.getclosurevars(function).nonlocals
    more = {"__defaults__": function.__defaults__, "__kwdefaults__": function.__kwdefaults__}
    more["__wrapped__"] = getattr(function, "__wrapped__", None)
    for values in (used, inner, more):
        yield from _of_names("", values, seen)


def _of_class(name: str, cls: type, seen: _Seen) -> Iterator[Any]:
    if not _is_own(cls):
        yield name, cls.__module__, cls.__qualname__
        return
    own = {key: value for key, value in vars(cls).items() if not (key.startswith("__") and isinstance(value, _PLAIN))}
    yield _source(cls, [one for one in own.values() if isinstance(one, types.FunctionType)])
    yield from _of_names("", {key: value for key, value in own.items() if _counts(value)}, seen)
    for base in cls.__bases__:
        yield from _facts("base", base, seen)


def _counts(value: Any) -> bool:
    """Whether an attribute of a class is one that its author wrote."""
    made = types.GetSetDescriptorType | types.MemberDescriptorType | types.WrapperDescriptorType
    return not isinstance(value, made | types.MappingProxyType)


def _names(code: types.CodeType) -> Iterable[str]:
    """What a function refers to by name, functions inside of it included."""
    inside = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return {*code.co_names, *(name for one in inside for name in _names(one))}


def _is_own(thing: Any) -> bool:
    """Whether it lies neither in the standard library, nor in an installed package, nor in this library."""
    name = str(thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__)
    top, place = name.partition(".")[0], getattr(sys.modules.get(name), "__file__", None)
    if top in sys.stdlib_module_names | {"qframe_rl"}:
        return top == "__main__"
    return place is None or not is_installed(place)


def _source(thing: Any, functions: Iterable[types.FunctionType]) -> Any:
    """Syntax tree of a function or class; of one whose text is not there, the machine code of its functions."""
    try:
        # Of a function that decorates, inspect would tell the source of what is decorated.
        return _tree(textwrap.dedent(inspect.getsource(getattr(thing, "__code__", thing))))
    except (OSError, TypeError, SyntaxError):
        return [_machine(function.__code__) for function in functions]


def _machine(code: types.CodeType) -> tuple[Any, ...]:
    inner = [_machine(one) if isinstance(one, types.CodeType) else one for one in code.co_consts]
    return code.co_code, code.co_names, [one for one in inner if isinstance(one, (*_PLAIN, tuple))]


def _tree(source: str) -> Any:
    return plain(ast.parse(source))
