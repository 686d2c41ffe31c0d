([edges, throughput, latency], cell) => {
  const steps = (values) => [...values, values[values.length - 1]];
  const line = (values, name, unit, place, axis) => ({
    type: "scatter", mode: "lines", name, x: edges, y: steps(values), yaxis: axis,
    line: { shape: "hv", width: 2, color: `var(--series-${place})` },
    hovertemplate: `%{x:.3g} s: %{y:.4g} ${unit}<extra>${name}</extra>`,
  });
  return {
    title: "Throughput and latency over the measurement",
    description: "Throughput, above, and median latency, below, of the parts of the measured span. "
      + "A step or a slope says that the cell was not steady while it was measured.",
    data: [
      line(throughput, "throughput", "inf/s", 1, "y"),
      line(latency, "p50", "ms", 2, "y2"),
    ],
    layout: {
      height: 420, showlegend: false,
      xaxis: { title: { text: "time in the measurement (s)" }, anchor: "y2" },
      yaxis: { title: { text: "throughput<br>(inf/s)" }, domain: [0.54, 1], rangemode: "tozero" },
      yaxis2: { title: { text: "p50 (ms)" }, domain: [0, 0.46], rangemode: "tozero" },
      margin: { l: 60, r: 20, t: 16, b: 50 },
    },
    headers: ["time (s)", "throughput (inf/s)", "p50 (ms)"],
    rows: throughput.map((value, i) => [
      `${edges[i]} to ${edges[i + 1]}`, String(value), latency[i] === null ? "none" : String(latency[i])]),
  };
}
