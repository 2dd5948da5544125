// Work Proofs, newest first, each checked here: its signature, the enclave behind its key, its place in the log.

import { announce, by, el, put } from "./dom.js";
import { ago, moment, name, whole } from "./format.js";
import { admittedRoot, evidenceOf } from "./identity.js";
import * as node from "./node.js";
import { branch, worst } from "./tree.js";
import { ask, now } from "./verifier.js";

const PAGE = 20;
const WORK = { inference: "Inference", training: "Training", federation: "Federation", app: "Application", deployment: "Answer of a served model" };

// Number of arrival -> { stored, answer, item, covered }.
const entries = new Map();
// Enclave key -> { text, answer, size }: the newest head of its log.
const logs = new Map();
let wanted = PAGE;
let busy = false;

export async function refresh(status, verifier) {
  if (busy) return;
  busy = true;
  try {
    await fetchNewest(status.proofs);
    if (verifier) await verify();
    summary(status, verifier);
    for (const { item, stored } of entries.values()) {
      const when = item.querySelector(".when");
      if (when) put(when, ago(stored.arrived));
    }
  } finally {
    busy = false;
  }
}

async function fetchNewest(count) {
  const first = Math.max(0, count - wanted);
  const missing = [...Array(count - first).keys()].map((at) => first + at).filter((number) => !entries.has(number));
  let from = missing[0];
  while (from !== undefined && from < count) {
    const page = await node.proofs(from);
    for (const stored of page.proofs) if (!entries.has(stored.number)) add(stored);
    if (page.next === from) break;
    from = page.next;
  }
  by("older").hidden = entries.size === 0 || entries.size >= count;
}

function add(stored) {
  const item = el("li", { "data-number": stored.number, "data-verdict": "unchecked" });
  entries.set(stored.number, { stored, item, answer: null, covered: false });
  const list = by("proof-list");
  const below = [...list.children].find((other) => Number(other.dataset.number) < stored.number);
  list.insertBefore(item, below ?? null);
  item.append(el("p", { class: "head" }, `Proof ${stored.number}, arrived `, moment(stored.arrived), " · not checked"));
}

async function verify() {
  const fresh = new Set();
  for (const entry of [...entries.values()].sort((one, other) => other.stored.number - one.stored.number)) {
    if (entry.answer !== null && (entry.covered || !changed(entry))) continue;
    try {
      await verifyOne(entry, fresh);
    } catch (error) {
      refuse(entry, error);
    }
  }
}

const changed = (entry) => entry.key !== undefined && (logs.get(entry.key)?.asked ?? 0) < Date.now() - 10000;

async function verifyOne(entry, fresh) {
  const proof = entry.stored.proof;
  const bare = { ask: "proof", proof, evidence: null, simulated_root: null, head: null, inclusion: null, at: now() };
  const peek = entry.answer ?? (await ask(bare));
  entry.key = peek.enclave_key;
  if (!fresh.has(entry.key)) {
    fresh.add(entry.key);
    await readLog(entry.key);
  }
  const evidence = await evidenceOf(entry.key);
  const log = logs.get(entry.key);
  const covered = log.size > peek.sequence;
  const inclusion = covered ? await node.inclusion(entry.key, peek.sequence, log.size) : null;
  const question = { ...bare, evidence, simulated_root: admittedRoot(entry.key), head: covered ? log.text : null, inclusion };
  entry.answer = await ask(question);
  [entry.covered, entry.log] = [covered, log.answer];
  if (covered && inclusion === null) missing(entry);
  link(entry);
  draw(entry);
}

// A head covers the proof and the node does not show its place: that is no gap, it is a refusal.
function missing(entry) {
  const line = entry.answer.checks.find((check) => check.id === "log-inclusion");
  Object.assign(line, { outcome: "fail", reason: "the node does not show where the proof stands under the signed head" });
  entry.answer.verdict = "rejected";
}

// The newest head of a key's log, held against the one that this browser remembers.
async function readLog(key) {
  const text = await node.head(key);
  if (text === null) return logs.set(key, { text: null, size: 0, answer: null, asked: Date.now() });
  const before = remembered(key);
  const size = JSON.parse(text).checkpoint?.checkpoint.size ?? 0;
  const apart = before !== null && size > before.size && before.size > 0;
  const consistency = apart ? await node.consistency(key, before.size, size) : null;
  let answer;
  try {
    answer = await ask({ ask: "log", key, head: text, before, consistency });
  } catch (error) {
    answer = { verdict: "rejected", checks: [{ id: "checkpoint-signature", outcome: "fail", reason: error.message }], head: null };
  }
  if (answer.head) remember(key, answer.head);
  logs.set(key, { text, size, answer, asked: Date.now() });
}

// Kept from visit to visit where the browser allows, else as long as the page is open.
const heads = new Map();
function remembered(key) {
  if (heads.has(key)) return heads.get(key);
  try {
    return JSON.parse(localStorage.getItem(`glacier-head-${key}`));
  } catch {
    return null;
  }
}

