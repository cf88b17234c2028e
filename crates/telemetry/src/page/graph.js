// The service graph: a layered drawing, a table that says the same, and the last quarter of an hour of one edge.

import { action, ask, byId, bytes, end, html, millis, number, percent, svg } from "./dom.js";

const WIDTH = 1000, HEIGHT_OF_NODE = 34, WIDEST = 200, ROW = 84;
let chosen = null;

const key = edge => `${end(edge.source)} ${end(edge.destination)}`;
const colour = edge => edge.error_rate > 0.05 ? "bad" : edge.error_rate > 0 ? "some" : "good";
const traffic = edge => [
  ...(edge.requests > 0 || edge.connections === 0 ? [number(edge.rps, " requests a second"), `p99 ${millis(edge.p99_ms)}`] : []),
  ...(edge.connections > 0 ? [number(edge.connections_per_second, " connections a second"), `${bytes(edge.bytes_per_second)} a second`] : []),
].join(", ");
const words = edge => `${end(edge.source)} to ${end(edge.destination)}: ${traffic(edge)}, ${percent(edge.error_rate)} errors, ` +
  `${percent(edge.mtls_share)} encrypted`;
/** What stands at a line: of requests their rate and latency, of bytes how many. */
const label = edge => [
  ...(edge.requests > 0 || edge.connections === 0 ? [number(edge.rps, "/s"), millis(edge.p99_ms)] : []),
  ...(edge.connections > 0 ? [`${bytes(edge.bytes_per_second)}/s`] : []),
  ...(edge.error_rate > 0 ? [percent(edge.error_rate)] : []),
].join(" · ");

const short = (text, most) => text.length > most ? `${text.slice(0, most - 1)}…` : text;

/** The column of each node: one right of the farthest that calls it. Circles end because depth is bounded by the number of nodes. */
function columns(edges) {
  const depth = new Map();
  for (const edge of edges) for (const of of [edge.source, edge.destination]) depth.set(end(of), 0);
  for (let round = 0; round < depth.size; round++) {
    let moved = false;
    for (const edge of edges) {
      const [from, to] = [end(edge.source), end(edge.destination)];
      const next = Math.min(depth.get(from) + 1, depth.size - 1);
      if (from !== to && depth.get(to) < next && round < 12) { depth.set(to, next); moved = true; }
    }
    if (!moved) break;
  }
  return depth;
}

function places(edges) {
  const layers = new Map();
  for (const [node, column] of columns(edges)) layers.set(column, [...(layers.get(column) ?? []), node]);
  const filled = [...layers.entries()].sort(([a], [b]) => a - b).map(([, nodes]) => nodes);
  const rows = Math.max(1, ...filled.map(nodes => nodes.length)), height = rows * ROW + 30, at = new Map();
  // Lines and what is written on them need about half of the room.
  const width = Math.min(WIDEST, (WIDTH - 20) / Math.max(1, filled.length) * 0.58);
  filled.forEach((nodes, column) => {
    const step = filled.length > 1 ? (WIDTH - width - 20) / (filled.length - 1) : 0;
    nodes.forEach((node, row) => at.set(node, {
      x: 10 + width / 2 + column * step,
      y: height * (row + 1) / (nodes.length + 1),
    }));
  });
  return { at, height, width };
}

