"use strict";
// Named one by one, because the defaults hold a button that sends the figure to a server.
const buttons = [["zoom2d", "pan2d", "resetScale2d", "toImage"]];
const options = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: buttons };
const build = (tag, text = "", attributes = {}) => {
  const element = Object.assign(document.createElement(tag), { textContent: text });
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// Figures are drawn one after the other, each in a turn of its own, so that the page can be read meanwhile.
const turn = () => new Promise((done) => setTimeout(done, 0));
async function draw() {
  const waiting = [...document.querySelectorAll("[data-figure]")];
  for (const element of waiting) {
    const figure = JSON.parse(document.getElementById(element.dataset.figure).textContent);
    await Plotly.newPlot(element, figure.data, figure.layout, options);
    await turn();
  }
  document.documentElement.setAttribute("data-drawn", String(waiting.length));
}
for (const button of document.querySelectorAll("[data-group]")) {
  button.addEventListener("click", () => {
    const element = button.closest("figure").querySelector("[data-figure]");
    if (!element.data) return;
    const traces = element.data.flatMap((trace, index) => (trace.meta === button.dataset.group ? [index] : []));
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    Plotly.restyle(element, { visible: !shown }, traces);
  });
}

// Tables: a press on a heading sorts by its column, a second one turns it round; text above long ones filters them.
const words = new Intl.Collator(undefined, { numeric: true });
const key = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
};
const empty = (value) => value === "" || value === "–" || Number.isNaN(value);
function order(first, second) {
  if (empty(first) || empty(second)) return null;
  return typeof first === "number" && typeof second === "number" ? first - second : words.compare(first, second);
}
function sort(table, heading) {
  const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const column = Number(heading.dataset.column);
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
  rows.sort(([a], [b]) => order(a, b) * sign || empty(a) - empty(b)); // what has no value comes last both ways
  table.tBodies[0].append(...rows.map(([, row]) => row));
}
function sieve(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [row.textContent.toLowerCase(), row]);
  const label = build("label", "filter ");
  const input = build("input", "", { type: "search" });
  const count = build("span", `${rows.length} rows`, { role: "status" });
  label.append(input);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(([text, row]) => !(row.hidden = !wanted.every((word) => text.includes(word))));
    count.textContent = wanted.length ? `${found.length} of ${rows.length} rows` : `${rows.length} rows`;
  });
  const bar = build("div", "", { class: "sieve" });
  bar.append(label, count);
  table.parentElement.before(bar);
}
const FEW = 6; // rows that need no filter
for (const table of document.querySelectorAll("[data-sortable]")) {
  for (const heading of table.querySelectorAll("[data-column]")) {
    const button = build("button", heading.textContent, { type: "button" });
    button.addEventListener("click", () => sort(table, heading));
    heading.replaceChildren(button);
  }
  if (table.tBodies[0].rows.length > FEW) sieve(table);
}

// Any two runs: their settings side by side, only those that differ.
const told = document.getElementById("settings-of-runs");
if (told) {
  const { labels, names, values, shared, second } = JSON.parse(told.textContent);
  const selects = [...document.querySelectorAll("[data-run]")];
  const compare = () => {
    const [first, second] = selects.map((select) => values[select.selectedIndex]);
    const differing = names.flatMap((name, index) => (first[index] === second[index] ? [] : [index]));
    const rows = differing.map((index) => {
      const row = build("tr");
      row.append(build("th", names[index], { scope: "row" }), build("td", first[index]), build("td", second[index]));
      return row;
    });
    document.querySelector("[data-pair] tbody").replaceChildren(...rows);
    const alike = names.length - differing.length + shared;
    document.querySelector("[data-differences]").textContent =
      `Settings that differ: ${differing.length}; the same: ${alike}.`;
  };
  selects.forEach((select, which) => {
    select.append(...labels.map((label) => build("option", label)));
    select.selectedIndex = Math.min(which, labels.length - 1);
    select.addEventListener("change", compare);
  });
  if (second) selects[1].selectedIndex = second;
  compare();
}

const PAPER = 700; // A4 less its margins, in CSS pixels
const resize = (size) =>
  document.querySelectorAll("[data-figure]").forEach((element) => element.data && Plotly.relayout(element, size));
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((part) => (part.open = true));
  resize({ width: PAPER });
});
window.addEventListener("afterprint", () => resize({ width: null, autosize: true }));
performance.mark("ready"); // all but the figures works from here on
draw();
