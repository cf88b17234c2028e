// Which view is shown, and asking the collector for it once a second.

import { byId } from "./dom.js";
import * as graph from "./graph.js";
import * as traces from "./traces.js";

const views = { graph, traces };
let timer = 0;

/** `#graph`, `#traces`, or `#traces/ID`. */
const place = () => {
  const [view, id] = location.hash.slice(1).split("/");
  return { view: view in views ? view : "graph", id };
};

async function refresh() {
  clearTimeout(timer);
  const { view } = place();
  try {
    byId("state").textContent = await views[view].refresh();
  } catch (error) {
    byId("state").textContent = `no answer from the collector: ${error.message}`;
  }
  timer = setTimeout(refresh, 1000);
}

async function show() {
  const { view, id } = place();
  for (const name of Object.keys(views)) byId(`${name}-view`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await refresh();
  if (id) traces.open(id).catch(error => { byId("state").textContent = error.message; });
}

addEventListener("hashchange", show);
traces.start(refresh);
show();
