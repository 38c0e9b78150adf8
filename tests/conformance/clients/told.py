"""What a client's script tells the command that runs it: one line of JSON for each call."""

import asyncio
import json
import os
import traceback

URL, KEY, SECRET = (os.environ[name] for name in ("URL", "KEY", "SECRET"))
SOCKETS = URL.replace("http", "ws", 1)
SPOT, LINEAR = "GBMUSDT", "SYN0USDT"


def tell(call, error=None):
    """Say that a call worked, or why not."""
    print(json.dumps({"call": call, "ok": error is None, "why": error or ""}), flush=True)


def tried(call, act):
    """Make a call and say what came of it; return its answer."""
    try:
        answer = act()
        assert answer, f"an empty answer: {answer!r}"
    except Exception as error:  # whatever a client raises is what is told
        tell(call, f"{type(error).__name__}: {str(error)[:200]} {traceback.format_exc().splitlines()[-3].strip()}")
        return None
    tell(call)
    return answer


async def awaited(call, act, seconds=20.0):
    """The same of a coroutine."""
    try:
        answer = await asyncio.wait_for(act, seconds)
        assert answer, f"an empty answer: {answer!r}"
    except Exception as error:  # whatever a client raises is what is told
        tell(call, f"{type(error).__name__}: {str(error)[:200]} {traceback.format_exc().splitlines()[-3].strip()}")
        return None
    tell(call)
    return answer
