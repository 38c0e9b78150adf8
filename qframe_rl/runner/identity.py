"""The code that a strategy consists of, as a hash: one whose rule was edited is another one, whatever it is called.

It is the strategy's own module and every module that this one imports, directly or not, outside the library and outside
installed distributions; the catalogues ``agents/`` and ``envs/`` count as the strategy's own. Modules are found by the
import system and hashed by their syntax trees: comments, docstrings and layout do not count. An installed distribution
is recorded by name and version. The content of a dataset that a strategy learns from counts as its code does.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

from qframe_rl import catalog
from qframe_rl.config import Base, Ref, UserError, fingerprint
from qframe_rl.evaluate.trials import CodeIdentity
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.syntax import is_installed, plain
from qframe_rl.types import History
from qframe_rl.versions import code_fingerprint

_LIBRARY = "qframe_rl"
_CATALOGUES = ("agents", "envs")
_BY_NAME = ("import_module", "__import__")


class Code(NamedTuple):
    """What a strategy consists of."""

    digest: str
    """Of all modules that count."""
    modules: tuple[str, ...]
    """Their names, sorted."""
    packages: Mapping[str, str]
    """Installed distributions that they import, and their versions: another version is no other strategy."""

    @property
    def coded(self) -> CodeIdentity:
        """As the ledger of trials has it."""
        return CodeIdentity(self.digest, self.packages)

    def describe(self) -> dict[str, object]:
        """Plain data for a checkpoint."""
        return {"digest": self.digest, "packages": dict(self.packages)}


def run_identity(terms: Base, history: History | TickHistory, codes: Iterable[Code]) -> str:
    """Fingerprint of configuration, data and code of a run: equal ones give equal results.

    Parameters
    ----------
    terms
        All that was asked for.
    history
        The bars or ticks; their fingerprint counts, not where they lie.
    codes
        What each strategy and market consists of, in any order.
    """
    own = sorted(code.digest for code in codes)
    return fingerprint(terms.model_dump(mode="json"), history.fingerprint, code_fingerprint(), own)


def code_of(agent: str, config: Base, env: Ref, market: str) -> Code:
    """Code of a strategy of the catalogue or from elsewhere, of those that it is made of, and of its market.

    Parameters
    ----------
    agent
        Name of the strategy.
    config
        Its configuration: where its module has ``parts``, that names further strategies from it.
    env
        The market that was asked for.
    market
        Name of the one that was made, which counts where ``auto`` was asked for.
    """
    module, market = catalog.load("agents", agent), market if env.name == "auto" else env.name
    parts = module.parts(config) if hasattr(module, "parts") else ()
    found = code(*(catalog.module_of("agents", name) for name in (agent, *parts)), catalog.module_of("envs", market))
    return with_data(found, agent, config)


def with_data(found: Code, agent: str, config: Base) -> Code:
    """Code of a strategy together with the datasets that it learns from.

    Parameters
    ----------
    found
        Its code alone.
    agent
        Its name.
    config
        Its configuration: where its module has ``datasets``, that names them from it, by id or folder.

    Raises
    ------
    UserError
        If one of them is not there or cannot be read.
    """
    module = catalog.load("agents", agent)
    names = module.datasets(config) if hasattr(module, "datasets") else ()
    if not names:
        return found
    from qframe_rl.offline.dataset import dataset_digest

    return found._replace(digest=fingerprint(found.digest, *map(dataset_digest, names)))


def own_code(agent: str) -> str:
    """Digest of a strategy's code alone, without its market."""
    return code(catalog.module_of("agents", agent)).digest


def refuse_other_code(agent: str, digest: str) -> None:
    """Refuse to work where a strategy is another one than where the work was asked for; raises UserError."""
    if own_code(agent) != digest:
        raise UserError(
            f"what trains has other code of {agent} than what asked for it: a file was changed while the run was under "
            "way, or a machine of the cluster (--on ray) has another; start again with the same code everywhere."
        )


def code(*roots: str) -> Code:
    """Code of modules and of all that they import, see this module's docstring.

    Parameters
    ----------
    roots
        Full names of importable modules; they count wherever they lie.
    """
    own = {*_CATALOGUES, *(root.partition(".")[0] for root in roots)} - {_LIBRARY}
    digests: dict[str, str] = {}
    packages: dict[str, str] = {}
    todo = list(roots)
    while todo:
        name = todo.pop()
        top = name.partition(".")[0]
        if name in digests or (name not in roots and not _counts(top, own, packages)):
            continue
        spec = _spec(name)
        if spec is None and name in roots:
            raise UserError(f"no module {name!r} for a strategy or its market; is its package on PYTHONPATH?")
        if spec is None:
            continue
        digests[name], imported = _read(name, spec)
        todo += [".".join(name.split(".")[:k]) for k in range(1, name.count(".") + 1)]
        todo += imported
    found = {name: digest for name, digest in digests.items() if digest}
    return Code(fingerprint(found), tuple(sorted(found)), dict(sorted(packages.items())))


def _counts(top: str, own: Iterable[str], packages: dict[str, str]) -> bool:
    """Whether modules of a top-level package count; an installed distribution is noted instead."""
    if top in own:
        return True
    if top == _LIBRARY or top in sys.stdlib_module_names:
        return False
    spec = _spec(top)
    if spec is None or not _installed(spec):
        return spec is not None
    packages |= _versions(top)
    return False


def _spec(name: str) -> ModuleSpec | None:
    """Where the import system finds a module; None where it finds none."""
    try:
        return importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        # The name of something in a module, a package that is imported only where it is there, or a script.
        return None


def _installed(spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.has_location and spec.origin else list(spec.submodule_search_locations or ())
    return any(map(is_installed, places))


@cache
def _versions(top: str) -> dict[str, str]:
    """Distributions that a top-level package is of, and their versions; asking for all of them takes a second."""
    try:
        return {top: importlib.metadata.version(top)}
    except importlib.metadata.PackageNotFoundError:
        found = importlib.metadata.packages_distributions().get(top, [])
        return {name: importlib.metadata.version(name) for name in found} or {top: "unknown"}


def _read(name: str, spec: ModuleSpec) -> tuple[str, tuple[str, ...]]:
    """Digest of a module, empty where a package has no code of its own; and the names that it imports."""
    if spec.loader is None or not spec.has_location:
        return "", ()
    source = spec.loader.get_source(name) if hasattr(spec.loader, "get_source") else None
    if source is None:
        return hashlib.sha256(Path(str(spec.origin)).read_bytes()).hexdigest(), ()
    package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
    return _parsed(source, package)


@lru_cache(maxsize=512)
def _parsed(source: str, package: str) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(source)
    digest = hashlib.sha256(repr(plain(tree)).encode()).hexdigest()
    return digest, tuple(dict.fromkeys(_imports(tree, package)))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Names that a module imports, wherever it does; of ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level else base
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            yield from _imported_by_name(node, package)


def _imported_by_name(node: ast.Call, package: str) -> Iterator[str]:
    """What a call imports, if it is one of those that import and is told the name as plain text."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    if called in _BY_NAME and texts:
        yield importlib.util.resolve_name(texts[0], package)
    elif called == "load" and len(texts) == 2 and texts[0] in _CATALOGUES:
        yield catalog.module_of(*texts)  # type: ignore[arg-type]
