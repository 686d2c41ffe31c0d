// The figures of one cell: for each kind a function (values, cell) => figure, drawn by page.js.
// A figure is {title, data, layout, description, headers, rows}, texts plain but those inside data
// and layout: they go through figureText.

const patterns = ["", "/", ".", "x", "-", "|", "\\", "+"];
const short = (value) => String(Number(value.toPrecision(4)));

const KINDS = {

  trend: (values, cell) => {
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
  },

  latency: (values, cell) => {
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
  },

  power: (values, cell) => {
    const guess = values.estimate ? " (estimate)" : "";
    const dashes = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
    const count = values.watts[0][2].length;
    const edges = Array.from({ length: count + 1 }, (_, i) => values.start_s + i * values.bin_s);
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
  },

  timeline: ([edges, throughput, latency], cell) => {
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
  },

  sustained: (values, cell) => {
    const whole = values.edges[values.edges.length - 1];
    const [unit, size] = whole > 180 ? ["min", 60] : ["s", 1];
    const edges = values.edges.map((edge) => edge / size);
    const steps = (one) => [...one, one[one.length - 1]];
    const places = [...new Set(values.lines.map((line) => line[2]))];
    const share = 1 / places.length;
    const dashes = ["solid", "dash"];
    const layout = {
      height: 90 + 140 * places.length, showlegend: true,
      xaxis: { title: { text: `time under load (${unit})` }, zeroline: false,
        anchor: places.length > 1 ? `y${places.length}` : "y" },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
      margin: { l: 70, r: 20, t: 50, b: 50 },
    };
    const axis = (place) => (place ? `y${place + 1}` : "y");
    const data = values.lines.map(([title, ofUnit, figure, points], number) => {
      const place = places.indexOf(figure);
      const same = values.lines.filter((line) => line[2] === figure);
      layout[axis(place).replace("y", "yaxis")] = {
        title: { text: same.length > 1 ? `latency<br>(${ofUnit})` : `${figureText(title)}<br>(${ofUnit})` },
        domain: [1 - (place + 1) * share + 0.02, 1 - place * share - 0.02],
        ...(figure === 3 ? {} : { rangemode: "tozero" }) };
      return { type: "scatter", mode: "lines", name: figureText(title), x: edges, y: steps(points),
        yaxis: axis(place), line: { shape: "hv", width: 2, color: `var(--series-${number + 1})`,
          dash: dashes[same.findIndex((line) => line[0] === title) % 2] },
        hovertemplate: `%{x:.3g} ${unit}: %{y:.4g} ${ofUnit}<extra>%{fullData.name}</extra>` };
    });
    if (values.limit !== null) {
      data.push({ type: "scatter", mode: "lines", name: "limit at the end", yaxis: "y",
        x: [edges[0], edges[edges.length - 1]], y: [values.limit, values.limit],
        line: { color: "var(--bad)", width: 2, dash: "dot" },
        hovertemplate: "%{y:.4g} inf/s<extra>limit at the end</extra>" });
    }
    const across = { xref: "x", yref: "paper", y0: 0, y1: 1 };
    layout.shapes = values.disturbed.map((part) => ({ ...across, type: "rect", layer: "below",
      x0: edges[part], x1: edges[part + 1], fillcolor: "var(--shade)", line: { width: 0 } }));
    const [throttled, by] = values.throttled;
    if (throttled !== null) {
      const at = throttled / size;
      layout.shapes.push({ ...across, type: "line", x0: at, x1: at,
        line: { color: "var(--bad)", width: 2 } });
      layout.annotations = [{ xref: "x", yref: "paper", x: at, y: 1, xanchor: "left",
        yanchor: "top", showarrow: false, text: "throttled" }];
    }
    const text = (value) => (value === null ? "none" : String(value));
    return {
      title: "Under load over time",
      description: `What was measured in each of ${edges.length - 1} parts of the load.`
        + (throttled === null ? "" : ` First throttled after ${short(throttled / size)} ${unit}: ${by}.`)
        + (values.disturbed.length ? ` Others disturbed the ${values.disturbed.length} shaded parts.` : "")
        + (values.ended ? ` Not whole: ${values.ended}.` : ""),
      data, layout,
      headers: [`time (${unit})`, ...values.lines.map(([title, ofUnit]) => `${title} (${ofUnit})`)],
      rows: edges.slice(1).map((edge, i) => [
        `${short(edges[i])} to ${short(edge)}${values.disturbed.includes(i) ? ", disturbed" : ""}`,
        ...values.lines.map((line) => text(line[3][i]))]),
    };
  },

  rails: (values, cell) => {
    const guess = values.estimate ? " (estimate)" : "";
    // The rail of an estimate may say so by its name.
    const named = (rail, inside) => rail + (inside ? "" : " (not in the total)")
      + (rail === "estimate" ? "" : guess);
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
  },

  time: (values, cell) => {
    const before = values.some((part) => part[2] !== null);
    const rows = before ? ["this run", "the run before"] : ["this run"];
    const sum = (place) => Number(values.reduce((all, part) => all + part[place], 0).toPrecision(4));
    return {
      title: "Time of a request, by what it went to",
      description: `The mean time of a request, ${sum(1)} ms`
        + (before ? ` (the run before: ${sum(2)} ms)` : "")
        + ", by what it went to, in the order of time. Network is what is left.",
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
  },
};