/** A point of a cubic curve. */
const along = (t, a, b, c, d) => (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t ** 2 * c + t ** 3 * d;

function drawEdge(edge, from, to, width, choose) {
  const forward = to.x > from.x;
  const start = { x: from.x + (forward ? width / 2 : 0), y: from.y + (forward ? 0 : HEIGHT_OF_NODE / 2) };
  const stop = { x: to.x - (forward ? width / 2 : 0), y: to.y + (forward ? 0 : HEIGHT_OF_NODE / 2) };
  const bend = forward ? (stop.x - start.x) / 2 : 0, sag = forward ? 0 : 50;
  const path = `M${start.x},${start.y} C${start.x + bend},${start.y + sag} ${stop.x - bend},${stop.y + sag} ${stop.x},${stop.y}`;
  const shape = svg("path", { d: path, class: `${colour(edge)}${edge.mtls_share === 1 ? "" : " plain"}`, "stroke-width": 1.5 + Math.min(6, Math.log2(1 + edge.rps + edge.connections_per_second)) });
  const wide = svg("path", { d: path, stroke: "transparent", "stroke-width": 16 });
  // Beyond the middle, where the lines of one caller have parted.
  const middle = {
    x: along(0.6, start.x, start.x + bend, stop.x - bend, stop.x),
    y: along(0.6, start.y, start.y + sag, stop.y + sag, stop.y) - 8,
  };
  const lock = edge.mtls_share === 1 ? svg("path", { d: `M${middle.x - 5},${middle.y - 19}h10v6h-10z m2,0v-2a3,3 0 0 1 6,0v2`, class: "lock" }) : null;
  const text = svg("text", { ...middle, class: "label", "text-anchor": "middle" }, label(edge));
  return svg("g", { class: "edge", ...action(words(edge), () => choose(edge)) }, svg("title", {}, words(edge)), wide, shape, text, lock);
}

function draw(edges, choose) {
  const { at, height, width } = places(edges), picture = byId("graph"), focused = document.activeElement?.getAttribute?.("aria-label");
  picture.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
  const lines = edges.map(edge => drawEdge(edge, at.get(end(edge.source)), at.get(end(edge.destination)), width, choose));
  const nodes = [...at].map(([node, place]) => svg("g", { class: "node" },
    svg("rect", { x: place.x - width / 2, y: place.y - HEIGHT_OF_NODE / 2, width, height: HEIGHT_OF_NODE, rx: 8 }),
    svg("title", {}, node),
    svg("text", { x: place.x, y: place.y + 4, "text-anchor": "middle" }, short(node, Math.floor(width / 8)))));
  picture.replaceChildren(...lines, ...nodes);
  if (focused) [...picture.querySelectorAll(".edge")].find(line => line.getAttribute("aria-label") === focused)?.focus();
}

function table(edges, choose) {
  byId("edges").replaceChildren(...edges.map(edge => html("tr",
    { ...action(words(edge), () => choose(edge)), role: undefined, "aria-selected": String(chosen !== null && key(chosen) === key(edge)) },
    html("td", {}, end(edge.source)), html("td", {}, end(edge.destination)), html("td", {}, String(edge.requests)),
    html("td", {}, number(edge.rps, "/s")), html("td", { class: edge.error_rate > 0 ? "bad" : "" }, percent(edge.error_rate)),
    html("td", {}, millis(edge.p50_ms)), html("td", {}, millis(edge.p99_ms)),
    html("td", {}, edge.connections > 0 ? String(edge.connections) : "-"), html("td", {}, edge.connections > 0 ? bytes(edge.received_bytes + edge.sent_bytes) : "-"),
    html("td", { class: edge.mtls_share === 1 ? "good" : "" }, percent(edge.mtls_share)))));
  byId("no-edges").hidden = edges.length > 0;
}

/** A line over the last quarter of an hour; the newest point is at the right. */
function chart(title, points, value, show) {
  const span = 900, width = 320, height = 90, values = points.map(value).filter(found => found !== null);
  const top = Math.max(...values, 0) || 1;
  const place = point => `${(width * (1 - point.seconds_ago / span)).toFixed(1)},${(height - 16 - (height - 32) * (value(point) ?? 0) / top).toFixed(1)}`;
  return html("div", { class: "chart" }, html("h4", {}, title),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}: at most ${show(top)}, now ${show(values.at(-1) ?? 0)}` },
      svg("line", { class: "axis", x1: 0, x2: width, y1: height - 16, y2: height - 16 }),
      svg("polyline", { points: points.map(place).join(" ") }),
      svg("text", { x: 0, y: 11 }, show(top)), svg("text", { x: 0, y: height - 3 }, "15 min ago"), svg("text", { x: width, y: height - 3, "text-anchor": "end" }, "now")));
}

async function detail() {
  const panel = byId("edge");
  panel.hidden = chosen === null;
  if (chosen === null) return;
  const of = new URLSearchParams({
    source: chosen.source.workload, source_namespace: chosen.source.namespace,
    destination: chosen.destination.workload, destination_namespace: chosen.destination.namespace,
  });
  const { points } = await ask(`/api/graph/history?${of}`);
  panel.replaceChildren(
    html("button", { type: "button", onclick: () => { chosen = null; detail(); } }, "Close"),
    html("h3", {}, `${end(chosen.source)} → ${end(chosen.destination)}`),
    html("div", { class: "charts" },
      chart("Requests a second", points, point => point.rps, value => number(value, "/s")),
      chart("Errors", points, point => point.error_rate, percent),
      chart("Latency p50", points, point => point.p50_ms, millis),
      chart("Latency p99", points, point => point.p99_ms, millis),
      ...(chosen.connections > 0 ? [chart("Bytes of connections a second", points, point => point.bytes_per_second, bytes)] : [])));
}

/** Asks the collector and shows what it says; the text tells how much there was. */
export async function refresh() {
  const graph = await ask("/api/graph?window=30s");
  const choose = edge => { chosen = edge; table(graph.edges, choose); detail(); };
  draw(graph.edges, choose);
  table(graph.edges, choose);
  await detail();
  return `${graph.totals.requests} requests, ${percent(graph.totals.mtls_share)} of those within the mesh encrypted`;
}
