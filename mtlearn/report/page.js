(() => {
  "use strict";
  const root = document.documentElement;

  // light and dark: as the system has it, until the button says otherwise
  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const tell = () => {
    button.setAttribute("aria-pressed", String(dark()));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    tell();
  });
  system.addEventListener("change", tell);
  tell();

  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const collator = new Intl.Collator(undefined, { numeric: true });

  // numbers by size, texts by letters; what is not known comes last
  const keys = new Map();
  const read = (column) => {
    if (keys.has(column)) return keys.get(column);
    const texts = rows.map((row) => row.cells[column].textContent);
    const numeric = heads[column].classList.contains("n");
    const values = numeric
      ? texts.map((text) => parseFloat(text.replace(/,/g, "").replace("−", "-")))
      : texts;
    const place = new Map(rows.map((row, i) => [row, values[i]]));
    keys.set(column, place);
    return place;
  };
  const sort = (column, sign) => {
    const place = read(column);
    const ordered = rows.slice().sort((one, two) => {
      const a = place.get(one), b = place.get(two);
      if (typeof a === "string") return sign * collator.compare(a, b);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    });
    body.append(...ordered);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  };
  heads.forEach((head, column) => {
    const press = document.createElement("button");
    press.type = "button";
    press.textContent = head.textContent;
    press.addEventListener("click", () => {
      // numbers begin with the largest
      const now = head.getAttribute("aria-sort");
      const first = head.classList.contains("n") ? -1 : 1;
      sort(column, now === null ? first : now === "ascending" ? -1 : 1);
    });
    head.replaceChildren(press);
  });

  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const total = shown.textContent;
  // ids and words; digits of numbers would only be in the way
  const texts = rows.map((row) => Array.from(row.cells)
    .filter((cell) => !cell.classList.contains("n"))
    .map((cell) => cell.textContent.toLowerCase()).join("\n"));
  search.parentElement.hidden = false;
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    rows.forEach((row, i) => {
      const hit = words.every((word) => texts[i].includes(word));
      row.hidden = !hit;
      found += hit;
    });
    shown.textContent = words.length ? `${found.toLocaleString("en")} of ${total}` : total;
  });
})();
