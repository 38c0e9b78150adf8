"""Make the pictures of the cockpit anew, of real sessions: ``python -m docs.generate.cockpit [FOLDER]``.

Needs Debian's chromium and fonts-liberation. With a folder every page is put there at both widths and in both themes,
to be looked at; without one the few that the documents show are made.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from docs.generate.gallery import IMAGES
from tests.cockpit.conftest import ARGS
from tests.cockpit.places import CHROMIUM, DESK, PHONE, Visitor, visitor
from tests.cockpit.scene import scene
from tests.service.places import Served

SHOWN = {
    ("overview", "light", "desk"): "cockpit-overview", ("session", "light", "desk"): "cockpit-session",
    ("session", "dark", "phone"): "cockpit-phone", ("portfolio", "dark", "desk"): "cockpit-portfolio",
    ("run", "light", "desk"): "cockpit-run", ("compare", "dark", "desk"): "cockpit-compare",
}  # fmt: skip
"""What the documents show, and what it is called there."""
SIZES = {"desk": DESK, "phone": PHONE}


def places(service: Served) -> dict[str, str]:
    """Addresses of all pages, by their names."""
    with service.client("read") as api:
        sessions = {one["name"]: one["id"] for one in api.get("/sessions").json()}
        run = api.get("/runs").json()[0]["id"]
        jobs = api.get("/jobs").json()
        fills = api.get(f"/sessions/{sessions['paper/ppo']}/fills", params={"limit": 1000}).json()
    at = int(fills[len(fills) // 2]["time_ns"]) // 10**9 - 3600  # the decision was made at the close before
    ended, live = sessions["paper/ppo"], sessions["supervised/carry-a"]
    of = ",".join(f"run:{run}:validation-{name}-0" for name in ("ppo", "buy_and_hold", "random"))
    return {
        "overview": "/", "session": f"/session/{ended}?at={at}", "live": f"/session/{live}",
        "portfolios": "/portfolios", "portfolio": "/portfolio/main", "research": "/research", "run": f"/run/{run}",
        "compare": f"/compare?of={of}",
        "jobs": "/jobs?kind=train&names=ppo", **({"job": f"/job/{jobs[0]['id']}"} if jobs else {}),
        "supervised": "/supervised", "alerts": "/alerts", "settings": "/settings",
    }  # fmt: skip


def told(page: Page, name: str) -> None:
    """Bring a page into the state in which it is shown."""
    page.get_by_text("asking…").first.wait_for(state="detached", timeout=60_000)
    if name == "session":
        page.locator("[data-features]").wait_for(timeout=200_000)
    page.wait_for_timeout(1500)


def pictures(
    browser: Browser, service: Served, wanted: set[tuple[str, str, str]] | None
) -> Iterator[tuple[str, bytes]]:
    """Pictures with the names that they are kept under."""
    addresses = places(service)
    for theme in ("light", "dark"):
        for size, box in SIZES.items():
            chosen = [n for n in addresses if wanted is None or (n, theme, size) in wanted]
            if not chosen:
                continue
            with visitor(browser, service, theme=theme, size=box) as one:
                for name in chosen:
                    page = fresh(one, addresses[name])
                    told(page, name)
                    label = f"{name}-{theme}-{size}" if wanted is None else SHOWN[name, theme, size]
                    yield label, page.screenshot(full_page=wanted is None)
                    page.close()


def fresh(one: Visitor, place: str) -> Page:
    """A page in a tab of its own."""
    return one.go(place, one.tab())


def main(argv: Sequence[str] | None = None) -> int:
    """Make them."""
    given = list(sys.argv[1:] if argv is None else argv)
    out, wanted = (Path(given[0]), None) if given else (IMAGES, set(SHOWN))
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        scene(Path(place), whole=True) as service,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGS, "--no-sandbox"])
        for name, picture in pictures(browser, service, wanted):
            (out / f"{name}.png").write_bytes(picture)
            print(out / f"{name}.png", flush=True)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
