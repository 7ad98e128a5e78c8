"use strict";
// Elements, numbers and axes. All text goes through textContent, so nothing in a study can become markup.

const SVG = "http://www.w3.org/2000/svg";
const state = { data: null, chosen: null, sort: { key: "id", down: true }, parameter: null };
const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") made.style.cssText = value; // not an attribute: content policies forbid those
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function put(id, ...children) {
  byId(id).replaceChildren(...children.filter((child) => child !== null));
}

function empty(text) {
  return element("p", { class: "empty" }, text);
}

// ---- numbers ----

function score(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 10000) ? value.toExponential(2) : value.toFixed(size < 10 ? 4 : 1);
}

function short(value) {
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

function shortText(text) {
  const value = Number(text);
  return text !== "" && Number.isFinite(value) ? short(value) : text;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function clock(seconds) {
  return seconds ? new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ") : "";
}

function plural(n, word) {
  return `${n} ${word}${n === 1 ? "" : "s"}`;
}

// ---- colours: a share between the worst and the best score ----

function shareOf(value, data) {
  const scores = data.nodes.map((node) => node.score).filter((found) => found !== null).sort((a, b) => a - b);
  if (value === null || scores.length === 0) return null;
  const low = scores[Math.floor(0.1 * (scores.length - 1))], high = scores[scores.length - 1];
  const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 1;
  return data.study.direction === "higher" ? share : 1 - share;
}

function colour(value, data) {
  const share = shareOf(value, data);
  return share === null ? "var(--rule)" : `color-mix(in oklab, var(--good) ${Math.round(100 * share)}%, var(--bad))`;
}

// ---- axes ----

function extent(values, margin = 0.06) {
  let low = Math.min(...values), high = Math.max(...values);
  if (!(high > low)) { low -= Math.abs(low) * 0.1 || 0.5; high += Math.abs(high) * 0.1 || 0.5; }
  const room = margin * (high - low);
  return [low - room, high + room];
}

function linear(domain, range) {
  const scale = (value) => range[0] + ((value - domain[0]) / (domain[1] - domain[0])) * (range[1] - range[0]);
  scale.ticks = (n) => {
    const step = niceStep((domain[1] - domain[0]) / n), ticks = [];
    for (let k = Math.ceil(domain[0] / step); k * step <= domain[1]; k++) ticks.push(Number((k * step).toPrecision(10)));
    return ticks;
  };
  return scale;
}

function logarithmic(domain, range) {
  const inner = linear(domain.map(Math.log10), range);
  const scale = (value) => inner(Math.log10(value));
  scale.ticks = (n) => {
    const [low, high] = domain.map(Math.log10), ticks = [];
    const factors = high - low > 2.5 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    for (let k = Math.floor(low); k <= high; k++) {
      for (const factor of factors) {
        const tick = factor * 10 ** k;
        if (tick >= domain[0] && tick <= domain[1]) ticks.push(tick);
      }
    }
    return ticks.length > 2 * n ? ticks.filter((_, i) => i % 2 === 0) : ticks;
  };
  return scale;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough)), part = rough / power;
  return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

// ---- a tip that follows pointer and focus ----

function withTip(made, text) {
  const show = () => {
    const tip = byId("tip"), box = made.getBoundingClientRect();
    tip.textContent = text;
    tip.hidden = false;
    tip.style.left = `${Math.max(8, Math.min(box.right + 10, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(box.top - 6, innerHeight - tip.offsetHeight - 8))}px`;
  };
  const hide = () => { byId("tip").hidden = true; };
  made.addEventListener("pointerenter", show);
  made.addEventListener("pointerleave", hide);
  made.addEventListener("focus", show);
  made.addEventListener("blur", hide);
  return made;
}

// Something that Enter, Space and the pointer choose.
function chooses(made, node, label) {
  made.setAttribute("role", "button");
  made.setAttribute("tabindex", "0");
  made.setAttribute("aria-label", label);
  made.dataset.key = `${made.tagName}-${node}-${label}`;
  made.addEventListener("click", () => choose(node));
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(node);
  });
  return withTip(made, label);
}
