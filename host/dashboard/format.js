// Numbers, times and names as people read them.

import { el } from "./dom.js";

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const SIZES = ["B", "kB", "MB", "GB", "TB", "PB"];

export const whole = (number) => WHOLE.format(number);
export const short = (number) => SHORT.format(number);

export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < SIZES.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${short(value)} ${SIZES[unit]}`;
}

export function share(part) {
  if (part > 0 && part < 0.001) return "under 0.1 %";
  return `${SHORT.format(part * 100)} %`;
}

export function duration(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let rest = all;
  const said = [];
  for (const [length, unit] of parts) {
    const count = Math.floor(rest / length);
    rest -= count * length;
    if (count > 0 || (unit === "s" && said.length === 0)) said.push(`${count} ${unit}`);
  }
  return said.slice(0, 2).join(" ");
}

export function moment(seconds) {
  const date = new Date(Number(seconds) * 1000);
  const text = Number.isNaN(date.getTime()) ? String(seconds) : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return el("time", { datetime: Number.isNaN(date.getTime()) ? null : date.toISOString() }, text);
}

export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}

export const ago = (seconds) => `${duration(Date.now() / 1000 - seconds)} ago`;

// A long name, whole, in a face that tells its characters apart.
export const name = (text) => el("code", { class: "name" }, text ?? "–");

// Tokens of an amount in units of 10^-18.
export function tokens(amount, simulated) {
  if (!/^[0-9]{1,60}$/.test(amount)) return "no amount that can be read";
  const units = BigInt(amount);
  const part = String(units % 10n ** 18n).padStart(18, "0").slice(0, 4);
  return `${WHOLE.format(units / 10n ** 18n)}.${part} ${simulated ? "sGLC (SIMULATED)" : "GLC"}`;
}
