"use strict";
// Named one by one, because the defaults hold a button that sends the figure to a server.
const buttons = [["zoom2d", "pan2d", "resetScale2d", "toImage"]];
const options = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: buttons };
const drawings = [...document.querySelectorAll("[data-figure]")].map((element) => {
  const figure = JSON.parse(document.getElementById(element.dataset.figure).textContent);
  return Plotly.newPlot(element, figure.data, figure.layout, options).then(() => element);
});
for (const button of document.querySelectorAll("[data-group]")) {
  button.addEventListener("click", () => {
    const element = button.closest("figure").querySelector("[data-figure]");
    const traces = element.data.flatMap((trace, index) => (trace.meta === button.dataset.group ? [index] : []));
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    Plotly.restyle(element, { visible: !shown }, traces);
  });
}
const PAPER = 700; // A4 less its margins, in CSS pixels
const resize = (size) => document.querySelectorAll("[data-figure]").forEach((element) => Plotly.relayout(element, size));
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((part) => (part.open = true));
  resize({ width: PAPER });
});
window.addEventListener("afterprint", () => resize({ width: null, autosize: true }));
Promise.all(drawings).then(() => document.documentElement.setAttribute("data-drawn", String(drawings.length)));
