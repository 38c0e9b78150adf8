"""Tests, and the commands in this folder, count their trials in a ledger of their own: the user's is never written."""

import os
import tempfile

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="qframe-rl-tests-")
