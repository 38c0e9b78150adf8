"""The door that serves the documents."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from experiments import docs
from qframe_rl.config import UserError

ROOT = Path(docs.__file__).resolve().parents[1]
BEGIN = "import sys; from pathlib import Path; from experiments import docs; docs.SITE = Path(sys.argv.pop(1)); "
BEGIN += "sys.exit(docs.door(docs.main))"


def test_documents_that_were_not_built_are_said_with_the_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "SITE", tmp_path / "checkout" / "experiments" / "site")
    assert docs.door(docs.main, ["--no-browser"]) == 2
    assert capsys.readouterr().err.endswith("install a wheel that `make wheel` made, or read docs/ in the sources.\n")
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "mkdocs.yml").touch()
    with pytest.raises(UserError, match="`make docs` builds them"):
        docs.main(["--no-browser"])


def test_a_port_that_is_taken_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").touch()
    monkeypatch.setattr(docs, "SITE", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="give another --port"):
        docs.main(["--no-browser", "--port", str(taken.getsockname()[1])])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_they_are_served_until_ctrl_c(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    command = [sys.executable, "-c", BEGIN, str(tmp_path), "--no-browser", "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as running:
        assert running.stderr is not None
        first = running.stderr.readline()
        (url,) = re.findall(r"http://127\.0\.0\.1:\d+/", first)
        with urllib.request.urlopen(url) as page:
            assert page.read() == b"hello"
        # A client that says nothing keeps nobody from ending it.
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.1)
            running.send_signal(number)
            out, err = running.communicate(timeout=20)
    assert running.returncode == 0 and err == "no longer served.\n"
    assert json.loads(out) == {"url": url, "site": str(tmp_path)}
