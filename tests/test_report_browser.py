"""The report in a real browser: nothing fails, nothing is fetched, everything works."""

import os
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from mtlearn import MultiTaskAdditiveRegressor, PerTaskRegressor
from mtlearn.inspection import compare_sharing
from mtlearn.report import make_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
N_TASKS = 65
ON_PAPER = 12  # on paper


def schools():
    """Rows of 65 tasks of unequal sizes; one is quite different."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(N_TASKS), rng.integers(12, 40, N_TASKS))
    X = pd.DataFrame(rng.normal(size=(len(task), 3)), columns=["intake", "age", "sex"])
    X["school"] = np.array([f"School {t:02d} of <b>Town</b>" for t in range(65)])[task]
    slope = np.where(task == 7, -2.0, 1.0)
    level = 0.5 * rng.normal(size=N_TASKS)[task]
    y = slope * X["intake"] + np.sin(2 * X["age"]) + level + rng.normal(size=len(task))
    return X, y.rename("exam")


@pytest.fixture(scope="module")
def report():
    X, y = schools()
    place = X["school"].str[7:9].astype(float)
    X = X.assign(place=place**2, week=np.arange(len(X)))
    model = MultiTaskAdditiveRegressor(
        task_column="school", own_curves=False, interactions=False
    )
    plain = PerTaskRegressor(task_column="school")
    return make_report(
        model.fit(X, y),
        X,
        y,
        comparison=compare_sharing(plain, X, y, strategies=["pooled_offset"], cv=3),
        reading=[
            "schools.csv: 65 schools.",
            "Left out: name (as many values as rows).",
        ],
    )


@pytest.fixture(scope="module")
def browser():
    """A Chromium that is installed; its own are not downloaded."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not there")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with api.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox"] if as_root else []
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def path(report, tmp_path_factory):
    return report.save(tmp_path_factory.mktemp("report") / "report.html")


