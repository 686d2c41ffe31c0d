(values, cell) => {
  const guess = values.estimate ? " (estimate)" : "";
  const patterns = ["", "/", ".", "x", "-", "|", "\\", "+"];
  // The rail of an estimate may say so by its name.
  const named = (rail, inside) => rail + (inside ? "" : " (not in the total)")
    + (rail === "estimate" ? "" : guess);
  const short = (value) => String(Number(value.toPrecision(4)));
  const rows = ["total", "apart"];
  const sums = [1, 0].map((inside) => values.rails
    .filter((rail) => rail[2] === inside).reduce((sum, rail) => sum + rail[1], 0));
  const apart = values.rails.some((rail) => !rail[2]);
  const most = 1.05 * Math.max(...sums, 1e-9);
  return {
    title: `Power and energy by rail${guess}`,
    description: `The rails of the total: ${short(sums[0])} W, `
      + `${short(sums[0] * values.mj_per_w)} mJ per inference${guess}.`
      + (apart ? " The bar apart has the rails that are no part of the total: most of them hang "
        + "behind one that is, and would be counted twice." : ""),
    data: [
      ...values.rails.map(([rail, watts, inside], place) => ({
        type: "bar", orientation: "h", name: figureText(named(rail, inside)),
        y: [rows[1 - inside]], x: [watts], showlegend: true,
        marker: { color: `var(--series-${place % 8 + 1})`, pattern: {
          shape: patterns[place % 8], fillmode: "overlay", fgcolor: "var(--paper)", size: 6,
          solidity: 0.25 } },
        hovertemplate: `%{x:.4g} W, ${short(watts * values.mj_per_w)} mJ per inference`
          + "<extra>%{fullData.name}</extra>",
      })),
      // The second axis is drawn only where something hangs on it.
      { type: "scatter", x: [0], y: [rows[0]], xaxis: "x2", opacity: 0, showlegend: false,
        hoverinfo: "skip" },
    ],
    layout: {
      height: apart ? 360 : 300, barmode: "stack", bargap: 0.3,
      xaxis: { title: { text: `mean power${guess} (W)` }, range: [0, most] },
      xaxis2: { title: { text: `per inference${guess} (mJ)` }, overlaying: "x", side: "top",
        range: [0, most * values.mj_per_w], showgrid: false, tickmode: "auto" },
      yaxis: { type: "category", categoryorder: "array", categoryarray: rows,
        range: apart ? [1.5, -0.5] : [0.5, -0.5] },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom",
        traceorder: "normal" },
      margin: { l: 50, r: 20, t: 60, b: 80 },
    },
    headers: ["rail", "in the total", `power${guess} (W)`, `energy per inference${guess} (mJ)`],
    rows: values.rails.map(([rail, watts, inside]) => [
      rail, inside ? "yes" : "no", String(watts), short(watts * values.mj_per_w)]),
  };
}
