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
// The table of cells: filter and sort. A chosen cell by itself.

// Of a thousand cells that is megabytes: read when the first one is chosen.
let known = null;
function cells() {
  known = known || JSON.parse(document.getElementById("cell-data").textContent);
  return known;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function tableOf(caption, headers, rows) {
  const box = element("div", undefined, {
    class: "scroll", role: "region", tabindex: "0", "aria-label": caption,
  });
  const table = element("table");
  const head = element("tr");
  head.append(...headers.map((one) => element("th", one, { scope: "col" })));
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    line.append(...headers.map((_, place) => place === 0
      ? element("th", row[0], { scope: "row" }) : element("td", row[place] ?? "")));
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  table.append(element("caption", caption), top, body);
  box.append(table);
  return box;
}

const cellsTable = document.getElementById("cells-table");
if (cellsTable) {
  const body = cellsTable.tBodies[0];
  const rows = [...body.rows];
  const [text, model, verdict] = ["text", "model", "verdict"].map(
    (name) => document.getElementById(`filter-${name}`));
  const shown = document.getElementById("filter-count");
  let searched = null;

  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    searched = searched || new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    let count = 0;
    for (const row of rows) {
      const fits = (!model.value || row.dataset.model === model.value)
        && (!verdict.value || row.dataset.verdict === verdict.value)
        && words.every((word) => searched.get(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} cells`;
  };
  for (const one of [text, model, verdict]) one.addEventListener("input", filter);

  const order = new Intl.Collator("en", { numeric: true });
  const headers = [...cellsTable.tHead.rows[0].cells];
  headers.forEach((header, place) => header.querySelector("button").addEventListener("click", () => {
    const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const one of headers) one.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const key = (row) => {
      const cell = row.cells[place];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    // What has no value stays at the end, whichever way.
    const empty = (value) => value === "";
    rows.sort((a, b) => {
      const [left, right] = [key(a), key(b)];
      if (empty(left) || empty(right)) return empty(left) - empty(right);
      return sign * (typeof left === "number" ? left - right : order.compare(left, right));
    });
    body.append(...rows);
  }));
}

const cellSection = document.getElementById("cell");

function showCell(id) {
  const cell = cells()[id];
  const boxes = ["facts", "metrics", "figures"].map((name) => document.getElementById(`cell-${name}`));
  for (const box of boxes) {
    for (const plot of box.querySelectorAll(".plot")) drawn.delete(plot);
    box.replaceChildren();
  }
  const title = document.getElementById("cell-title");
  title.textContent = id;
  for (const [name, value] of cell.facts) boxes[0].append(element("dt", name), element("dd", value));
  boxes[1].append(tableOf(
    "Metrics of this cell",
    ["metric", "value", "95 % interval", "change", "verdict", "reason"], cell.metrics));
  cellSection.hidden = false;
  for (const [kind, values] of Object.entries(cell.figures)) {
    const made = KINDS[kind](values, { id, model: cell.model });
    const name = `cell-figure-${kind}`;
    const figure = element("figure", undefined, { id: name });
    const plot = element("div", undefined, {
      class: "plot", role: "img", "aria-label": made.title, "aria-describedby": `${name}-text`,
    });
    const numbers = element("details");
    numbers.append(
      element("summary", "The numbers of this figure"),
      tableOf(made.title, made.headers, made.rows));
    figure.append(
      element("h3", made.title), plot,
      element("figcaption", made.description, { id: `${name}-text` }), numbers);
    boxes[2].append(figure);
    draw(plot, { data: made.data, layout: made.layout });
  }
  cellSection.scrollIntoView();
  title.focus({ preventScroll: true });
}

function followHash() {
  const named = /^#cell=(.*)$/.exec(location.hash);
  let id = null;
  try {
    id = named && decodeURIComponent(named[1]);
  } catch {
    // A link that somebody cut short names no cell.
  }
  if (id !== null && Object.hasOwn(cells(), id)) showCell(id);
  else cellSection.hidden = true;
}
addEventListener("hashchange", followHash);
followHash();
// Colours: those of the system until the reader chooses; light on paper.

const root = document.documentElement;
const themeButton = document.getElementById("theme");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null;

function setTheme(dark) {
  root.dataset.theme = dark ? "dark" : "light";
  themeButton.textContent = dark ? "Light colours" : "Dark colours";
  redraw();
}

setTheme(systemDark.matches);
systemDark.addEventListener("change", () => {
  if (chosenTheme === null) setTheme(systemDark.matches);
});
themeButton.addEventListener("click", () => {
  chosenTheme = root.dataset.theme !== "dark";
  setTheme(chosenTheme);
});

addEventListener("beforeprint", () => {
  root.dataset.theme = "light";
  onPaper = true;
  if (typeof Plotly !== "undefined") {
    for (const element of waiting) {
      if (!drawn.has(element)) drawn.set(element, figures[element.dataset.figure]);
    }
  }
  redraw();
});
addEventListener("afterprint", () => {
  onPaper = false;
  setTheme(chosenTheme ?? systemDark.matches);
});
