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
