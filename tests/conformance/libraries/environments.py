"""Environments of Python in which other libraries run: ``python -m tests.conformance.libraries.environments``.

They lie in ``.venv-conformance``. Libraries that can share one do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).parents[3]
PLACE = HOME / ".venv-conformance"
DRAWING = ("moviepy", "pygame")
COMMON = ("torch>=2.6,<2.14",)
ENVIRONMENTS = {
    "lowest": ("gymnasium==1.2.0", *DRAWING, "array-api-compat"),
    "latest": (
        "gymnasium==1.4.0", *DRAWING, "array-api-compat", "stable-baselines3", "sb3-contrib", "torchrl",
        "tianshou[eval]>=2", "minari[create]",
        "pettingzoo>=1.27,<2",
    ),
    "rllib": ("ray[rllib]>=2.60", "pytest"),
    "agilerl": ("agilerl", "peft"),
}  # fmt: skip
"""What each holds beside what this project needs. RLlib wants one version of Gymnasium, AgileRL one of
TensorDict, and imports peft without asking for it."""


def python(name: str) -> Path:
    """The interpreter of an environment, which is made first where it lacks."""
    place = PLACE / name
    found, done = place / "bin" / "python", place / ".done"
    asked = "\n".join((*COMMON, *ENVIRONMENTS[name]))
    if not done.exists() or done.read_text(encoding="utf-8") != asked:
        print(f"making {place.relative_to(HOME)} (some minutes)", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        _run([str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])
        install = [str(found), "-m", "uv", "pip", "install", "--quiet", "--python", str(found)]
        _run([*install, "--editable", str(HOME), *COMMON, *ENVIRONMENTS[name]])
        done.write_text(asked, encoding="utf-8")
    return found


def _run(argv: list[str]) -> None:
    subprocess.run(argv, cwd=HOME, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    for each in sys.argv[1:] or ENVIRONMENTS:
        print(python(each).relative_to(HOME))
