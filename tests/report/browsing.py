"""A page in the real browser."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog, Page


@contextmanager
def browser() -> Iterator[Browser]:
    """Start chromium; the test is skipped where there is none."""
    path = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if path is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the PATH")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only with a browser

    # Only root needs that, and only root may not have a sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(
    browser: Browser,
    path: Path,
    *,
    width: int = 1280,
    scheme: str = "light",
    fragment: str = "",
) -> Iterator[Page]:
    """Open a page that must neither complain nor ask the network for anything."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(120_000)  # a busy machine is no fault of the page
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        complaints.append(dialog.message)
        dialog.dismiss()

    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", answer)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri() + fragment)
    try:
        yield page
        assert complaints == []
        assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
        assert len([url for url in asked if url.startswith("file:")]) == 1
    finally:
        context.close()


def draw_all(page: Page) -> int:
    """Scroll through the page until every figure is drawn; return how many there are."""
    plots = page.locator("[data-figure]")
    for place in range(plots.count()):
        plots.nth(place).scroll_into_view_if_needed()
        plots.nth(place).locator("svg.main-svg").first.wait_for()
    return plots.count()
