(values, cell) => {
  const patterns = ["", "/", ".", "x", "-", "|", "\\", "+"];
  const before = values.some((part) => part[2] !== null);
  const rows = before ? ["this run", "the run before"] : ["this run"];
  const sum = (place) => Number(values.reduce((all, part) => all + part[place], 0).toPrecision(4));
  return {
    title: "Time of a request, by what it went to",
    description: `The mean time of a request, ${sum(1)} ms`
      + (before ? ` (the run before: ${sum(2)} ms)` : "")
      + ", by what it went to, in the order of time. Network is what nobody accounts for.",
    data: values.map(([name, now, past], place) => ({
      type: "bar", orientation: "h", name, y: rows, x: before ? [now, past] : [now], showlegend: true,
      marker: { color: `var(--series-${place % 8 + 1})`, pattern: {
        shape: patterns[place % 8], fillmode: "overlay", fgcolor: "var(--paper)", size: 6,
          solidity: 0.25 } },
      hovertemplate: "%{y}: %{x:.4g} ms<extra>%{fullData.name}</extra>",
    })),
    layout: {
      height: before ? 360 : 310, barmode: "stack", bargap: 0.3,
      xaxis: { title: { text: "mean time of a request (ms)" }, rangemode: "tozero" },
      yaxis: { type: "category", autorange: "reversed" },
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom", traceorder: "normal" },
      margin: { l: 50, r: 20, t: 16, b: 90 },
    },
    headers: ["part", "this run (ms)", ...(before ? ["the run before (ms)"] : [])],
    rows: values.map(([name, now, past]) => [
      name, String(now), ...(before ? [String(past)] : [])]),
  };
}
