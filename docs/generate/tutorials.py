"""Run the tutorials: ``python -m docs.generate.tutorials [NAME ...]``.

A tutorial is a notebook kept as Markdown (jupytext), so that a change of it can be read. Each runs from its first cell
to its last in an empty folder, without a network, data or state of the user's; what it printed is kept in
``build/tutorials``, where the site finds it.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "docs" / "tutorials"
DONE = ROOT / "build" / "tutorials"
LONGEST_S = 600
"""After which a cell is given up: a minute where nothing else runs, and machines are busy."""
COMMAND = """#!{python}
import sys

sys.argv[0] = "qframe"
from experiments.command import entry

entry()
"""


def names() -> list[str]:
    """The tutorials in their order."""
    return [path.stem for path in sorted(SOURCES.glob("*.md"))]


def main() -> int:
    """Run some or all; 1 if any cell failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which (default: all): {', '.join(names())}")
    failed = 0
    for name in parser.parse_args().names or names():
        began = time.monotonic()
        error = run(name)
        failed += error is not None
        print(f"{'ok  ' if error is None else 'FAIL'} {time.monotonic() - began:6.1f} s  {name}", flush=True)
        if error is not None:
            print(re.sub(r"\x1b\[[0-9;]*m", "", error))
    return min(failed, 1)


def run(name: str) -> str | None:
    """Run one and keep what it printed; what went wrong, or None."""
    import jupytext
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    notebook = jupytext.read(SOURCES / f"{name}.md")
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.metadata["source"] = (SOURCES / f"{name}.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place, alone(Path(place)):
        client = NotebookClient(
            notebook,
            timeout=LONGEST_S,
            resources={"metadata": {"path": f"{place}/here"}},
            extra_arguments=["--IPKernelApp.log_level=40"],
            coalesce_streams=True,
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError) as error:
            return str(error)
        for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
            if "text" in output:
                output.text = output.text.replace(f"{place}/here/", "")
    DONE.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, DONE / f"{name}.ipynb")
    return None


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """The environment of a newcomer: an empty folder, the command on the path, nothing remembered."""
    (place / "here").mkdir()
    command = place / "bin" / "qframe"
    command.parent.mkdir()
    command.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    kept = dict(os.environ)
    for key in [key for key in os.environ if key.startswith("QFRAME_")]:
        del os.environ[key]
    os.environ |= {
        "PATH": os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), kept.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(place / "state"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "NO_COLOR": "1",
        "COLUMNS": "110",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= kept


def pages() -> tuple[dict[str, str], dict[str, bytes]]:
    """Path of each tutorial's page to its text, and of each picture and notebook to its bytes."""
    texts, files = {}, {}
    for name in names():
        path = DONE / f"{name}.ipynb"
        source = (SOURCES / f"{name}.md").read_text(encoding="utf-8")
        body = source.partition("\n---\n")[2].lstrip()
        if path.is_file():
            import nbformat

            notebook = nbformat.read(path, as_version=4)
            if notebook.metadata.get("source") == source:
                body, pictures = _shown(name, notebook)
                files |= pictures
                del notebook.metadata["source"]
                files[f"tutorials/{name}.ipynb"] = nbformat.writes(notebook).encode()
                command = f"python -m docs.generate.tutorials {name}"
                body += f"\n*All of it was printed by `{command}`; [the notebook]({name}.ipynb).*\n"
        texts[f"tutorials/{name}.md"] = body
    return texts, files


def _shown(name: str, notebook: Any) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures."""
    parts, pictures = [], {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        magic, _, rest = cell.source.partition("\n")
        parts.append(f"```bash\n{rest}\n```" if magic.startswith("%%bash") else f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stdout":
                text = re.sub(r"\x1b\[[0-9;]*m", "", output.text).rstrip()
                parts.append(f"```{{.text .output}}\n{text}\n```" if text.strip() else "")
            elif "image/png" in output.get("data", {}):
                path = f"{name}-{len(pictures) + 1}.png"
                pictures[f"tutorials/{path}"] = base64.b64decode(output.data["image/png"])
                parts.append(f"![What the lines above draw]({path})")
            elif "text/plain" in output.get("data", {}):
                parts.append(f"```{{.text .output}}\n{output.data['text/plain']}\n```")
    return "\n\n".join(part for part in parts if part) + "\n", pictures


if __name__ == "__main__":
    sys.exit(main())
