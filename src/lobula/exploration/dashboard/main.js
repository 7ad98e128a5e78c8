// Draws everything, chooses nodes, and, on a live page, asks for news and posts messages.

const NEWS_EVERY_MS = 2500;
const PARTS = [drawSummary, drawProgress, drawOutline, drawWhy, drawIntervals, drawVariance, drawPareto, drawUcb,
  drawImportance, drawParameter, drawRuns, drawInbox, drawHistory];

function draw(data) {
  state.data = data;
  const isNew = !data.nodes.some((node) => node.id === state.chosen);
  if (isNew) state.chosen = data.intervals[0]?.node ?? data.nodes[0]?.id ?? null;
  keepFocus(() => PARTS.forEach((part) => part(data)));
  if (isNew) reveal();
}

// Drawing anew must not throw somebody who uses the keyboard off the page.
function keepFocus(redraw) {
  const key = document.activeElement?.dataset?.key;
  byId("tip").hidden = true;
  redraw();
  if (key) [...document.querySelectorAll("[data-key]")].find((found) => found.dataset.key === key)?.focus({ preventScroll: true });
}

function choose(node, jump = false) {
  state.chosen = node;
  keepFocus(() => [drawProgress, drawOutline, drawWhy, drawIntervals, drawPareto, drawParameter].forEach((part) => part(state.data)));
  reveal();
  if (jump) byId("tree").scrollIntoView();
}

// Scrolls the outline, not the page, to the chosen row.
function reveal() {
  const box = byId("outline"), row = box.querySelector('[aria-selected="true"]');
  if (!row) return;
  const y = row.offsetTop;
  if (y < box.scrollTop || y > box.scrollTop + box.clientHeight - 40) box.scrollTop = y - box.clientHeight / 2;
}

function say(kind, text) {
  byId("live").dataset.state = kind;
  byId("live").textContent = text;
}

// ---- live ----

let tag = null;

async function news() {
  try {
    const answer = await fetch("data.json", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      tag = answer.headers.get("ETag");
      draw(await answer.json());
    } else if (answer.status !== 304) {
      throw new Error((await answer.json()).error ?? answer.statusText);
    }
    say("live", "live");
  } catch (error) {
    say("lost", error instanceof TypeError ? "no connection" : error.message);
  }
  setTimeout(news, NEWS_EVERY_MS);
}

async function post(kind, text) {
  const body = JSON.stringify({ kind, text });
  const answer = await fetch("inbox", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const said = await answer.json();
  byId("posted").textContent = answer.ok ? "Sent." : said.error;
  return answer.ok;
}

function listen() {
  byId("post").hidden = false;
  byId("post").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = byId("text").value.trim();
    if (text && await post("note", text)) byId("text").value = "";
  });
  byId("stop").addEventListener("click", () => {
    if (confirm("Stop the study? What runs is finished, nothing new is started.")) post("stop", byId("text").value.trim());
  });
}

// ---- start ----

byId("parameter").addEventListener("change", (event) => {
  state.parameter = event.target.value;
  drawParameter(state.data);
});
let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => state.data && draw(state.data), 150);
});
const embedded = JSON.parse(byId("data").textContent);
if (embedded) {
  draw(embedded);
  say("export", "exported");
} else {
  if (document.body.dataset.mode === "steer") listen();
  news();
}
