// The tree as an outline, one row per node, and the panel that says why a node was tried.

const ROW = 27, STEP = 17, LEFT = 20;

function drawOutline(data) {
  const outline = byId("outline"), top = outline.scrollTop;
  if (data.nodes.length === 0) return outline.replaceChildren(empty("Nothing has been tried yet."));
  const rows = walk(data), children = [];
  const lines = shape("svg", { width: 1, height: ROW * rows.length, "aria-hidden": "true" });
  const places = new Map();
  rows.forEach((row, index) => {
    const y = ROW * (index + 0.5);
    if (row.title) return children.push(element("div", { class: "block" }, row.title));
    const x = LEFT + STEP * row.depth;
    places.set(row.node.id, [x, y]);
    const above = places.get(row.node.parent);
    if (above && above[0] < x) lines.append(shape("path", { d: `M${above[0]} ${above[1]}V${y}H${x}` }));
    children.push(outlineRow(row, x, data));
  });
  outline.replaceChildren(lines, ...children);
  outline.scrollTop = top;
}

// Nodes in the order of a walk through the tree, with a title before every block if there are several. A node whose
// parent is of another block is a root of its own.
function walk(data) {
  const below = new Map(), blockOf = new Map(data.nodes.map((node) => [node.id, node.block])), rows = [];
  for (const node of data.nodes) {
    const key = blockOf.get(node.parent) === node.block ? node.parent : `root ${node.block}`;
    below.set(key, [...(below.get(key) ?? []), node]);
  }
  const visit = (key, depth) => (below.get(key) ?? []).forEach((node) => {
    rows.push({ node, depth });
    visit(node.id, Math.min(depth + 1, 14));
  });
  const blocks = [...new Set(data.nodes.map((node) => node.block))];
  for (const block of blocks) {
    if (blocks.length > 1) rows.push({ title: blockTitle(data, block) });
    visit(`root ${block}`, 0);
  }
  return rows;
}

function blockTitle(data, block) {
  const value = data.study.block_values[block];
  return `Block ${block + 1}${value === undefined ? "" : `: ${data.study.block_path} = ${value}`}`;
}

function outlineRow({ node, depth }, x, data) {
  const chosen = node.id === state.chosen;
  const dot = element("span", { class: `dot ${dotClass(node)}`, style: `background:${colour(node.score, data)}` });
  const what = node.changes.map(([path, old, now]) => `${name(path)} ${shortText(old)} → ${shortText(now)}`).join(", ");
  return element(
    "div",
    {
      class: "row", role: "treeitem", "aria-level": depth + 1, "aria-selected": chosen ? "true" : "false",
      tabindex: chosen || (state.chosen === null && node.id === 1) ? "0" : "-1",
      "data-key": `row-${node.id}`, "data-node": node.id, style: `padding-left:${x - 6.5}px`,
      onclick: () => choose(node.id), onkeydown: moveInOutline,
    },
    dot,
    element("b", {}, String(node.id)),
    element("span", { class: "score" }, score(node.score)),
    element("span", { class: "what" }, what || (node.code ? "code" : node.strategy)),
    element("span", { class: "n" }, node.n > 1 ? `${node.n} runs` : ""),
  );
}

function dotClass(node) {
  return node.score !== null ? "" : node.class === "failed" ? "failed" : "pending";
}

function name(path) {
  return path.split(".").pop();
}

function moveInOutline(event) {
  const rows = [...byId("outline").querySelectorAll(".row")], at = rows.indexOf(event.currentTarget);
  const level = (row) => Number(row.getAttribute("aria-level"));
  const above = rows.slice(0, at).reverse().find((row) => level(row) < level(rows[at]));
  const next = rows[at + 1];
  const goal = {
    ArrowDown: next, ArrowUp: rows[at - 1], Home: rows[0], End: rows[rows.length - 1], ArrowLeft: above,
    ArrowRight: next && level(next) > level(rows[at]) ? next : null,
  }[event.key];
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); return choose(Number(rows[at].dataset.node)); }
  if (!goal) return;
  event.preventDefault();
  rows[at].tabIndex = -1;
  goal.tabIndex = 0;
  goal.focus();
}

// ---- why ----

function drawWhy(data) {
  const node = data.nodes.find((found) => found.id === state.chosen);
  if (!node) return put("why", empty("No node is chosen."));
  const runs = data.runs.filter((run) => run.config === node.config);
  put(
    "why",
    element("h3", {}, `Node ${node.id}`),
    element("div", { class: "chips" },
      chip(node.class, node.class), chip(node.strategy), chip(`by ${node.proposer}`),
      node.verdict ? chip(node.verdict.name, node.verdict.name) : null),
    element("p", {}, `${data.study.label} ${score(node.score)}${node.n > 1 ? `, mean of ${node.n} runs` : ""}`,
      node.n === 1 ? " in a single run" : ""),
    ...titled("Hypothesis", node.hypothesis && element("p", {}, node.hypothesis + predicted(node))),
    ...titled(node.parent === null ? "Against the base of the block" : `Against node ${node.parent}`, changes(node)),
    ...titled("What came of it", element("p", {}, outcome(node))),
    ...titled("Runs of this config", runTable(runs)),
    ...titled("Note", node.note && element("p", {}, node.note)),
    ...titled("Code", node.code && element("p", {}, element("code", {}, node.code))),
  );
}

function titled(title, body) {
  return body ? [element("h4", {}, title), body] : [];
}

function chip(text, kind = "") {
  return element("span", { class: `chip ${kind}` }, text);
}

function predicted(node) {
  const words = { 1: "better", 0: "no change", "-1": "worse" }[node.predicted];
  return words ? ` (expected: ${words})` : "";
}

function changes(node) {
  if (node.changes.length === 0) return element("p", {}, node.code ? "Code only." : "Nothing changed.");
  const rows = node.changes.map(([path, old, now]) => element("li", {}, `${path}: ${old} → ${now}`));
  return element("ul", {}, ...rows);
}

function outcome(node) {
  const found = node.against_parent, verdict = node.verdict, words = [];
  if (found) {
    const sign = found.difference >= 0 ? "better" : "worse";
    const span = found.low === null ? "one pair of seeds, so luck is not ruled out"
      : `95 %: ${score(found.low)} to ${score(found.high)}, ${found.n} pairs`;
    words.push(`${score(Math.abs(found.difference))} ${sign} than its parent on the same seeds (${span}).`);
  }
  if (verdict) {
    words.push(`${verdict.n_runs - verdict.n_failed} of ${plural(verdict.n_runs, "run")} converged; with 95 % confidence, `
      + `at most ${(100 * verdict.upper).toFixed(0)} % of all runs would not.`);
    if (verdict.runs_needed) words.push(`${verdict.runs_needed} more good runs would make it robust.`);
  }
  return words.join(" ") || "Nothing is known yet.";
}

function runTable(runs) {
  if (runs.length === 0) return null;
  const rows = runs.map((run) => element("tr", {},
    element("th", { scope: "row" }, `${run.id}${run.holdout ? " (hold-out)" : ""}`),
    element("td", {}, String(run.pair)),
    element("td", { class: run.class === "failed" ? "failed-text" : "" }, run.score === null ? run.state : score(run.score)),
    element("td", {}, duration(run.seconds))));
  const errors = runs.filter((run) => run.error).map((run) => element("p", { class: "failed-text" }, `${run.id}: ${run.error}`));
  const head = ["Run", "Seeds", "Score", "Time"].map((text) => element("th", { scope: "col" }, text));
  return element("div", {},
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows)), ...errors);
}
