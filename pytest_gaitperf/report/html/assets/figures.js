// Figures: drawn when they come into view, in the colours of the page.

const figures = JSON.parse(document.getElementById("figure-data").textContent);
const options = { displayModeBar: false, responsive: true };

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

// plotly.js lies packed in the page. It is unpacked when the rest is there to be read.
let plotlyScript = null;
function plotly() {
  plotlyScript = plotlyScript || (async () => {
    const packed = Uint8Array.from(
      atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  })();
  return plotlyScript;
}

const paperWidth = 680; // pixels: what a portrait page of A4 or Letter has beside its margins
let onPaper = false;

function drawNow(element) {
  const { data, layout } = themed(drawn.get(element));
  // The page still has the screen's width when it is asked to print: what is as wide is cut off.
  if (onPaper) Object.assign(layout, { autosize: false, width: paperWidth });
  Plotly.react(element, data, layout, options);
}

async function draw(element, spec) {
  drawn.set(element, spec);
  await plotly();
  if (element.isConnected) drawNow(element);
}

function drawFigure(element) {
  seen.unobserve(element);
  return draw(element, figures[element.dataset.figure]);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawFigure(entry.target);
}, { rootMargin: "200px" });

const waiting = document.querySelectorAll("[data-figure]");
for (const element of waiting) seen.observe(element);
// Before printing there is no time to unpack it: that is done once there is nothing else to do.
if (waiting.length) {
  addEventListener("load", () => (window.requestIdleCallback || setTimeout)(() => plotly()));
}

function redraw() {
  if (typeof Plotly !== "undefined") for (const element of drawn.keys()) drawNow(element);
}
