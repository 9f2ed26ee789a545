"""Writes the documentation's screenshots to docs/images from the service of this clone: `make screenshots`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from recsys_project.stack.state import STATE_FILE, StackState

FOLDER = Path(__file__).resolve().parent
PAGES = {
    "explorer": ("/explore/?member_id=demo:ana", "#feed article"),
    "on-device": ("/explore/on-device/", "#posts .card"),
    "policy": ("/admin/recommendations/rankingpolicy/add/", ".policy-preview ol"),
    "admin": ("/admin/", "main"),
    "api": ("/api/docs/", ".opblock"),
    "graphql": ("/explore/graphql/", "#tree section"),
}
"""The name of each image, the page that it shows, and what the page contains once it has loaded."""
PRESSED = {"graphql": ("#run", "#response-time")}
"""By the name of an image: a button to press on its page, and what the page contains afterwards."""
SIZE = {"width": 1280, "height": 860}


def sign_in(page: Page, password: str) -> None:
    """Sign in as the clone's administrator."""
    page.goto("/admin/")
    page.fill("[name=login]", "admin")
    page.fill("[name=password]", password)
    with page.expect_navigation(wait_until="load"):
        page.get_by_role("button", name="Sign in").click()


def main() -> int:
    """Write the images; return 1 if the service does not run."""
    folder = Path(os.environ.get("VAR_DIR", "var"))
    if not (folder / STATE_FILE).exists():
        sys.stderr.write("Run `make run` first, and keep it running in another terminal.\n")
        return 1
    state = StackState.load(folder)
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(base_url=f"http://127.0.0.1:{state.web_port}", viewport=SIZE)
        page = context.new_page()
        sign_in(page, state.admin_password)
        for name, (path, content) in PAGES.items():
            page.goto(path)
            page.locator(content).first.wait_for()
            if name in PRESSED:
                button, result = PRESSED[name]
                page.locator(button).click()
                page.locator(result).first.wait_for()
            page.screenshot(path=FOLDER / "images" / f"{name}.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
