(values, cell) => {
  const some = [0, 1, ...Array.from({ length: 19 }, (_, i) => 5 * (i + 1)), 99, 100];
  const percents = values.ms.length === 101 ? values.ms.map((_, i) => i) : some;
  const [least, most] = [values.ms[0], values.ms[values.ms.length - 1]];
  const decades = least > 0 && most > 10 * least;
  // plotly's own ticks between the powers are bare digits, which nobody can read.
  const ticks = [];
  for (let power = Math.floor(Math.log10(least)); decades && 10 ** power <= most; power += 1) {
    ticks.push(...(most > 300 * least ? [1] : [1, 2, 5]).map((digit) => Number(`${digit}e${power}`)));
  }
  const symbols = ["circle", "square", "diamond", "triangle-up"];
  const marks = values.marks.map(([name, percent, ms, low, high], place) => ({
    type: "scatter", mode: "markers", name: figureText(`${name} ${ms} ms`), x: [ms], y: [percent],
    error_x: low === null || high === null ? undefined
      : { type: "data", symmetric: false, array: [high - ms], arrayminus: [ms - low] },
    marker: { size: 11, symbol: symbols[place % 4], color: `var(--series-${place + 2})` },
    hovertemplate: `${name}: %{x:.4g} ms<extra></extra>`,
  }));
  return {
    title: "Distribution of the latencies",
    description: `How many of the ${values.requests} requests took at most so long`
      + `${decades ? " (logarithmic axis)" : ""}, from ${least} to ${most} ms. Marked are the `
      + "percentiles of the results, with their 95 % intervals where they are known. "
      + `${values.outliers} requests lie beyond Tukey's fences.`,
    data: [
      { type: "scatter", mode: "lines", showlegend: false, x: values.ms, y: percents,
        line: { color: "var(--series-1)", width: 2.5 },
        hovertemplate: "%{y} % took at most %{x:.4g} ms<extra></extra>" },
      ...marks,
    ],
    layout: {
      height: 380,
      xaxis: { title: { text: "latency (ms)" }, ...(decades
        ? { type: "log", tickvals: ticks, ticktext: ticks.map(String) } : { type: "linear" }) },
      yaxis: { title: { text: "requests (%)" }, range: [-2, 102], dtick: 25 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
      margin: { l: 60, r: 20, t: 50, b: 50 },
    },
    headers: ["percentile", "latency (ms)", "95 % interval (ms)"],
    rows: [
      ...percents.map((percent, i) => [`p${percent}`, String(values.ms[i]), ""])
        .filter((_, i) => percents[i] % 10 === 0 || [1, 5, 25, 75, 95, 99].includes(percents[i]))
        .filter(([name]) => !values.marks.some((mark) => mark[0] === name)),
      ...values.marks.map(([name, , ms, low, high]) => [
        name, String(ms), low === null || high === null ? "" : `${low} to ${high}`]),
    ].sort((a, b) => Number(a[0].slice(1)) - Number(b[0].slice(1))),
  };
}
