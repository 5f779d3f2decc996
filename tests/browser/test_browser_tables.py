"""What a reader does with the tables: sort, filter, search, hide columns, share the link."""

from __future__ import annotations

import re
import shutil

import pytest
from playwright.sync_api import expect

BOARD = "benchmark/coco.html"
VISIBLE = "rows => rows.filter(row => row.offsetParent !== null)"


def embedded(page):
    """Return the embedded section's table."""
    return page.locator('.kind[data-kind="embedded"] table').first


def titles(table) -> list[str]:
    """Return the names of the rows that are seen, in order."""
    return table.locator("tbody > .row:visible > th > a:first-child").all_text_contents()


def column(table, name: str) -> list[float]:
    """Return the values of a column in the order of the rows that are seen."""
    return table.evaluate(
        """(table, name) => {
            const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
            const index = heads.findIndex((head) => head.dataset.column === name);
            return [...table.querySelectorAll("tbody > .row")].filter((row) => !row.hidden)
                .map((row) => Number(row.cells[index].dataset.value));
        }""",
        name,
    )


def head(table, name: str):
    return table.locator(f'th[data-column="{name}"]')


def shown_rows(page) -> list[dict]:
    """Return the facets of every row that is seen."""
    return page.eval_on_selector_all(
        "tbody > .row, tbody > .unscored",
        f"all => ({VISIBLE})(all).map(row => ({{...row.dataset, text: row.textContent}}))",
    )


def test_a_column_sorts_by_value_with_the_keyboard_alone(visit):
    page = visit(BOARD)
    table = embedded(page)
    before = column(table, "AR")
    button = head(table, "AR").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert column(table, "AR") == sorted(before, reverse=True)
    assert head(table, "AR").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert column(table, "AR") == sorted(before)
    assert head(table, "AR").get_attribute("aria-sort") == "ascending"
    assert table.locator("[aria-sort]").count() == 1
    head(table, "params_m").get_by_role("button").click()  # a cost: the smallest first
    assert head(table, "params_m").get_attribute("aria-sort") == "ascending"


def test_rows_without_a_value_come_last_whichever_way(visit):
    page = visit(BOARD)
    table = page.locator("table.published").first
    for _ in range(2):
        head(table, "params_m").get_by_role("button").click()
        bodies = table.evaluate(
            "t => [...t.tBodies].map(b => [...b.querySelectorAll('.row')].map("
            "r => r.querySelectorAll('td.number')[0].dataset.value ?? null))"
        )
        for values in bodies:
            given = [value is not None for value in values]
            assert given == sorted(given, reverse=True)


@pytest.mark.parametrize(
    ("facet", "value"), [("family", "top-down"), ("backbone", "ResNet-50"), ("size", "384x288")]
)
def test_a_filter_leaves_the_rows_that_have_the_value(visit, facet, value):
    page = visit(BOARD)
    every = shown_rows(page)
    page.select_option(f'#tools [name="{facet}"]', value)
    wanted = [row for row in every if row.get(facet) == value]
    assert 0 < len(wanted) < len(every)
    assert shown_rows(page) == wanted
    assert page.locator("#tools output").inner_text() == f"{len(wanted)} of {len(every)} rows"


def test_years_filter_from_and_to(visit):
    page = visit(BOARD)
    every = shown_rows(page)
    page.select_option('[name="since"]', "2018")
    page.select_option('[name="until"]', "2018")
    wanted = [row for row in every if row.get("year") == "2018"]
    assert wanted
    assert shown_rows(page) == wanted


def test_a_search_finds_all_words_anywhere_in_a_row(visit):
    page = visit(BOARD)
    every = len(shown_rows(page))
    page.keyboard.press("/")
    page.keyboard.type("HRNET w48")
    found = shown_rows(page)
    assert 0 < len(found) < every
    assert all("hrnet" in row["text"].lower() and "w48" in row["text"].lower() for row in found)
    assert any("skipped" in row["text"] for row in found)
    page.fill('[name="q"]', "no such method")
    assert shown_rows(page) == []
    assert page.locator("#tools output").inner_text() == f"0 of {every} rows"
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("document.querySelector('#tools output').value.startsWith('1')")
    assert len(shown_rows(page)) == every


def test_kinds_of_data_are_switched_off_and_on(visit):
    page = visit(BOARD)
    box = page.get_by_role("checkbox", name="published")
    box.uncheck()
    assert page.locator("table.published:visible").count() == 0
    assert page.locator("table.embedded:visible").count() == 1
    assert page.locator("table.measured:visible").count() > 1
    box.check()
    assert page.locator("table.published:visible").count() > 1


