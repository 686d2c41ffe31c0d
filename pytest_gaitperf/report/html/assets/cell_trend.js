(values, cell) => {
  const origins = ["baseline", "earlier run", "this run"];
  const marks = [
    { symbol: "circle-open", size: 9, line: { width: 2 }, color: "var(--series-1)" },
    { symbol: "square", size: 8, color: "var(--series-3)" },
    { symbol: "diamond", size: 13, color: "var(--series-2)" },
  ];
  const times = values.sessions.map(([seconds]) => new Date(seconds * 1e3).toISOString());
  const label = (time) => `${time.slice(0, 10)}<br>${time.slice(11, 16)}`;
  const count = times.length;
  const ticks = [...new Set([0, 0.5, 1].map((part) => Math.round(part * (count - 1))))];
  const places = values.metrics.length;
  const share = 1 / places;
  const data = [], shapes = [], annotations = [];
  const layout = {
    height: 110 + 170 * places,
    xaxis: { tickangle: 0, tickvals: ticks, ticktext: ticks.map((i) => label(times[i])),
      range: [-0.5, count - 0.5], anchor: places > 1 ? `y${places}` : "y", zeroline: false },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    margin: { l: 60, r: 20, t: 50, b: 50 },
  };
  values.metrics.forEach((metric, place) => {
    const id = place ? `${place + 1}` : "";
    const top = 1 - place * share;
    layout[`yaxis${id}`] = { title: { text: metric.unit },
      domain: [top - share + (place < places - 1 ? 0.01 : 0), top - 0.3 * share] };
    data.push({ type: "scatter", mode: "lines", x: times.map((_, i) => i), y: metric.values,
      yaxis: `y${id}`, showlegend: false, hoverinfo: "skip", connectgaps: true,
      line: { color: "var(--faint)", width: 1 } });
    origins.forEach((name, origin) => {
      const chosen = times.map((_, i) => i).filter(
        (i) => values.sessions[i][1] === origin && metric.values[i] !== null);
      if (!chosen.length) return;
      data.push({ type: "scatter", mode: "markers", name, legendgroup: name,
        showlegend: !data.some((one) => one.name === name), yaxis: `y${id}`,
        x: chosen, y: chosen.map((i) => metric.values[i]), marker: marks[origin],
        text: chosen.map((i) => times[i].slice(0, 16).replace("T", " ")),
        hovertemplate: `%{text}: %{y:.4g} ${metric.unit}<extra>${name}</extra>` });
    });
    // Drawn as lines, so that the axis reaches them; the band has them as its edges.
    const across = (level, name, line) => data.push({ type: "scatter", mode: "lines", name,
      legendgroup: name, showlegend: !data.some((one) => one.name === name), yaxis: `y${id}`,
      x: [-0.5, count - 0.5], y: [level, level], hovertemplate: `%{y:.4g} ${metric.unit}`
        + `<extra>${name}</extra>`, line });
    if (metric.band) {
      shapes.push({ type: "rect", layer: "below", xref: "x", yref: `y${id}`, x0: -0.5,
        x1: count - 0.5, y0: metric.band[0], y1: metric.band[1], fillcolor: "var(--band)",
        line: { width: 0 } });
      for (const end of metric.band) {
        across(end, "prediction band", { color: "var(--series-1)", width: 1, dash: "dot" });
      }
    }
    if (metric.limit !== null) {
      across(metric.limit, "limit", { color: "var(--bad)", width: 2, dash: "dash" });
    }
    annotations.push({ xref: "paper", yref: "paper", x: 0, xanchor: "left", y: top - 0.3 * share,
      yanchor: "bottom", showarrow: false, text: `<b>${figureText(metric.title)}</b>  ${figureText(metric.note)}` });
  });
  const text = (value) => (value === null ? "" : String(value));
  return {
    title: "Over the sessions",
    description: "Each point is a session, evenly spaced in the order of time (UTC): those of the "
      + "baseline, earlier runs and this run. The band is where the gate expected this run: its "
      + "prediction from the baseline's sessions, at this run's share of the false-alarm budget. "
      + "Beyond the limit, which also allows for the tolerance and for what all cells did in "
      + "common, the verdict turns red.",
    data,
    layout: { ...layout, shapes, annotations },
    headers: ["session (UTC)", "of", ...values.metrics.map((one) => `${one.title} (${one.unit})`)],
    rows: [
      ...times.map((time, i) => [
        time.slice(0, 16).replace("T", " "), origins[values.sessions[i][1]],
        ...values.metrics.map((one) => text(one.values[i]))]),
      ["prediction band", "", ...values.metrics.map(
        (one) => (one.band ? `${one.band[0]} to ${one.band[1]}` : one.note))],
      ["limit", "", ...values.metrics.map((one) => text(one.limit))],
    ],
  };
}
