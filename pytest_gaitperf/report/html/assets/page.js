"use strict";

// Figures: drawn when they come into view, in the colours of the page.

const figures = JSON.parse(document.getElementById("figure-data").textContent);
const cells = JSON.parse(document.getElementById("cell-data").textContent);
const motion = { displayModeBar: false, responsive: true };

/* plotly knows some tags in its texts: this shows a text as it is. */
function figureText(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function resolved(value, style) {
  if (typeof value === "string") {
    const name = /^var\((--[\w-]+)\)$/.exec(value);
    return name ? style.getPropertyValue(name[1]).trim() : value;
  }
  if (Array.isArray(value)) return value.map((one) => resolved(one, style));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolved(v, style)]));
  }
  return value;
}

function themed(spec) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"),
    automargin: true,
  };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 13 },
    colorway: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => colour(`--series-${n}`)),
    margin: { l: 60, r: 16, t: 16, b: 48 },
    legend: { orientation: "h", y: -0.2 },
    hoverlabel: { bgcolor: colour("--paper"), font: { color: colour("--ink") } },
  };
  const given = resolved(spec.layout || {}, style);
  const layout = { ...base, ...given, font: { ...base.font, ...given.font } };
  for (const name of ["xaxis", "yaxis"]) layout[name] = layout[name] || {};
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(name)) layout[name] = { ...axis, ...layout[name] };
  }
  return { data: resolved(spec.data, style), layout };
}

const drawn = new Map(); // element -> spec

function draw(element, spec) {
  drawn.set(element, spec);
  const { data, layout } = themed(spec);
  return Plotly.react(element, data, layout, motion);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      draw(entry.target, figures[entry.target.dataset.figure]);
    }
  }
}, { rootMargin: "200px" });

for (const element of document.querySelectorAll("[data-figure]")) seen.observe(element);

function redraw() {
  for (const [element, spec] of drawn) draw(element, spec);
}