function remember(key, head) {
  heads.set(key, head);
  try {
    localStorage.setItem(`glacier-head-${key}`, JSON.stringify(head));
  } catch {
    // A browser that keeps nothing compares within this visit only.
  }
}

// Each proof names the one before: where that is here, too, they have to fit.
function link(entry) {
  const neighbour = (step) => [...entries.values()].find((other) =>
    other.key === entry.key && other.answer && other.answer.sequence === entry.answer.sequence + step);
  const before = neighbour(-1);
  if (before) chainLine(entry, before);
  const after = neighbour(1);
  if (after) {
    chainLine(after, entry);
    draw(after);
  }
}

function chainLine(entry, before) {
  const fits = entry.answer.previous === before.answer.hash;
  const checks = entry.answer.checks.filter((check) => check.id !== "proof-chain");
  checks.push({ id: "proof-chain", outcome: fits ? "pass" : "fail", reason: fits ? "holds" : "it names another proof as the one before" });
  entry.answer.checks = checks;
  if (!fits) entry.answer.verdict = "rejected";
}

const VERDICTS = {
  accepted: ["pass", "✓", "verified"],
  rejected: ["fail", "✗", "rejected"],
  undetermined: ["skip", "–", "undetermined"],
};

function draw(entry) {
  const { answer, item, stored, log } = entry;
  const logs = log ? log.checks : [];
  const verdict = log?.verdict === "rejected" ? "rejected" : answer.verdict;
  const [kind, sign, word] = VERDICTS[verdict];
  const open = item.querySelector("details.proof")?.open ?? false;
  const simulated = answer.platform === "simulated" ? el("strong", { class: "sim" }, "SIMULATED") : answer.platform;
  const summary = el("summary", {},
    el("span", { class: `mark ${kind}`, "aria-hidden": "true" }, sign),
    el("span", { class: "word" }, word), el("span", { class: "kind" }, WORK[answer.work] ?? answer.work),
    el("span", { class: "units" }, `${whole(BigInt(answer.units))} units`), el("span", { class: "seq" }, `№ ${answer.sequence}`),
    simulated, el("span", { class: "when" }, ago(stored.arrived)));
  const row = (term, ...content) => el("div", {}, el("dt", {}, term), el("dd", {}, ...content));
  const ledger = answer.chain_id === "0" ? "none" : `chain ${answer.chain_id}, ${answer.ledger}`;
  const facts = el("dl", { class: "facts" },
    row("Arrived", moment(stored.arrived)), row("Work", `${WORK[answer.work] ?? answer.work}, ${whole(BigInt(answer.units))} multiply-accumulates`),
    row("Ledger", name(ledger)), row("Job (manifest)", name(answer.manifest)), row("Model", name(answer.model)),
    row("Input (commitment)", name(answer.input)), row("Output (commitment)", name(answer.output)),
    row("Signed by", name(answer.enclave_key)), row("Code", name(answer.measurement)));
  const failing = verdict === "rejected";
  const branches = [branch("Proof", answer.checks, true)];
  if (logs.length) branches.push(branch("Log of its key", logs, worst(logs) === "fail"));
  if (answer.evidence.length) branches.push(branch("Evidence behind its key", answer.evidence, false));
  const why = [...answer.checks, ...logs].find((check) => check.outcome === "fail");
  const aged = verdict === "undetermined" && answer.genuine_until !== null;
  item.dataset.verdict = verdict;
  const details = el("details", { class: "proof", open: open || failing }, summary,
    why ? el("p", { class: "verdict fail" }, `Rejected: ${why.reason}.`) : null,
    aged ? el("p", { class: "verdict warn" }, "Sound, by evidence that was genuine until ", moment(answer.genuine_until), " and has expired since.") : null, el("div", { class: "tree" }, branches), facts);
  item.replaceChildren(details);
}

function refuse(entry, error) {
  const item = entry.item;
  item.dataset.verdict = "rejected";
  item.replaceChildren(el("p", { class: "verdict fail" }, `Proof ${entry.stored.number} rejected: ${error.message}.`));
}

function summary(status, verifier) {
  const all = [...entries.values()];
  const count = (verdict) => all.filter(({ item }) => item.dataset.verdict === verdict).length;
  const [good, bad, open] = [count("accepted"), count("rejected"), count("undetermined")];
  const shown = `${whole(all.length)} of ${whole(status.proofs)} shown`;
  const covered = all.filter((entry) => entry.covered).length;
  const text =
    status.proofs === 0 ? "No work was proved here yet."
    : !verifier ? `${shown}, none checked: WebAssembly cannot be had in this browser.`
    : bad > 0 ? `${shown}. ${bad} REJECTED: this node shows proofs or a log that do not hold.`
    : `${shown}, ${good} verified in this browser, ${covered} under a signed head of the log${open > 0 ? `; ${open} undetermined` : ""}.`;
  const element = by("log");
  if (element.textContent !== text && bad > 0) announce(text);
  element.className = `logline ${bad > 0 ? "bad" : ""}`;
  put(element, text);
}

by("older").addEventListener("click", () => {
  wanted += PAGE;
  document.dispatchEvent(new Event("glacier-refresh"));
});
