// One plot: a figure drawn by script, with its figures as a table beside it.

import { el, svg } from "./dom.js";
import { clock } from "./format.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [360, 150, 46, 22, 10, 8];
const ROWS = 12;

// The next of 1, 2, 5, 10, 20, … that is not below.
function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// `series`: [{ name, values }], each value a number or null; `at`: seconds since 1970; `text`: how a value is said.
export function plot({ title, unit, series, at, span, text }) {
  const figure = el("figure", { class: "plot" }, el("figcaption", {}, title, el("span", { class: "unit" }, unit)));
  const all = series.flatMap(({ values }) => values).filter((value) => value !== null);
  figure.append(picture({ title, unit, series, at, span, text, all }), legend(series), table(title, series, at, text));
  return figure;
}

function picture({ title, unit, series, at, span, text, all }) {
  const top = nice(all.reduce((most, value) => Math.max(most, value), 0));
  const end = at.at(-1) ?? Math.floor(Date.now() / 1000);
  const x = (time) => LEFT + (WIDTH - LEFT - RIGHT) * (1 - (end - time) / span);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const last = series.map(({ name, values }) => `${name} ${values.length && values.at(-1) !== null ? text(values.at(-1)) : "none"}`);
  const image = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} in ${unit}. Now: ${last.join(", ")}. Axis up to ${text(top)}.` });
  for (const part of [0, 0.5, 1]) {
    image.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(top * part), y2: y(top * part) }));
    image.append(svg("text", { class: "tick", x: LEFT - 5, y: y(top * part) + 3, "text-anchor": "end" }, text(top * part)));
  }
  for (const part of [0, 1 / 3, 2 / 3, 1]) {
    const time = end - span * (1 - part);
    const anchor = part === 0 ? "start" : part === 1 ? "end" : "middle";
    image.append(svg("text", { class: "tick", x: x(time), y: HEIGHT - 6, "text-anchor": anchor }, clock(time)));
  }
  series.forEach(({ values }, number) => {
    image.append(svg("path", { class: `line s${number}`, d: path(values, at, x, y) }));
    values.forEach((value, index) => {
      if (lone(values, index)) image.append(svg("circle", { class: `lone s${number}`, cx: x(at[index]), cy: y(value), r: 2 }));
    });
  });
  if (all.length === 0) image.append(svg("text", { class: "none", x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "nothing yet"));
  return image;
}

// A value between two that are not there makes no line: it is a dot.
const lone = (values, index) => values[index] !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null;

// A line that lifts where there is no value.
function path(values, at, x, y) {
  let [text, drawing] = ["", false];
  values.forEach((value, index) => {
    if (value !== null) text += `${drawing ? "L" : "M"}${x(at[index]).toFixed(1)} ${y(value).toFixed(1)}`;
    drawing = value !== null;
  });
  return text;
}

const legend = (series) => el("p", { class: "legend", "aria-hidden": "true" },
  series.length > 1 ? series.map(({ name }, number) => el("span", { class: `key s${number}` }, name)) : "\u00a0");

function table(title, series, at, text) {
  const step = Math.max(1, Math.ceil(at.length / ROWS));
  const rows = [];
  for (let from = 0; from < at.length; from += step) {
    const most = ({ values }) => {
      const there = values.slice(from, from + step).filter((value) => value !== null);
      return el("td", {}, there.length ? text(Math.max(...there)) : "none");
    };
    rows.push(el("tr", {}, el("th", { scope: "row" }, clock(at[from])), series.map(most)));
  }
  const head = el("tr", {}, el("th", { scope: "col" }, "From"), series.map(({ name }) => el("th", { scope: "col" }, `${name}, most`)));
  return el("details", { class: "figures" }, el("summary", {}, "As a table"),
    el("table", {}, el("caption", { class: "unseen" }, title), el("thead", {}, head), el("tbody", {}, rows)));
}
