"""The page in a real browser: drawn whole, without a network, in light and dark, on a phone, and live."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.history import is_held
from tests.browser import Browser, Tab, browser
from tests.training.made_up_searches import MadeUpSearch, search_run
from tests.training.report.compressed_runs import FORMS, compressed_run
from training.report import write_report
from training.report.live import LivePage
from training.report.live_server import serving

UNDRAWN = """[...document.querySelectorAll("[data-chart]")]
    .filter((place) => !place.querySelector(".main-svg, canvas") || place.getBoundingClientRect().height < 100)
    .map((place) => place.dataset.chart)"""
COLUMN = """[...document.querySelectorAll("#trials tbody tr")].map((row) => row.cells[2].dataset.key)"""
CHART = "document.querySelector('[data-chart=objective]')"
COURSE_AT = "document.querySelector('#course').getBoundingClientRect().top"
DOTS = """window.kept.data.filter((trace) => trace.mode === "markers")
    .reduce((sum, trace) => sum + trace.x.length, 0)"""
AXES = "document.querySelectorAll('[data-chart=parallel] .parcoords .y-axis').length"
WIDE_CHARTS = """[...document.querySelectorAll(".chart .main-svg, .chart canvas")].filter((drawn) =>
    drawn.getBoundingClientRect().right > drawn.closest("figure").getBoundingClientRect().right + 1)"""
CUT_TILES = """[...document.querySelectorAll(".tile b")].filter((value) => value.scrollWidth > value.clientWidth)
    .map((value) => value.innerText)"""
COVERED_NAMES = """(() => {
    const names = [...document.querySelectorAll("[data-chart=variants] .annotation-text")];
    const boxes = names.map((name) => [name.textContent, name.getBoundingClientRect()]);
    const cover = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) => cover(a, b))
        .map(([other]) => one + " and " + other));
})()"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Tab:
    """One page for the tests that only look: a browser takes seconds to read plotly."""
    tab = chromium.tab()
    tab.resize(1200)
    tab.open(write_report(search_run(tmp_path_factory.mktemp("runs") / "adult", 60)).as_uri())
    return tab


def test_every_chart_is_drawn_without_errors_and_without_a_network(report: Tab) -> None:
    assert report.evaluate("document.querySelectorAll('[data-chart]').length") >= 14
    assert report.evaluate(UNDRAWN) == []
    # A plot with axes and no marks would count as drawn.
    assert report.evaluate("document.querySelectorAll('[data-chart=objective] .points path').length") >= 60
    assert report.evaluate(AXES) == 7
    assert report.errors == []
    assert [url for url in report.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len([url for url in report.requests if url.startswith("file:")]) == 1


def test_a_click_sorts_the_table_and_another_turns_it(report: Tab) -> None:
    report.evaluate("document.querySelector('#trials details').open = true")
    head = "document.querySelectorAll('#trials th')[2]"
    report.evaluate(f"{head}.querySelector('button').click()")
    rising = report.evaluate(COLUMN)
    numbers = [float(key) for key in rising if key]
    assert numbers == sorted(numbers)
    assert len(numbers) == 56
    assert rising[56:] == [""] * 4  # without a score: at the end
    assert report.evaluate(f"{head}.getAttribute('aria-sort')") == "ascending"
    report.evaluate(f"{head}.querySelector('button').click()")
    falling = report.evaluate(COLUMN)
    assert [float(key) for key in falling[:56]] == sorted(numbers, reverse=True)
    assert falling[56:] == [""] * 4


def test_a_dark_screen_gets_a_dark_page_and_dark_charts(report: Tab) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    behind = "getComputedStyle(document.querySelector('[data-chart=objective] .main-svg')).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        report.colours(scheme)
        report.wait_for(f"{behind} === getComputedStyle(document.querySelector('section')).backgroundColor")
        seen[scheme] = sum(int(part) for part in report.evaluate(paper)[4:-1].split(","))
    report.colours("light")
    assert seen["dark"] < 150  # of 765
    assert seen["light"] > 600
    assert report.errors == []


def test_a_phone_scrolls_the_tables_and_not_the_page(report: Tab) -> None:
    report.resize(390)
    assert report.evaluate(OVERFLOW) == 0
    boxes = "[...document.querySelectorAll('.scroll')]"
    assert report.evaluate(f"{boxes}.some((box) => box.scrollWidth > box.clientWidth + 50)")
    assert report.evaluate(f"{boxes}.every((box) => box.getBoundingClientRect().right <= innerWidth)")
    report.wait_for(f"{WIDE_CHARTS}.length === 0")
    assert report.evaluate(UNDRAWN) == []
    assert report.evaluate(CUT_TILES) == []
    report.resize(1200)
    report.wait_for(f"{WIDE_CHARTS}.length === 0")
    assert report.evaluate(CUT_TILES) == []
    assert report.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize("width", [1200, 390])
def test_names_of_variants_do_not_cover_each_other(chromium: Browser, width: int, tmp_path: Path) -> None:
    tab = chromium.tab()
    tab.resize(width)
    tab.open(write_report(compressed_run(tmp_path / "adult")).as_uri())
    named = "document.querySelectorAll('[data-chart=variants] .annotation-text').length"
    assert tab.evaluate(named) >= len(FORMS)  # and what is allowed
    assert tab.evaluate(COVERED_NAMES) == []
    assert tab.evaluate(UNDRAWN) == []
    assert tab.evaluate(OVERFLOW) == 0
    assert tab.errors == []


@pytest.mark.slow
def test_a_watched_page_changes_in_place(chromium: Browser, tmp_path: Path) -> None:
    run = MadeUpSearch(tmp_path / "adult", 40)
    run.search()
    run.make(10)
    run.study()
    run.live()
    page = LivePage("adult", lambda: run.folder, is_held)
    page.look()
    tab = chromium.tab()
    tab.resize(1000, 600)
    with serving(page, 0) as url:
        tab.open(url)
        tab.wait_for("document.querySelector('#live').dataset.kind === 'running'")
        assert "10 of 40 trials have ended" in tab.evaluate("document.querySelector('#search').innerText")
        tab.evaluate("document.querySelectorAll('#trials th')[2].querySelector('button').click()")
        tab.evaluate(f"window.kept = {CHART}; document.querySelector('#course').scrollIntoView(); 1")
        seen_at = tab.evaluate(COURSE_AT)
        run.make(3)
        run.live()
        page.look()
        tab.wait_for("document.querySelector('#search').innerText.includes('13 of 40 trials have ended')")
        assert tab.evaluate(f"window.kept === {CHART}")  # no reload, no new node
        assert tab.evaluate(DOTS) == 13
        now_at = tab.evaluate(COURSE_AT)
        assert abs(now_at - seen_at) < 2  # what a person looks at stays where it is, whatever grew above it
        column = [float(key) for key in tab.evaluate(COLUMN) if key]
        assert column == sorted(column)  # as the person sorted it
        assert len(column) >= 11
        assert tab.evaluate(AXES) == 7  # WebGL, which a page's policy can forbid
        run.searched()
        run.event("finished", seconds=9.0)
        page.look()
        tab.wait_for("document.querySelector('#live').innerText.startsWith('the run has ended: finished')")
        assert tab.evaluate(UNDRAWN) == []
        assert "in training" not in tab.evaluate("document.querySelector('#search').innerText")
        assert [asked for asked in tab.requests if not asked.startswith((url, "data:", "blob:"))] == []
    tab.wait_for("document.querySelector('#live').dataset.kind === 'lost'")
    assert [error for error in tab.errors if "ERR_CONNECTION_REFUSED" not in error] == []
