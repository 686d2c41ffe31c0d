(values, cell) => {
  const guess = values.estimate ? " (estimate)" : "";
  const dashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
  const count = values.watts[0][2].length;
  const edges = Array.from({ length: count + 1 }, (_, i) => values.start_s + i * values.bin_s);
  const short = (value) => String(Number(value.toPrecision(4)));
  // The rail of an estimate may say so by its name.
  const name = ([rail, inside]) => rail + (inside ? "" : " (not in the total)")
    + (rail === "estimate" ? "" : guess);
  // A table of every bin would be read by nobody: at most twelve stretches.
  const every = Math.ceil(count / 12);
  const stretches = [];
  for (let first = 0; first < count; first += every) {
    const last = Math.min(first + every, count);
    stretches.push([
      `${short(edges[first])} to ${short(edges[last])}`,
      ...values.watts.map(([, , watts]) => short(
        watts.slice(first, last).reduce((sum, one) => sum + one, 0) / (last - first))),
    ]);
  }
  const mean = values.mean_w === null ? "" : ` The total's mean over it is ${values.mean_w} W${guess}.`;
  const within = edges[0] < 0 || edges[count] > values.span_s
    ? " What lies beside it is not counted." : "";
  return {
    title: `Power over the cell${guess}`,
    description: `Mean power in steps of ${short(values.bin_s * 1e3)} ms, rail by rail, from `
      + `${values.readings} readings of ${values.counter ? "an energy counter" : "the meter"}. `
      + `The shaded ${short(values.span_s)} s are what was measured.${within}${mean}`
      + (values.estimate ? " No sensor stands behind an estimate." : ""),
    data: values.watts.map(([rail, inside, watts], place) => ({
      type: "scatter", mode: "lines", showlegend: true,
      name: figureText(name([rail, inside])),
      x: edges, y: [...watts, watts[count - 1]],
      line: { shape: "hv", width: 2, dash: dashes[place % 6],
        color: `var(--series-${place % 8 + 1})` },
      hovertemplate: "%{x:.3f} s: %{y:.4g} W<extra>%{fullData.name}</extra>",
    })),
    layout: {
      height: 400,
      xaxis: { title: { text: "time in the measurement (s)" }, zeroline: false },
      yaxis: { title: { text: `power${guess} (W)` }, rangemode: "tozero" },
      shapes: [{ type: "rect", layer: "below", xref: "x", yref: "paper", x0: 0, x1: values.span_s,
        y0: 0, y1: 1, fillcolor: "var(--shade)", line: { width: 0 } }],
      annotations: [{ xref: "x", yref: "paper", x: values.span_s / 2, y: 1, yanchor: "bottom",
        showarrow: false, text: "measured" }],
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" },
      margin: { l: 60, r: 20, t: 30, b: 80 },
    },
    headers: ["time (s)", ...values.watts.map((one) => `${name(one)} (W)`)],
    rows: stretches,
  };
}