def test_hidden_columns_go_with_their_cells_and_the_rest_still_lines_up(visit):
    page = visit(BOARD)
    table = embedded(page)
    page.locator(".menu summary").click()
    for label in ("AP50", "MACs", "AR"):
        page.locator(".columns-menu").get_by_label(label, exact=True).uncheck()
    for name in ("AP50", "macs_g", "AR"):
        assert page.locator(f'th[data-column="{name}"]:visible').count() == 0
    widths = table.evaluate(
        """table => [...table.rows].map(row => [...row.cells].filter(c => c.offsetParent)
            .reduce((sum, cell) => sum + cell.colSpan, 0))"""
    )
    assert len(set(widths)) == 1
    left = table.evaluate(
        """table => ['AP', 'AP75'].map(name => {
            const head = table.querySelector(`[data-column="${name}"]`);
            const index = [...head.parentElement.cells].indexOf(head);
            const cell = table.querySelector('.row').cells[index];
            const [above, below] = [head, cell].map(one => one.getBoundingClientRect().right);
            return Math.abs(above - below);
        })"""
    )
    assert max(left) < 1


def test_a_link_shows_another_reader_the_same(visit):
    page = visit(BOARD)
    page.fill('[name="q"]', "nano")
    page.select_option('[name="family"]', "top-down")
    page.get_by_role("checkbox", name="published").uncheck()
    page.locator(".menu summary").click()
    page.locator(".columns-menu").get_by_label("AP75", exact=True).uncheck()
    head(embedded(page), "AR").get_by_role("button").click()
    state = page.evaluate("location.hash")
    seen = titles(embedded(page))
    assert len(seen) > 1
    other = visit(BOARD + state)
    assert titles(embedded(other)) == seen
    assert head(embedded(other), "AR").get_attribute("aria-sort") == "descending"
    assert other.locator('th[data-column="AP75"]:visible').count() == 0
    assert other.locator("table.published:visible").count() == 0
    assert other.input_value('[name="q"]') == "nano"
    assert shown_rows(other) == shown_rows(page)


def test_a_link_to_a_table_goes_there_and_stays_good_with_filters(visit):
    page = visit(BOARD)
    name = page.locator("table.published").nth(1).evaluate("t => t.closest('section').id")
    there = visit(f"{BOARD}#{name}")
    assert abs(there.locator(f"#{name}").bounding_box()["y"]) < 900
    assert there.evaluate("scrollY") > 100
    there.fill('[name="q"]', "hrnet")
    assert f"at={name}" in there.evaluate("location.hash")


@pytest.mark.parametrize(
    "state", ["#sort=x:y:z&hide=nothing&family=none&without=all", "#=&=&%E0%A4%A=1", "#a=%00<b>"]
)
def test_a_broken_link_shows_the_page(visit, state):
    page = visit(BOARD + state)
    assert page.locator("#tools").is_visible()
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function("!location.hash")
    assert len(shown_rows(page)) > 100


def test_a_result_that_failed_stays_below_the_others_when_sorted(visit):
    page = visit(BOARD)
    table = page.locator("table.measured", has=page.locator(".unscored")).first
    head(table, "AP").get_by_role("button").click()
    kinds = table.evaluate("t => [...t.tBodies[0].rows].map(row => row.className)")
    assert kinds == sorted(kinds)
    assert "unscored" in kinds


def test_of_a_long_table_the_first_rows_of_any_order_are_shown_until_all_are_asked_for(
    visit, site, tmp_path
):
    long_site = tmp_path / "long"
    shutil.copytree(site, long_site)
    text = (long_site / BOARD).read_text(encoding="utf-8")
    at = text.index('data-kind="embedded"')
    start = text.index('<tr class="row"', at)
    end = text.index("</tr>", start) + len("</tr>")
    row = re.sub(r'data-value="[^"]*"', 'data-value="{}"', text[start:end])
    rows = "".join(row.replace("{}", str((i * 7) % 450)) for i in range(450))
    (long_site / BOARD).write_text(text[:start] + rows + text[end:], encoding="utf-8")
    page = visit(BOARD, folder=long_site)
    table = embedded(page)
    shown = table.locator("tbody > .row")
    expect(shown).to_have_count(200)
    # The rows that fill a screen are there before anything else happens, the rest at once after.
    first = (
        head(table, "AR")
        .get_by_role("button")
        .evaluate(
            "button => { button.click(); return button.closest('table').tBodies[0].rows.length }"
        )
    )
    assert first == 20
    expect(shown).to_have_count(200)
    assert column(table, "AR") == [float(449 - i) for i in range(200)]
    every = int(re.search(r"of (\d+) rows", page.locator("#tools output").inner_text())[1])
    more = page.get_by_role("button", name="Show all", exact=False)
    wanted = int(re.search(r"\d+", more.inner_text())[0])
    assert 450 <= wanted <= every
    more.click()
    expect(shown).to_have_count(wanted)
    expect(table).to_have_attribute("aria-busy", "false")
    assert more.count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.count() == wanted
