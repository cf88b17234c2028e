// The latest traces as a list, and one of them as a waterfall.

import { action, ask, byId, html, millis } from "./dom.js";

let chosen = null;

function services(names) {
  const select = byId("service"), before = select.value;
  if (select.options.length === names.length + 1) return;
  select.replaceChildren(html("option", { value: "" }, "all"), ...names.map(name => html("option", { value: name }, name)));
  select.value = names.includes(before) ? before : "";
}

function row(trace) {
  const status = trace.error ? html("td", { class: "bad" }, "error") : html("td", { class: "good" }, "ok");
  const label = `trace of ${trace.service}, ${trace.name}, ${millis(trace.duration_ms)}`;
  return html("tr", { ...action(label, () => open(trace.id)), role: undefined, "aria-selected": String(trace.id === chosen) },
    html("td", {}, new Date(trace.start_unix_ms).toLocaleTimeString()), html("td", {}, trace.service), html("td", {}, trace.name),
    html("td", {}, trace.services.join(", ")), html("td", {}, String(trace.span_count)), html("td", {}, millis(trace.duration_ms)), status);
}

/** Spans below the one that caused them; those whose cause is unknown stand at the top. */
function ordered(spans) {
  const known = new Set(spans.map(span => span.id)), below = new Map();
  for (const span of spans) {
    const parent = known.has(span.parent) && span.parent !== span.id ? span.parent : null;
    below.set(parent, [...(below.get(parent) ?? []), span]);
  }
  const out = [], walk = (parent, depth) => {
    for (const span of below.get(parent) ?? []) { out.push({ span, depth }); if (depth < 64) walk(span.id, depth + 1); }
  };
  walk(null, 0);
  const shown = new Set(out.map(({ span }) => span));
  return [...out, ...spans.filter(span => !shown.has(span)).map(span => ({ span, depth: 0 }))];
}

function bar(span, total) {
  const left = 100 * span.offset_ms / total, width = Math.min(100 - left, 100 * span.duration_ms / total);
  const text = html("b", {}, millis(span.duration_ms));
  const mark = html("i", { class: span.error ? "bad" : "" });
  mark.style.left = `${left}%`;
  mark.style.width = `${Math.max(0, width)}%`;
  // In the bar where there is room, else beside it.
  if (width > 12) { text.className = "inside"; text.style.left = `calc(${left}% + 6px)`; }
  else if (left + width > 85) text.style.right = `calc(${100 - left}% + 4px)`;
  else text.style.left = `calc(${left + width}% + 6px)`;
  return html("span", { class: "bar" }, mark, text);
}

function waterfall(trace) {
  const total = Math.max(trace.duration_ms, 0.001);
  return ordered(trace.spans).map(({ span, depth }) => {
    const facts = html("dl", { hidden: true }, ...Object.entries({ span: span.id, kind: span.kind, ...span.attributes })
      .flatMap(([name, value]) => [html("dt", {}, name), html("dd", {}, value)]));
    const who = html("span", { class: "who" }, span.service, " ", html("small", {}, span.name));
    who.style.paddingLeft = `${depth}rem`;
    const line = html("button", { type: "button", class: "span", "aria-expanded": "false", onclick: () => {
      facts.hidden = !facts.hidden;
      line.setAttribute("aria-expanded", String(!facts.hidden));
    } }, who, bar(span, total));
    return html("div", {}, line, facts);
  });
}

async function open(id) {
  chosen = id;
  const panel = byId("trace"), trace = await ask(`/api/traces/${encodeURIComponent(id)}`);
  panel.hidden = false;
  panel.replaceChildren(
    html("button", { type: "button", onclick: () => { chosen = null; panel.hidden = true; } }, "Close"),
    html("h3", {}, `${trace.id} · ${millis(trace.duration_ms)} · ${trace.span_count} spans`),
    ...waterfall(trace),
    ...(trace.left_out > 0 ? [html("p", { class: "empty" }, `${trace.left_out} more spans found no room`)] : []));
}

/** Asks the collector for the traces that the form describes and shows them. */
export async function refresh() {
  const asked = new URLSearchParams({ service: byId("service").value, min_ms: byId("min-ms").value || "0", error: String(byId("errors").checked) });
  const { traces, services: names } = await ask(`/api/traces?${asked}`);
  services(names);
  byId("trace-rows").replaceChildren(...traces.map(row));
  byId("no-traces").hidden = traces.length > 0;
  return `${traces.length} traces shown`;
}

/** Shows new results as soon as the form changes, and the trace that the address names. */
export function start(again) {
  byId("filter").addEventListener("input", again);
  byId("filter").addEventListener("submit", event => event.preventDefault());
}

export { open };
