"""The tutorials run from their first cell to their last: one of them for each commit, all of them by ``make long``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from docs.generate import tutorials
from tests.docs.documents import ROOT


def chosen() -> str:
    """The tutorial whose turn it is, by the commit's hash."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    names = tutorials.names()
    return names[int(done.stdout.strip() or "0", 16) % len(names)]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_one_of_them_runs() -> None:
    name = chosen()
    error = tutorials.run(name)
    assert error is None, f"{name}: {error}"


def test_what_they_printed_is_on_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A page has the outputs of a run of that very text, and none of another."""
    nbformat = pytest.importorskip("nbformat")
    place = tmp_path
    for name in ("SOURCES", "DONE"):
        monkeypatch.setattr(tutorials, name, place)
    source = "---\njupyter: {}\n---\n\n# One\n\n```python\nprint(1)\n```\n"
    (place / "1-one.md").write_text(source)
    texts, files = tutorials.pages()
    assert "print(1)" in texts["tutorials/1-one.md"] and not files
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(1)")], metadata={"source": source})
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="\x1b[1mone\x1b[0m\n")]
    nbformat.write(notebook, place / "1-one.ipynb")
    texts, files = tutorials.pages()
    assert "```{.text .output}\none\n```" in texts["tutorials/1-one.md"] and set(files) == {"tutorials/1-one.ipynb"}
    (place / "1-one.md").write_text(source.replace("print(1)", "print(2)"))
    texts, files = tutorials.pages()
    assert "print(2)" in texts["tutorials/1-one.md"] and not files
