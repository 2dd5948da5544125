// Elements by calls: no markup is ever made of text.

const SVG = "http://www.w3.org/2000/svg";

export const by = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Terms and descriptions of a list, each `[term, ...content]`. What has not changed is left alone, so that
// neither a selection nor an open part is lost while figures move.
export function describe(list, rows) {
  const wanted = rows.map(([term, ...content]) => el("div", {}, el("dt", {}, term), el("dd", {}, ...content)));
  wanted.forEach((row, at) => {
    const there = list.children[at];
    if (!there) list.append(row);
    else if (!there.isEqualNode(row)) there.replaceWith(row);
  });
  while (list.children.length > wanted.length) list.lastElementChild.remove();
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Says to screen readers what has changed, and nothing that has not.
export function announce(text) {
  put(by("live"), text);
}
