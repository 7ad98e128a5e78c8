// Cards, phases, tables, inbox and history.

function drawSummary(data) {
  const { study, budget } = data;
  const block = study.n_blocks && study.n_blocks > 1 ? ` · block ${study.block + 1} of ${study.n_blocks}` : study.block ? ` · block ${study.block + 1}` : "";
  const value = study.block_values[study.block];
  byId("kicker").textContent = `Study of ${study.base.split("/").pop()} · ${study.policy} · ${study.proposer}${block}`
    + (value === undefined ? "" : ` (${study.block_path} = ${value})`);
  byId("name").textContent = study.name;
  byId("description").textContent = study.description;
  const now = study.phases.indexOf(study.phase);
  put("phases", ...study.phases.map((phase, i) => element("li", { "aria-current": i === now ? "step" : null, class: i < now ? "past" : "" }, phase)));
  const best = data.intervals[0];
  const used = budget.n_runs ? budget.runs / budget.n_runs : null;
  put("facts",
    best ? card("Best config", score(best.mean), `Node ${best.node}, ${plural(best.n, "run")}; 95 %: ${score(best.low)} to ${score(best.high)}; ${best.verdict}`)
      : card("Best config", "–", "no run has been scored yet"),
    card("Runs", String(budget.runs), `${budget.n_runs ? `of ${budget.n_runs}` : "no limit"}${budget.holdout ? `, and ${budget.holdout} on hidden seeds` : ""}`, used),
    card("Time in slots", duration(budget.seconds), budget.hours ? `of ${budget.hours} h` : `${plural(budget.slots, "slot")}`,
      budget.hours ? budget.seconds / 3600 / budget.hours : null),
    card("Now running", String(budget.pending), `${budget.failed} failed so far`));
}

function card(label, value, detail, share = null) {
  const bar = share === null ? null : element("div", { class: "bar" }, element("i", { style: `width:${Math.min(100, 100 * share).toFixed(1)}%` }));
  return element("div", { class: "fact" }, element("div", { class: "label" }, label), element("div", { class: "value" }, value),
    bar, element("div", { class: "detail" }, detail));
}

function table(heads, rows) {
  const head = heads.map((text) => element("th", { scope: "col" }, text));
  return element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
}

function toNode(id, text = String(id)) {
  return element("button", { type: "button", "data-key": `to-${id}-${text}`, onclick: () => choose(id, true) }, text);
}

function drawVariance(data) {
  if (data.variance.length === 0) return put("variance", empty("Nothing has been run yet."));
  const rows = data.variance.map((row) => {
    const found = row.metrics[data.study.label] ?? { mean: null, sd: null, cv: null };
    return element("tr", {},
      element("th", { scope: "row" }, toNode(row.nodes[0], `Node ${row.nodes[0]}`)),
      ...[row.n, score(found.mean), found.sd === null ? "–" : score(found.sd), found.cv === null ? "–" : `${found.cv.toFixed(1)} %`]
        .map((text) => element("td", {}, String(text))),
      element("td", {}, `${row.verdict.n_failed}/${row.verdict.n_runs}`),
      element("td", {}, row.verdict.name));
  });
  put("variance", table(["Config", "Runs", "Mean", "sd", "CV", "Not good", "Verdict"], rows));
}

function drawUcb(data) {
  if (data.ucb.length === 0) return put("ucb", empty("The block begins: its root is the parent."));
  const rows = data.ucb.map((row) => element("tr", {},
    element("th", { scope: "row" }, toNode(row.node, `Node ${row.node}`)),
    ...[score(row.ucb), row.parent ?? "root", row.visits, score(row.value), ...(row.second === null ? [] : [score(row.second)])]
      .map((text) => element("td", {}, String(text)))));
  const second = data.ucb.some((row) => row.second !== null) ? ["Second"] : [];
  put("ucb", table(["Node", "UCB", "Parent", "Visits", "Score", ...second], rows));
}

// ---- runs ----

const COLUMNS = [
  ["id", "Run"], ["node", "Node"], ["pair", "Seeds"], ["state", "State"], ["class", "Class"], ["score", "Score"],
  ["seconds", "Time"], ["slot", "Slot"], ["attempt", "Attempt"], ["error", "Error"],
];

function drawRuns(data) {
  if (data.runs.length === 0) return put("run-table", empty("Nothing has been run yet."));
  const { key, down } = state.sort, order = down ? -1 : 1;
  const sorted = [...data.runs].sort((a, b) => {
    if (a[key] === b[key]) return b.id - a.id;
    if (a[key] === null) return 1;
    if (b[key] === null) return -1;
    return (a[key] < b[key] ? -1 : 1) * order;
  });
  const head = COLUMNS.map(([name, title]) => element("th", { scope: "col", class: name === "error" ? "text" : null, "aria-sort": name === key ? (down ? "descending" : "ascending") : null },
    element("button", { type: "button", "data-key": `sort-${name}`, onclick: () => sortBy(name) }, name === "score" ? data.study.label : title)));
  const body = element("tbody", {}, ...sorted.map(runRow));
  put("run-table", element("table", {}, element("thead", {}, element("tr", {}, ...head)), body));
}

function runRow(run) {
  return element("tr", {},
    element("th", { scope: "row" }, String(run.id)),
    element("td", {}, toNode(run.node)),
    element("td", { title: `data ${run.seeds[0]}, initialisation ${run.seeds[1]}` }, `${run.holdout ? "hold-out " : ""}${run.pair}`),
    element("td", {}, run.state),
    element("td", { class: run.class === "failed" ? "failed-text" : "" }, run.class),
    element("td", {}, score(run.score)),
    element("td", {}, duration(run.seconds)),
    element("td", {}, run.slot === null ? "–" : String(run.slot)),
    element("td", {}, String(run.attempt)),
    element("td", { class: "text" }, run.error ?? ""));
}

function sortBy(key) {
  state.sort = { key, down: state.sort.key === key ? !state.sort.down : true };
  keepFocus(() => drawRuns(state.data));
}

// ---- inbox and history ----

function drawInbox(data) {
  const { pending, acknowledged } = data.inbox;
  const waiting = pending.map((text) => element("li", {}, element("span", { class: "chip" }, "waits"), ` ${text}`));
  const taken = acknowledged.map((text) => element("li", {}, text));
  put("messages", waiting.length + taken.length ? element("ul", { class: "log" }, ...waiting, ...taken.reverse()) : empty("No messages."));
}

function drawHistory(data) {
  const principles = data.principles.map((text) => element("li", {}, text));
  put("principles", principles.length ? element("ol", {}, ...principles) : empty("None yet."));
  const counts = Object.entries(data.proposals).map(([text, n]) => element("li", {}, `${text}: ${n}`));
  put("proposals", counts.length ? element("ul", { class: "log" }, ...counts) : empty("None yet."));
  const events = [...data.events].reverse().map((event) => element("li", {},
    element("time", {}, clock(event.time)), `${event.kind}, ${event.subject}`, event.text ? `: ${event.text}` : ""));
  put("events", events.length ? element("ul", { class: "log" }, ...events) : empty("No events."));
}
