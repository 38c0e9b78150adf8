"""What is compiled while packages are still being installed needs none but those that the Makefile installs first."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import qframe_rl

_ROOT = Path(qframe_rl.__file__).resolve().parents[1]
_STEPS = """
import sys
from qframe_rl.gym.ahead import first_steps
first_steps()
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_first_steps_need_nothing_but_what_is_installed_first() -> None:
    line = next(line for line in (_ROOT / "Makefile").read_text().splitlines() if "$(PIP) 'gymnasium" in line)
    installed = _with_what_they_need(re.findall(r"[a-z]+", line.partition("(PIP)")[2].replace("<2", "")))
    done = subprocess.run([sys.executable, "-c", _STEPS], capture_output=True, text=True, check=True, cwd=_ROOT)
    homes = packages_distributions()
    needed = {_plain(home) for name in done.stdout.split() for home in homes.get(name, [])}
    # Numba and pydantic take these where they find them.
    assert needed - installed <= {
        "qframe-rl",
        "scipy",
        "pyyaml",
        "setuptools",
        "pip",
        "cffi",
        "pycparser",
        "charset-normalizer",
    }
    assert {"gymnasium", "numba", "numpy"} <= needed


def _with_what_they_need(names: list[str]) -> set[str]:
    found, left = set[str](), list(names)
    while left:
        name = _plain(left.pop())
        if name not in found:
            found.add(name)
            left += [re.split(r"[^\w.-]", line)[0] for line in requires(name) or [] if "extra ==" not in line]
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
