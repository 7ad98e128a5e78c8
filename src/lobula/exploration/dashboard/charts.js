// Charts: progress, intervals, score and time, importance, score against a parameter.

const MARGIN = { top: 10, right: 14, bottom: 34, left: 54 };

// An empty chart with axes. x and y: { domain, title, log, ticks (values), format }.
function frame(id, height, x, y) {
  const width = Math.max(280, byId(id).clientWidth || 520), m = { ...MARGIN, ...y.margin };
  const across = (x.log ? logarithmic : linear)(x.domain, [m.left, width - m.right]);
  const up = (y.log ? logarithmic : linear)(y.domain, [height - m.bottom, m.top]);
  const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "group", "aria-label": `${y.title} against ${x.title}` });
  const bottom = height - m.bottom;
  for (const tick of x.ticks ?? across.ticks(Math.max(3, width / 110))) {
    drawing.append(shape("text", { x: across(tick), y: bottom + 16, "text-anchor": "middle" }, (x.format ?? short)(tick)));
    if (!x.ticks) drawing.append(shape("line", { class: "grid", x1: across(tick), x2: across(tick), y1: m.top, y2: bottom }));
  }
  for (const tick of y.ticks ?? up.ticks(5)) {
    drawing.append(shape("text", { x: m.left - 8, y: up(tick) + 4, "text-anchor": "end" }, (y.format ?? short)(tick)));
    if (!y.ticks) drawing.append(shape("line", { class: "grid", x1: m.left, x2: width - m.right, y1: up(tick), y2: up(tick) }));
  }
  drawing.append(shape("line", { class: "axis", x1: m.left, x2: width - m.right, y1: bottom, y2: bottom }));
  drawing.append(shape("text", { x: width - m.right, y: height - 2, "text-anchor": "end" }, x.title));
  put(id, drawing);
  return { drawing, across, up, width, height, bottom, left: m.left, right: width - m.right };
}

function dot(chart, x, y, node, label, data, value) {
  const circle = shape("circle", { cx: x, cy: y, r: 5.5, style: `fill:${colour(value, data)}`, class: node === state.chosen ? "chosen" : null });
  chart.drawing.append(chooses(circle, node, label));
}

function cross(chart, x, y, node, label) {
  const arms = `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`;
  chart.drawing.append(chooses(shape("g", {},
    shape("rect", { x: x - 7, y: y - 7, width: 14, height: 14, fill: "transparent" }),
    shape("path", { d: arms, class: "cross" })), node, label));
}

function nodeLabel(node, data) {
  const what = node.changes.map(([path, old, now]) => `${name(path)} ${shortText(old)} → ${shortText(now)}`).join("\n");
  return `Node ${node.id}: ${node.score === null ? node.class : `${score(node.score)}, ${plural(node.n, "run")}`}\n${what || node.strategy}`;
}

// ---- progress ----

function drawProgress(data) {
  const scored = data.nodes.filter((node) => node.score !== null);
  if (scored.length === 0) return put("progress", empty("No run has been scored yet."));
  const low = robustLow(scored.map((node) => node.score), data);
  const chart = frame("progress", 300,
    { domain: [0.2, Math.max(...data.nodes.map((node) => node.id)) + 0.8], title: "node", format: (tick) => Number.isInteger(tick) ? tick : "" },
    { domain: extent([...low, data.study.converged]), title: data.study.label });
  const clamp = (value) => Math.min(chart.bottom, Math.max(6, chart.up(value)));
  const bound = chart.up(data.study.converged);
  chart.drawing.append(
    shape("line", { class: "bound", x1: chart.left, x2: chart.right, y1: bound, y2: bound }),
    shape("text", { x: chart.left + 6, y: bound - 5 }, `converged: ${data.study.converged}`),
    shape("text", { x: chart.left + 6, y: 16, class: "strong" }, data.study.label));
  const place = new Map(data.nodes.map((node) => [node.id, [chart.across(node.id), node.score === null ? chart.bottom - 8 : clamp(node.score)]]));
  for (const node of data.nodes) {
    const from = place.get(node.parent), to = place.get(node.id);
    if (from) chart.drawing.append(shape("path", { class: "link", d: `M${from}C${(from[0] + to[0]) / 2} ${from[1]} ${(from[0] + to[0]) / 2} ${to[1]} ${to}` }));
  }
  chart.drawing.append(shape("path", { class: "best", d: bestLine(scored, chart, clamp, data) }));
  for (const node of data.nodes) {
    const [x, y] = place.get(node.id);
    if (node.score !== null) dot(chart, x, y, node.id, nodeLabel(node, data), data, node.score);
    else if (node.class === "failed") cross(chart, x, y, node.id, nodeLabel(node, data));
    else chart.drawing.append(chooses(shape("circle", { cx: x, cy: y, r: 5, class: "raw", "pointer-events": "all" }), node.id, nodeLabel(node, data)));
  }
}

