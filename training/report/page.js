"use strict";
let figures = JSON.parse(document.getElementById("figures").textContent);

// "@name" stands for the style's --name, so that charts follow light and dark.
function painted(value) {
  if (typeof value === "string" && /^@\w+$/.test(value))
    return getComputedStyle(document.documentElement).getPropertyValue("--" + value.slice(1)).trim();
  if (Array.isArray(value)) return value.map(painted);
  if (value && typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item)]));
  return value;
}

function draw(place) {
  const figure = figures[place.dataset.chart];
  const axis = { gridcolor: "@rule", linecolor: "@rule", zerolinecolor: "@rule", automargin: true };
  const layout = {
    ...figure.layout,
    xaxis: { ...axis, ...figure.layout.xaxis },
    yaxis: { ...axis, ...figure.layout.yaxis },
    font: { family: "system-ui, sans-serif", size: 12, color: "@ink" },
    paper_bgcolor: "@card",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: "@card", bordercolor: "@rule", font: { color: "@ink" } },
  };
  if (figure.min_width) place.style.minWidth = figure.min_width + "px";
  place.style.height = layout.height + "px";
  Plotly.react(place, painted(figure.data), painted(layout), { displayModeBar: false, responsive: true });
}

function drawAll() {
  document.querySelectorAll("[data-chart]").forEach(draw);
}

function sort(head, up) {
  const column = head.cellIndex;
  const body = head.closest("table").tBodies[0];
  const key = (row) => row.cells[column].dataset.key;
  const order = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // trials without a score stay at the end
    const numbers = a - b;
    return (Number.isNaN(numbers) ? a.localeCompare(b, undefined, { numeric: true }) : numbers) * (up ? 1 : -1);
  };
  body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
  head.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
}

drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.addEventListener("click", (event) => {
  const head = event.target.closest("table.sortable th");
  if (head && event.target.closest("button")) sort(head, head.getAttribute("aria-sort") !== "ascending");
});
