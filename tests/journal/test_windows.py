"""Windows has none of POSIX's modules: all that reads works without them, and a live session says why not.

They are taken away in a process of its own, before anything is imported.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty"):
    sys.modules[name] = None
from pathlib import Path
import experiments.command, qframe_rl.feeds.download, qframe_rl.live.open, qframe_rl.live.paper
from qframe_rl.config import UserError
from qframe_rl.journal.store import Writer
try:
    Writer(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


def test_without_posix_all_is_imported_and_a_session_is_refused_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "journal.db")], capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("a live session needs flock, which Windows lacks; run it under Linux, macOS or WSL")
    assert not done.stderr