// Scores without the worst tenth, if those lie far off: one disaster must not flatten the rest.
function robustLow(scores, data) {
  const higher = data.study.direction === "higher", sorted = [...scores].sort((a, b) => higher ? a - b : b - a);
  const near = sorted.slice(Math.floor(sorted.length / 10));
  const span = Math.abs(near[near.length - 1] - near[0]);
  return Math.abs(near[0] - sorted[0]) > span ? near : sorted;
}

function bestLine(scored, chart, clamp, data) {
  const better = (a, b) => data.study.direction === "higher" ? a > b : a < b;
  let best = null, path = "", block = null;
  for (const node of scored) {
    const begins = node.block !== block; // another block is another experiment: its best begins anew
    if (!begins && !better(node.score, best)) continue;
    const x = chart.across(node.id);
    if (begins && path) path += `H${x}`;
    path += begins ? `M${x} ${clamp(node.score)}` : `H${x}V${clamp(node.score)}`;
    [best, block] = [node.score, node.block];
  }
  return path + `H${chart.right}`;
}

// ---- intervals ----

function drawIntervals(data) {
  const rows = data.intervals.slice(0, 14);
  if (rows.length === 0) return put("intervals", empty("No config has been scored yet."));
  const values = rows.flatMap((row) => [row.low, row.high, row.raw]).filter((value) => value !== null);
  const chart = frame("intervals", 44 + 24 * rows.length,
    { domain: extent(values), title: data.study.label },
    { domain: [rows.length - 0.5, -0.5], title: "config", ticks: [], margin: { left: 84 } });
  rows.forEach((row, index) => {
    const y = chart.up(index);
    chart.drawing.append(
      shape("text", { x: 0, y: y + 4, class: "strong" }, `Node ${row.node}`),
      shape("text", { x: 76, y: y + 4, "text-anchor": "end" }, `×${row.n}`));
    if (row.low !== null) chart.drawing.append(shape("line", { class: "band", x1: chart.across(row.low), x2: chart.across(row.high), y1: y, y2: y }));
    if (row.raw !== null) chart.drawing.append(shape("circle", { class: "raw", cx: chart.across(row.raw), cy: y, r: 4 }));
    const words = `Node ${row.node}: ${score(row.mean)} (${score(row.low)} to ${score(row.high)})\n${plural(row.n, "run")}, plain mean ${score(row.raw)}, ${row.verdict}`;
    if (row.mean !== null) dot(chart, chart.across(row.mean), y, row.node, words, data, row.mean);
  });
}

// ---- score and time ----

function drawPareto(data) {
  const rows = data.pareto;
  if (rows.length === 0) return put("pareto", empty("No run has been scored yet."));
  const seconds = rows.map((row) => Math.max(row.seconds, 1e-3)), wide = Math.max(...seconds) > 8 * Math.min(...seconds);
  const low = robustLow(rows.map((row) => row.score), data);
  const room = wide ? [Math.min(...seconds) / 1.2, Math.max(...seconds) * 1.2] : extent(seconds);
  const chart = frame("pareto", 290, { domain: room, title: "time of a run", log: wide, format: duration },
    { domain: extent(low), title: data.study.label });
  const clamp = (value) => Math.min(chart.bottom, Math.max(6, chart.up(value)));
  const front = rows.filter((row) => row.front).sort((a, b) => a.seconds - b.seconds);
  const line = front.map((row, i) => `${i ? "L" : "M"}${chart.across(Math.max(row.seconds, 1e-3))} ${clamp(row.score)}`).join("");
  chart.drawing.append(shape("path", { class: "front", d: line }));
  for (const row of rows) {
    const words = `Node ${row.node}: ${score(row.score)} in ${duration(row.seconds)}\n${plural(row.n, "run")}${row.front ? ", on the front" : ""}`;
    dot(chart, chart.across(Math.max(row.seconds, 1e-3)), clamp(row.score), row.node, words, data, row.score);
  }
}

