// Sorting, filtering and choosing columns of tables. Without scripts every page shows everything.
//
// The state is in the address behind "#", where it also works from file:// :
//   q, family, backbone, size, since, until   one value each
//   without   a kind of data that is not shown, repeated
//   hide      a column that is not shown, repeated
//   sort      table:column:order, repeated; a table is named by its section's id
//   at        the section to go to
"use strict";

(() => {
  const FACETS = ["family", "backbone", "size"];
  const SHOWN = 200; // rows of a table, until all are asked for: laying out more takes seconds
  const AT_ONCE = 20; // rows of a long page that are there in the next frame; the others follow

  // ---- rows that are still to be put into their tables ------------------------------------------

  const waiting = new Map(); // by table, in the order of the page: pairs of table body and row
  let rest = 0;

  // On a long page what fills a screen is there at once, so that it answers like a short one.
  function layOut(atOnce = boards.reduce((sum, { size }) => sum + size, 0) > SHOWN ? AT_ONCE : Infinity) {
    cancelAnimationFrame(rest);
    let room = atOnce;
    for (const [board, due] of waiting) {
      for (const [body, row] of due.slice(0, room)) body.append(row);
      const left = due.slice(room);
      room -= due.length - left.length;
      board.table.ariaBusy = left.length > 0;
      if (left.length) waiting.set(board, left); else waiting.delete(board);
    }
    if (waiting.size) rest = requestAnimationFrame(() => setTimeout(() => layOut(4 * AT_ONCE)));
  }

  // ---- one table -------------------------------------------------------------------------------

  class Board {
    constructor(table) {
      this.table = table;
      this.id = table.closest("section[id]")?.id ?? "";
      this.heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
      this.bodies = [...table.tBodies].map((body) => {
        const rows = [...body.querySelectorAll(":scope > .row")];
        const unscored = [...body.querySelectorAll(":scope > .unscored")];
        const source = body.querySelector(":scope > .source");
        return { body, source, printed: rows, rows, unscored };
      });
      this.sorted = null;
      this.texts = new Map();
      this.wanted = () => true;
      this.shown = SHOWN;
      this.more = document.createElement("button");
      this.more.type = "button";
      this.more.className = "more";
      this.more.addEventListener("click", () => {
        this.showAll();
        layOut();
      });
      table.after(this.more);
      this.filter(this.wanted);
    }

    get size() {
      return this.bodies.reduce((sum, { rows, unscored }) => sum + rows.length + unscored.length, 0);
    }

    makeSortable(changed) {
      for (const [index, head] of this.heads.entries()) {
        if (!head.dataset.sort) continue;
        const button = document.createElement("button");
        button.type = "button";
        button.append(...head.childNodes);
        head.append(button);
        button.addEventListener("click", () => {
          const first = head.dataset.sort === "high" ? "descending" : "ascending";
          const second = first === "ascending" ? "descending" : "ascending";
          this.sort(index, head.getAttribute("aria-sort") === first ? second : first);
          layOut();
          changed();
        });
      }
    }

    // Numbers by value and missing ones last; texts as a reader expects. Ties keep their order.
    sort(index, order) {
      const type = this.heads[index].dataset.sort;
      const sign = order === "ascending" ? 1 : -1;
      const key = type === "text"
        ? (row) => row.cells[index].textContent.trim()
        : (row) => Number(row.cells[index].dataset.value ?? NaN);
      const collator = new Intl.Collator(undefined, { numeric: true });
      const compare = type === "text"
        ? (a, b) => sign * collator.compare(a[0], b[0])
        : (a, b) => (isNaN(a[0]) || isNaN(b[0])) ? isNaN(a[0]) - isNaN(b[0]) : sign * (a[0] - b[0]);
      for (const part of this.bodies) {
        const keyed = part.printed.map((row) => [key(row), row]).sort(compare);
        part.rows = keyed.map(([, row]) => row);
      }
      for (const head of this.heads) head.removeAttribute("aria-sort");
      this.heads[index].setAttribute("aria-sort", order);
      this.sorted = { column: this.columnName(index), order };
      this.filter(this.wanted);
    }

    unsort() {
      if (!this.sorted) return;
      for (const part of this.bodies) part.rows = part.printed;
      for (const head of this.heads) head.removeAttribute("aria-sort");
      this.sorted = null;
      this.filter(this.wanted);
    }

    showAll() {
      this.shown = Infinity;
      this.filter(this.wanted);
    }

    columnName(index) {
      return this.heads[index].dataset.column ?? "method";
    }

    sortBy(column, order) {
      const index = this.heads.findIndex((head, i) => head.dataset.sort && this.columnName(i) === column);
      if (index >= 0 && (order === "ascending" || order === "descending")) this.sort(index, order);
    }

    text(row, part) {
      if (!this.texts.has(row)) {
        const facts = [row.cells[0].textContent, ...Object.values(row.dataset), part.source?.textContent];
        this.texts.set(row, facts.join(" ").toLowerCase());
      }
      return this.texts.get(row);
    }

    // Chooses the first rows that `wanted` accepts, which layOut() puts into the table; returns how
    // many it accepts, and how many there are.
    filter(wanted) {
      this.wanted = wanted;
      let found = 0, all = 0;
      const due = [];
      for (const part of this.bodies) {
        const rows = [...part.rows, ...part.unscored];
        const accepted = rows.filter((row) => wanted(row, this, part));
        const shown = accepted.slice(0, Math.max(0, this.shown - found));
        part.body.replaceChildren(...(part.source ? [part.source] : []));
        part.body.hidden = shown.length === 0 && rows.length > 0;
        due.push(...shown.map((row) => [part.body, row]));
        found += accepted.length;
        all += rows.length;
      }
      this.more.hidden = found <= this.shown;
      this.more.textContent = `Show all ${found} rows`;
      waiting.delete(this);
      waiting.set(this, due);
      return [found, all];
    }

    // A rule per hidden column; the headers above shrink with them.
    hide(columns, number) {
      const name = `t${number}`;
      this.table.dataset.table = name;
      const rules = [];
      const gone = this.heads.map((head) => columns.has(head.dataset.column));
      for (const [index, hidden] of gone.entries()) {
        if (!hidden) continue;
        rules.push(`[data-table="${name}"] .row > :nth-child(${index + 1}),`
          + `[data-table="${name}"] thead tr:last-child > :nth-child(${index + 1}) { display: none; }`);
      }
      const groups = this.table.tHead.querySelector(".groups");
      let at = 0;
      for (const cell of groups?.cells ?? []) {
        cell.dataset.span ??= cell.colSpan;
        const span = Number(cell.dataset.span);
        const left = gone.slice(at, at + span).filter((hidden) => !hidden).length;
        cell.hidden = left === 0;
        cell.colSpan = Math.max(left, 1);
        at += span;
      }
      const width = gone.filter((hidden) => !hidden).length;
      for (const { source, unscored } of this.bodies) {
        if (source) source.cells[0].colSpan = width;
        for (const row of unscored) row.cells[1].colSpan = Math.max(width - 1, 1);
      }
      return rules.join("\n");
    }
  }

  // ---- the page --------------------------------------------------------------------------------

  function page(boards) {
    const form = document.getElementById("tools");
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    const columns = columnChoices(form.querySelector(".columns-menu"), boards);
    const fields = form.elements;
    const kinds = [...form.querySelectorAll('[name="kind"]')];
    let at = "";

    function apply() {
      const words = fields.q.value.toLowerCase().split(/\s+/).filter(Boolean);
      const facets = FACETS.filter((name) => fields[name]?.value).map((name) => [name, fields[name].value]);
      const since = Number(fields.since?.value || -Infinity), until = Number(fields.until?.value || Infinity);
      const dated = isFinite(since) || isFinite(until);
      const wanted = (row, board, part) =>
        facets.every(([name, value]) => row.dataset[name] === value)
        && (!dated || (row.dataset.year >= since && row.dataset.year <= until))
        && words.every((word) => board.text(row, part).includes(word));
      for (const box of kinds) {
        document.querySelector(`.kind[data-kind="${box.value}"]`).hidden = !box.checked;
      }
      let shown = 0, all = 0;
      for (const board of boards) {
        const [some, every] = board.filter(wanted);
        const visible = !board.table.closest(".kind").hidden;
        shown += visible ? some : 0;
        all += every;
      }
      layOut();
      fields.count.value = `${shown} of ${all} rows`;
    }

    function showColumns() {
      const hidden = new Set(columns.filter((box) => !box.checked).map((box) => box.value));
      sheet.replaceSync(boards.map((board, number) => board.hide(hidden, number)).join("\n"));
    }

    function remember() {
      const state = new URLSearchParams();
      for (const name of ["q", ...FACETS, "since", "until"]) {
        if (fields[name]?.value) state.append(name, fields[name].value);
      }
      for (const box of kinds) if (!box.checked) state.append("without", box.value);
      for (const box of columns) if (!box.checked) state.append("hide", box.value);
      for (const board of boards) {
        if (board.sorted) state.append("sort", `${board.id}:${board.sorted.column}:${board.sorted.order}`);
      }
      if (at && String(state)) state.append("at", at);
      const hash = String(state) || at;
      history.replaceState(null, "", hash ? `#${hash}` : location.href.split("#")[0]);
    }

    function recall() {
      const text = location.hash.slice(1);
      const state = new URLSearchParams(text.includes("=") ? text : "");
      at = text.includes("=") ? state.get("at") ?? "" : text;
      for (const name of ["q", ...FACETS, "since", "until"]) {
        if (fields[name]) fields[name].value = state.get(name) ?? "";
      }
      for (const box of kinds) box.checked = !state.getAll("without").includes(box.value);
      for (const box of columns) box.checked = !state.getAll("hide").includes(box.value);
      const wishes = new Map(state.getAll("sort").map((wish) => {
        const [id, column, order] = wish.split(":");
        return [id, [column, order]];
      }));
      for (const board of boards) {
        if (wishes.has(board.id)) board.sortBy(...wishes.get(board.id)); else board.unsort();
      }
      apply();
      showColumns();
      if (at) document.getElementById(at)?.scrollIntoView();
    }

    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (columns.includes(event.target)) showColumns(); else apply();
      remember();
    });
    form.addEventListener("reset", () => setTimeout(() => {
      at = "";
      for (const board of boards) board.unsort();
      apply();
      showColumns();
      remember();
    }));
    addEventListener("hashchange", recall);
    addEventListener("beforeprint", () => {
      for (const board of boards) board.showAll();
      layOut(Infinity);
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.matches("input, select, textarea");
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        fields.q.focus();
      }
    });
    form.hidden = false;
    recall();
    return remember;
  }

  // One box per column that any table of the page has.
  function columnChoices(menu, boards) {
    const found = new Map();
    for (const board of boards) {
      for (const head of board.heads) {
        if (head.dataset.column && !found.has(head.dataset.column)) {
          const group = head.dataset.group ? ` · ${head.dataset.group}` : "";
          found.set(head.dataset.column, head.textContent.trim() + group);
        }
      }
    }
    return [...found].map(([column, title]) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.name = "column";
      box.value = column;
      box.checked = box.defaultChecked = true;
      label.append(box, title);
      menu.append(label);
      return box;
    });
  }

  const boards = [...document.querySelectorAll("table.sortable")].map((table) => new Board(table));
  let remember = () => {};
  for (const board of boards) board.makeSortable(() => remember());
  if (document.getElementById("tools")) remember = page(boards);
  layOut();
})();
