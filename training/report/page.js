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

const phone = matchMedia("(max-width: 520px)");

// A chart as wide as the screen: less beside it, and what its colours mean below it.
function onPhone(figure) {
  const { margin, legend, height } = figure.layout;
  const named = figure.data.filter((trace) => trace.name && trace.showlegend !== false).length;
  const isShown = named > 1 && figure.layout.showlegend !== false;
  return {
    ...figure.layout,
    margin: figure.min_width
      ? { ...margin, l: 56, r: 42, t: 104 } // names of axes are tilted
      : { ...margin, l: Math.min(margin.l, 44), r: Math.min(margin.r, 8), t: isShown ? 10 : margin.t },
    legend: { ...legend, x: 0, xref: "container", y: 0, yref: "container", yanchor: "bottom" },
    height: height + (isShown ? 18 * named : 0) + (figure.min_width ? 40 : 0),
  };
}

// Axes side by side, which have no room on a phone for their names.
function tilted(trace) {
  if (trace.type !== "parcoords") return trace;
  return { ...trace, labelangle: -50, labelfont: { size: 9 }, tickfont: { size: 8 } };
}

function draw(place) {
  const figure = figures[place.dataset.chart];
  const axis = { gridcolor: "@rule", linecolor: "@rule", zerolinecolor: "@rule", automargin: true };
  const layout = {
    ...(phone.matches ? onPhone(figure) : figure.layout),
    xaxis: { ...axis, ...figure.layout.xaxis },
    yaxis: { ...axis, ...figure.layout.yaxis },
    font: { family: "system-ui, sans-serif", size: phone.matches ? 10 : 12, color: "@ink" },
    paper_bgcolor: "@card",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: "@card", bordercolor: "@rule", font: { color: "@ink" } },
  };
  place.style.minWidth = figure.min_width && !phone.matches ? figure.min_width + "px" : "";
  place.style.height = layout.height + "px";
  const data = phone.matches ? figure.data.map(tilted) : figure.data;
  Plotly.react(place, painted(data), painted(layout), { displayModeBar: false, responsive: true });
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
phone.addEventListener("change", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
document.addEventListener("click", (event) => {
  const head = event.target.closest("table.sortable th");
  if (head && event.target.closest("button")) sort(head, head.getAttribute("aria-sort") !== "ascending");
});