// ---- parameters ----

function drawImportance(data) {
  const { rows, explained, note } = data.importance;
  const names = new Map(data.dimensions.map((found) => [found.path, found.label]));
  byId("importance-note").textContent = rows.length === 0 ? "" : "How much R² a random forest loses on these runs when a field is shuffled. "
    + `It explains R² ${score(explained)} of runs that it has not seen. ${note}`;
  if (rows.length === 0) return put("importance", empty(note));
  const shown = rows.slice(0, 12), most = Math.max(...shown.map((row) => row.mean + row.sd), 1e-6);
  const chart = frame("importance", 44 + 26 * shown.length, { domain: [0, most * 1.05], title: "loss of R²" },
    { domain: [shown.length - 0.5, -0.5], title: "field", ticks: [], margin: { left: 150 } });
  const bars = shape("g", { class: "bars" });
  shown.forEach((row, index) => {
    const y = chart.up(index), end = chart.across(Math.max(row.mean, 0));
    bars.append(
      shape("rect", { x: chart.left, y: y - 7, width: Math.max(end - chart.left, 1), height: 14, rx: 3 }),
      shape("line", { class: "whisker", x1: chart.across(Math.max(row.mean - row.sd, 0)), x2: chart.across(row.mean + row.sd), y1: y, y2: y }),
      shape("text", { class: "strong", x: chart.left - 8, y: y + 4, "text-anchor": "end" }, names.get(row.path) ?? row.path));
  });
  chart.drawing.append(bars);
}

function drawParameter(data) {
  const select = byId("parameter"), order = new Map(data.importance.rows.map((row, i) => [row.path, i]));
  const fields = [...data.dimensions].sort((a, b) => (order.get(a.path) ?? 99) - (order.get(b.path) ?? 99));
  if (!fields.some((found) => found.path === state.parameter)) state.parameter = fields.length ? fields[0].path : null;
  if ([...select.options].map((option) => option.value).join() !== fields.map((found) => found.path).join()) {
    select.replaceChildren(...fields.map((found) => element("option", { value: found.path }, found.label)));
  }
  select.value = state.parameter ?? "";
  const field = fields.find((found) => found.path === state.parameter);
  const nodes = new Map(data.nodes.map((node) => [node.id, node]));
  const runs = data.runs.filter((run) => run.score !== null && !run.holdout);
  if (!field || runs.length === 0) return put("scatter", empty("No field has been varied and scored yet."));
  scatter(data, field, runs.map((run) => ({ run, value: nodes.get(run.node).at[field.path] })));
}

function scatter(data, field, points) {
  const isNumber = points.every((point) => typeof point.value === "number") && field.choices.length === 0;
  const words = [...new Set([...field.choices, ...points.map((point) => point.value)].map(String))];
  const at = (value) => isNumber ? value : words.indexOf(String(value));
  const known = [...points.map((point) => at(point.value)), at(field.default)].filter((value) => typeof value === "number" && value >= (isNumber ? -Infinity : 0));
  const isLog = isNumber && field.scale === "log" && Math.min(...known) > 0;
  const spread = isLog ? extent(known.map(Math.log10)).map((value) => 10 ** value) : isNumber ? extent(known) : [-0.5, words.length - 0.5];
  const low = robustLow(points.map((point) => point.run.score), data);
  const chart = frame("scatter", 290,
    { domain: spread, log: isLog, title: field.path, ticks: isNumber ? null : words.map((_, i) => i), format: isNumber ? short : (i) => words[i] },
    { domain: extent(low), title: data.study.label });
  const clamp = (value) => Math.min(chart.bottom, Math.max(6, chart.up(value)));
  const base = at(field.default);
  if (typeof base === "number" && base >= spread[0]) {
    chart.drawing.append(shape("line", { class: "base", x1: chart.across(base), x2: chart.across(base), y1: chart.bottom - 7, y2: chart.bottom }));
  }
  for (const { run, value } of points) {
    const text = `Node ${run.node}, run ${run.id}: ${score(run.score)}\n${field.label} ${short(value)}`;
    dot(chart, chart.across(at(value)), clamp(run.score), run.node, text, data, run.score);
  }
}
