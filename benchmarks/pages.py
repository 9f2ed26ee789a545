"""
Measure the pages in a browser: when they can be used, how much they load, and the ranking of a candidate pack.

    python -m benchmarks.pages [--quick] [--json FILE]

The service must run (`make run`). A page can be used once it shows its first post: the scripts have then attached what
its buttons do. The limit is a bare view, `/livez`, which is loaded in the same rounds. Each load begins with an empty
cache. A ranking is measured in the page, with 0 to 200 liked posts in the profile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from recsys_project.stack.state import STATE_FILE, StackState

PAGES = {
    "bare view": ("/livez", "body"),
    "explorer": ("/explore/?member_id=demo:ana", "#feed .card"),
    "ranking in the browser": ("/explore/on-device/", "#posts .card"),
}
"""The address of each page, and what it shows once it can be used."""
OBSERVE = """
new MutationObserver((_, observer) => {
    if (!document.querySelector("%s")) return;
    window.usableAt = performance.now();
    observer.disconnect();
}).observe(document, { childList: true, subtree: true });
"""
RANK = """async ([memberId, rounds]) => {
    const packs = await import("/static/recommendations/candidate-pack.js");
    const get = (path) => fetch(`/api/v1/${path}`);
    const file = await (await get(`members/${memberId}/candidate-pack`)).arrayBuffer();
    const pack = await packs.openPack(file, (await (await get("candidate-pack-keys")).json()).keys);
    const ranker = await packs.createRanker(pack);
    const times = {};
    for (const likes of [0, 1, 20, 200]) {
        let profile = packs.emptyProfile(pack);
        for (let i = 0; i < likes; i++) profile = packs.addPost(profile, pack, i % pack.posts.length);
        times[likes] = Array.from({ length: rounds }, () => {
            const started = performance.now();
            ranker.rank(profile);
            return performance.now() - started;
        });
    }
    return { bytes: file.byteLength, posts: pack.posts.length, times };
}"""


@contextmanager
def new_page(browser: Browser, url: str) -> Iterator[Page]:
    """Yield a page with an empty cache."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 860})
    yield context.new_page()
    context.close()


def measure_load(browser: Browser, url: str, path: str, content: str) -> tuple[float, int]:
    """Return the milliseconds until the page can be used, and the bytes of all responses, uncompressed."""
    with new_page(browser, url) as page:
        page.add_init_script(OBSERVE % content)
        page.goto(path)
        page.locator(content).first.wait_for(state="attached")
        page.wait_for_load_state("networkidle")
        sizes = "performance.getEntries().reduce((sum, entry) => sum + (entry.decodedBodySize ?? 0), 0)"
        return page.evaluate("window.usableAt"), page.evaluate(sizes)


def describe(values: list[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(values):8.1f} {min(values):8.1f} {max(values):8.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the pages in a browser.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    folder = Path(os.environ.get("VAR_DIR", "var"))
    if not (folder / STATE_FILE).exists():
        sys.stderr.write("Run `make run` first, and keep it running in another terminal.\n")
        return 1
    url = f"http://127.0.0.1:{StackState.load(folder).web_port}"
    loads: dict[str, list[float]] = {name: [] for name in PAGES}
    sizes: dict[str, int] = {}
    with sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(3 if options.quick else 9):
            for name, (path, content) in PAGES.items():
                milliseconds, sizes[name] = measure_load(browser, url, path, content)
                loads[name].append(milliseconds)
        with new_page(browser, url) as page:
            page.goto(PAGES["ranking in the browser"][0])
            ranking = page.evaluate(RANK, ["demo:ana", 50 if options.quick else 300])
        browser.close()
    print(f"load average {os.getloadavg()[0]:.1f}\n{'milliseconds':30}   median    least     most    bytes")
    for name, values in loads.items():
        print(f"{name:30} {describe(values)} {sizes[name]:8,}")
    print(f"ranking {ranking['posts']} posts, {ranking['bytes']:,} bytes")
    for likes, times in ranking["times"].items():
        print(f"{f'{likes} liked posts':30} {describe(times)}")
    if options.json:
        options.json.write_text(json.dumps({"loads": loads, "bytes": sizes, "ranking": ranking}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
