// Theme switch and table sorting. Without scripts every page still shows everything.
"use strict";

(() => {
  const root = document.documentElement;
  const remembered = {
    get() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set(theme) { try { localStorage.setItem("theme", theme); } catch { /* private mode */ } },
  };
  const chosen = remembered.get();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  function themeButton() {
    const button = document.getElementById("theme");
    const dark = () => root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remembered.set(root.dataset.theme);
      label();
    });
    label();
    button.hidden = false;
  }

  // Compares two rows by a column: numbers by value, missing ones always last.
  function comparison(index, type, sign) {
    return (a, b) => {
      const [x, y] = [a.cells[index], b.cells[index]];
      if (type === "text") return sign * x.textContent.trim().localeCompare(y.textContent.trim());
      const [p, q] = [x.dataset.value, y.dataset.value];
      if (p === undefined || q === undefined) return (p === undefined) - (q === undefined);
      return sign * (Number(p) - Number(q));
    };
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    for (const [index, head] of heads.entries()) {
      const type = head.dataset.sort;
      if (!type) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = type === "high" ? "descending" : "ascending";
        const second = type === "high" ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === first ? second : first;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        for (const body of table.tBodies) {
          const rows = [...body.querySelectorAll(":scope > tr.row")];
          rows.sort(comparison(index, type, order === "ascending" ? 1 : -1));
          const end = body.querySelector(":scope > tr.unscored");
          for (const row of rows) body.insertBefore(row, end);
        }
      });
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    themeButton();
    document.querySelectorAll("table.sortable").forEach(sortable);
  });
})();