@contextmanager
def opened(browser, path, width=1280, **options):
    """The page, in which nothing may be said to the console and nothing fetched."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page, told, asked = context.new_page(), [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    try:
        yield page
    finally:
        context.close()
    assert told == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]


def column(page, place):
    """Texts of the visible rows of a column."""
    return page.evaluate(
        """(place) => [...document.querySelectorAll("#table tbody tr")]
          .filter((row) => row.checkVisibility())
          .map((row) => row.cells[place - 1].textContent)""",
        place,
    )


def numbers(texts):
    return [float(text.replace("\u2212", "-").replace(",", "")) for text in texts]


def test_sorting_by_mouse_and_keyboard(browser, path):
    with opened(browser, path) as page:
        head = page.locator("#table thead th")
        assert head.all_text_contents()[:2] == ["task", "rows"]
        gains = head.all_text_contents().index("gain")
        assert head.nth(gains).get_attribute("aria-sort") == "descending"
        before = numbers(column(page, gains + 1))
        assert before == sorted(before, reverse=True) and len(before) == N_TASKS

        head.nth(1).get_by_role("button").click()
        sizes = numbers(column(page, 2))
        assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 5
        assert head.nth(1).get_attribute("aria-sort") == "descending"
        assert head.nth(gains).get_attribute("aria-sort") is None

        head.nth(0).get_by_role("button").focus()
        page.keyboard.press("Enter")
        names = column(page, 1)
        assert names == sorted(names)
        assert head.nth(0).get_attribute("aria-sort") == "ascending"
        page.keyboard.press("Space")
        assert column(page, 1) == names[::-1]

        page.locator("#table thead th").nth(gains).get_by_role("button").click()
        page.keyboard.press("Enter")
        after = numbers(column(page, gains + 1))
        assert after == sorted(after) and sorted(after) == sorted(before)


def test_search(browser, path):
    with opened(browser, path) as page:
        page.get_by_label("Search").click()
        page.keyboard.type("school 07 <B>")
        assert column(page, 1) == ["School 07 of <b>Town</b>"]
        assert page.get_by_role("status").text_content() == "1 of 65 tasks"
        page.get_by_label("Search").fill("nowhere")
        assert column(page, 1) == []
        assert page.get_by_role("status").text_content() == "0 of 65 tasks"
        page.get_by_label("Search").fill("")
        assert len(column(page, 1)) == N_TASKS
        assert page.get_by_role("status").text_content() == "65 tasks"


def test_everything_can_be_reached_by_the_keyboard(browser, path):
    with opened(browser, path) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        box = page.locator(".skip").bounding_box()
        assert box["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "verdict"
        seen = []
        for _ in range(20):
            page.keyboard.press("Tab")
            # with a line around it
            seen.append(
                page.evaluate(
                    "[document.activeElement.tagName, "
                    "getComputedStyle(document.activeElement).outlineStyle]"
                )
            )
        assert {"INPUT", "BUTTON", "SUMMARY", "DIV"} <= {tag for tag, _ in seen}
        assert all(style != "none" for tag, style in seen if tag != "BODY")


def colours(page):
    return page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, "
        "getComputedStyle(document.body).color]"
    )


def luminance(colour):
    """Relative luminance, as the accessibility guidelines count it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(browser, path, scheme):
    with opened(browser, path, color_scheme=scheme) as page:
        ground, ink = map(luminance, colours(page))
        assert (ground < ink) == (scheme == "dark")
        # every text that is seen stands out from the ground, as level AA asks
        told = page.evaluate(
            """() => [...document.querySelectorAll("body *")]
              .filter((e) => [...e.childNodes].some(
                (n) => n.nodeType === 3 && n.data.trim()) && e.checkVisibility()
                && !["SCRIPT", "STYLE"].includes(e.tagName))
              .map((e) => [e.tagName, e instanceof SVGElement
                ? getComputedStyle(e).fill : getComputedStyle(e).color])"""
        )
        assert len(told) > 300
        for tag, colour in {tuple(one) for one in told}:
            low, high = sorted([ground, luminance(colour)])
            assert (high + 0.05) / (low + 0.05) > 4.5, (tag, colour)
        button = page.get_by_role("button", name="Dark", exact=True)
        assert button.get_attribute("aria-pressed") == str(scheme == "dark").lower()
        button.click()
        ground, ink = map(luminance, colours(page))
        assert (ground < ink) == (scheme == "light")
        assert button.get_attribute("aria-pressed") == str(scheme == "light").lower()


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out(browser, path, width):
    with opened(browser, path, width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for picture in page.locator("svg.picture").all():
            box = picture.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
        # names at the left of a picture begin inside it
        for name in page.locator("svg.picture text.name").all()[:40:5]:
            inner = name.bounding_box()
            outer = name.locator("xpath=ancestor::*[name()='svg']").bounding_box()
            assert inner["x"] >= outer["x"] - 1


def test_two_pages_on_paper(browser, path):
    with opened(browser, path, color_scheme="dark") as page:
        page.get_by_label("Search").fill("School 0")
        page.get_by_label("Search").fill("")
        pdf = page.pdf(prefer_css_page_size=True)
        assert pdf.startswith(b"%PDF")
        assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 2
        page.emulate_media(media="print")
        ground, ink = map(luminance, colours(page))
        assert ground > ink
        assert len(column(page, 1)) == ON_PAPER
        told = page.locator(".paper").text_content()
        assert told.startswith(f"On paper: {ON_PAPER} of 65 tasks")
        assert not page.get_by_label("Search").is_visible()


def test_without_scripts_it_is_all_there(browser, path):
    with opened(browser, path, java_script_enabled=False) as page:
        assert len(column(page, 1)) == N_TASKS
        assert not page.locator("#search").is_visible()
        assert not page.locator("#theme").is_visible()
        assert page.locator("#table thead button").count() == 0


def test_in_a_notebook_styles_stay_inside(browser, report, tmp_path):
    path = tmp_path / "notebook.html"
    cell = report._repr_html_()
    path.write_text(f"<title>n</title><h1>Mine</h1>{cell}", encoding="utf-8")
    with browser.new_context() as context:
        page, told = context.new_page(), []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(path.as_uri())
        frame = page.frame_locator("iframe")
        frame.locator("#table thead button").first.click()
        frame.get_by_role("button", name="Dark", exact=True).click()
        assert frame.locator("#table tbody tr").count() == N_TASKS
        size = "getComputedStyle(document.querySelector('h1')).fontSize"
        assert page.evaluate(size) == "32px"  # the browser's own
        assert told == []
