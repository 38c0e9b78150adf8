"""How the library's inner loops are compiled: one set of Numba options, one place.

Strict IEEE arithmetic, no fast-math: additions are never reordered and products never contracted (but for `fused`, in
networks), so one account and four thousand give the same bits.

Compiled functions allocate nothing; they work on arrays that they are handed. That lets Numba's reference counting stay
off (``_nrt=False``): with it on, each inner call takes and drops an atomic count of every array it is passed, which
costs several times the arithmetic behind it (72 ns instead of 8 ns for an account without orders).

The machine code is cached on disk and shared by all processes. Numba notices only changes of the file in which a
function stands, but functions of several files are compiled into one and read constants of others; so the cache lies in
a folder named by a hash of all of them.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])

_PACKAGE = Path(__file__).resolve().parent
_OPTIONS = {"cache": True, "error_model": "numpy", "_nrt": False}
_MARK, _IMPORT = b"qframe_rl.jit import", re.compile(rb"^from qframe_rl\.([\w.]+) import", re.MULTILINE)


def compiled(function: F) -> F:
    """Compile ``function`` with Numba."""
    return cast(F, numba.njit(**_OPTIONS)(function))  # type: ignore[call-overload]


def inlined(function: F) -> F:
    """Compile ``function`` with Numba as a part of the compiled functions that call it."""
    return cast(F, numba.njit(**_OPTIONS, forceinline=True)(function))  # type: ignore[call-overload]


def apart(function: F) -> F:
    """Compile ``function`` with Numba, to run beside other threads."""
    return cast(F, numba.njit(**_OPTIONS, nogil=True)(function))  # type: ignore[call-overload]


def fused(function: F) -> F:
    """Compile ``function`` with Numba for the arithmetic of networks, to run beside others in threads.

    Here, and nowhere else, a product and a sum may be rounded once instead of twice, where the machine can.
    """
    return cast(F, numba.njit(**_OPTIONS, nogil=True, fastmath={"contract"})(function))  # type: ignore[call-overload]


def sources(package: Path) -> str:
    """Hash of every file of a package that may end up in machine code: those that compile, and what they import."""
    text = {path.relative_to(package): path.read_bytes() for path in package.rglob("*.py")}
    compiling = {path for path in text if _MARK in text[path]}
    imported = {Path(*name.decode().split(".")) for path in compiling for name in _IMPORT.findall(text[path])}
    found = compiling | {path.with_suffix(".py") for path in imported} & text.keys()
    return hashlib.sha256(b"".join(text[path] for path in sorted(found))).hexdigest()[:16]


def _cache_folder() -> Path:
    """Folder for the machine code of these sources: beside the package where it can be written, else the user's."""
    beside = _PACKAGE / "__pycache__"
    writable = os.access(beside if beside.is_dir() else _PACKAGE, os.W_OK)
    root = beside if writable else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qframe-rl"
    folder = root / f"numba-{sources(_PACKAGE)}"
    if not folder.is_dir():
        for old in root.glob("numba-*"):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
