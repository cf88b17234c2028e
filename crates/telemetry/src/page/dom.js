// Making elements. Text is always text: names come from strangers.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter(child => child !== undefined && child !== null));
  return element;
}

export const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = id => document.getElementById(id);

/** Attributes that make an element do something by mouse and by keyboard alike. */
export const action = (label, run) => ({
  tabindex: 0, role: "button", "aria-label": label, onclick: run,
  onkeydown: event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); run(event); } },
});

export const end = of => of.namespace ? `${of.workload}.${of.namespace}` : of.workload;
export const number = (value, unit, digits = 1) => value === null || value === undefined ? "-" : `${value.toFixed(digits)}${unit}`;
export const percent = share => share === null || share === undefined ? "-" : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 0)} %`;
export const millis = value => value === null || value === undefined ? "-"
  : value >= 1000 ? `${(value / 1000).toFixed(2)} s` : value >= 10 ? `${value.toFixed(0)} ms` : `${value.toFixed(2)} ms`;

export const bytes = value => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"], step = Math.min(units.length - 1, value >= 1 ? Math.floor(Math.log2(value) / 10) : 0);
  return `${(value / 1024 ** step).toFixed(step > 0 && value / 1024 ** step < 10 ? 1 : 0)} ${units[step]}`;
};

export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()).trim() || `status ${answer.status}`);
  return answer.json();
}
