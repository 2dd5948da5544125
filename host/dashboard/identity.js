// Who works here: the enclave's evidence, checked in this browser, or the node's claims where it cannot check.

import { announce, by, describe, el, put } from "./dom.js";
import { ago, moment, name } from "./format.js";
import * as node from "./node.js";
import { branch } from "./tree.js";
import { ask, now } from "./verifier.js";

const BRANCHES = [
  ["Root of trust and collateral", ["trust-anchor", "root-crl", "pck-crl", "tcb-info", "qe-identity", "collateral-current"]],
  ["Chip", ["pck-chain", "pck-revocation", "platform-model", "td-module", "tcb-level", "vek-chain", "vek-revocation", "vek-binding"]],
  ["Quote", ["format", "structure", "qe-report", "attestation-key", "quoting-enclave", "quote-signature", "report-signature"]],
  ["Keys of this enclave", ["evidence-purpose", "report-data", "device-binding"]],
];

// Where there is room, the root of it all stands open.
const wide = matchMedia("(min-width: 52rem)");

let found = null;
let shown = "";

// The simulated root that this page admitted for a key's evidence; proofs of that key are judged under it.
const admitted = new Map();
export const admittedRoot = (key) => admitted.get(key) ?? null;

const pages = new Map();

// Evidence of a key, as text, judged once; null where the node has none.
export async function evidenceOf(key) {
  const known = pages.get(key);
  if (known && (known.text !== null || Date.now() - known.asked < 60000)) return known.text;
  const text = await node.evidence(key);
  if (text !== null) {
    try {
      admitted.set(key, (await ask({ ask: "evidence", page: text, at: now() })).simulated_root);
    } catch {
      admitted.set(key, null);
    }
  }
  pages.set(key, { text, asked: Date.now() });
  return text;
}

export async function check(status, verifier) {
  if (!verifier) return claims(status, "WebAssembly cannot be had in this browser");
  const text = await node.evidence(null);
  if (text === null) {
    const why = status.state === "up" ? "The node shows no evidence of its enclave" : "No enclave runs now: it is being started again";
    return claims(status, why);
  }
  // Judged anew each time, since time passes; drawn anew only when something else came out.
  let answer;
  try {
    answer = await ask({ ask: "evidence", page: text, at: now() });
  } catch (error) {
    answer = { verdict: "rejected", checks: [], said: null, claims: null, simulated_root: null, unreadable: error.message };
  }
  draw(answer, status);
}

// Nothing was heard just now: what was found before is not said of now.
export function forget(why) {
  const text = `Not checked now: ${why}.`;
  const element = by("verdict");
  if (element.textContent !== text) announce(text);
  element.className = "verdict warn";
  element.dataset.verdict = "none";
  put(element, text);
  [shown, found] = ["", null];
  by("tree").replaceChildren();
  describe(by("facts"), []);
  by("band").className = "band";
  put(by("band"), "Nothing is known of the hardware here.");
  compare();
}

// What genuine evidence says against what it vouches for: it tells these and does not judge them.
function openings(answer) {
  const { said } = answer;
  if (answer.verdict !== "accepted") return [];
  const firmware = said.tcb_status !== null && said.tcb_status !== "UpToDate";
  return [...said.exposures, ...(firmware ? [`firmware is not up to date: ${said.tcb_status}`] : [])];
}

const debug = (answer) => answer.verdict === "accepted" && answer.said.debug;

function draw(answer, status) {
  const drawn = JSON.stringify(answer);
  if (drawn !== shown) {
    shown = drawn;
    found = answer.verdict === "accepted" ? answer.said : null;
    if (answer.claims) admitted.set(answer.claims.enclave_key, answer.simulated_root);
    verdict(answer);
    by("tree").replaceChildren(...tree(answer.checks));
  }
  facts(answer, status);
  band(answer);
  compare();
}

function verdict(answer) {
  const failed = answer.checks.find((check) => check.outcome === "fail");
  const simulated = answer.simulated_root !== null;
  const open = openings(answer);
  const but = open.length ? ` It lets in: ${open.join("; ")}.` : "";
  const [kind, text] =
    answer.unreadable ? ["fail", `Rejected: ${answer.unreadable}.`]
    : debug(answer) ? ["fail", `${simulated ? "SIMULATED, and open" : "Genuine hardware, but open"}: ${open.join("; ")}. Do not send anything private to this node.`]
    : answer.verdict === "accepted" && simulated ? ["warn", `Sound, but SIMULATED: checked in this browser, under a root of trust that software made.${but}`]
    : answer.verdict === "accepted" && open.length ? ["warn", `Genuine hardware, with reservations: checked in this browser, up to the maker's root.${but}`]
    : answer.verdict === "accepted" ? ["pass", "Genuine hardware: checked in this browser, up to the maker's root."]
    : answer.verdict === "rejected" ? ["fail", `Rejected: ${failed ? failed.reason : "the evidence does not hold"}. Do not send anything private to this node.`]
    : ["warn", "Undetermined, so not accepted: not everything that is needed was shown. On Intel hardware it never is: glacier verify evidence takes the maker's collateral beside it."];
  const element = by("verdict");
  element.className = `verdict ${kind}`;
  element.dataset.verdict = answer.verdict;
  put(element, text);
  announce(text);
}

function tree(checks) {
  const rest = checks.filter((check) => check.device !== undefined);
  const own = checks.filter((check) => check.device === undefined);
  const known = new Set(BRANCHES.flatMap(([, ids]) => ids));
  const branches = BRANCHES.map(([title, ids]) => [title, own.filter((check) => ids.includes(check.id))]);
  branches.push(["Devices", rest], ["Other", own.filter((check) => !known.has(check.id))]);
  return branches.filter(([, list]) => list.length > 0).map(([title, list], number) => branch(title, list, number === 0 && wide.matches));
}

function facts(answer, status) {
  const { said, claims: keys } = answer;
  const rows = [];
  if (said) {
    rows.push(["Platform", said.platform === "simulated" ? el("strong", { class: "sim" }, "SIMULATED") : said.platform.toUpperCase()]);
    rows.push(["Code (measurement)", name(said.measurement)]);
    rows.push(["Chip (enclave id)", name(said.enclave_id)]);
    rows.push([answer.simulated_root ? "Root of trust (simulated, admitted by this page)" : "Root of trust (vendor's)", name(said.root)]);
    rows.push(["Firmware", said.tcb_status ?? "see the checks"]);
    if (said.exposures.length) rows.push(["Lets in", said.exposures.join(", ")]);
    rows.push(["Genuine until", moment(said.valid_until)]);
  }
  if (keys) {
    rows.push(["Key that signs proofs", name(keys.enclave_key)]);
    rows.push(["Evidence made", moment(keys.issued_at), ` · ${ago(keys.issued_at)}, by the node's clock`]);
  }
  if (rows.length === 0 && status.enclave) rows.push(...claimed(status.enclave));
  describe(by("facts"), rows);
}

function band(answer) {
  const element = by("band");
  const simulated = answer.simulated_root !== null;
  const accepted = answer.verdict === "accepted";
  const open = openings(answer).length > 0;
  element.className = `band ${simulated ? "simulated" : accepted && open ? "open" : accepted ? "hardware" : ""}`;
  put(element, simulated
    ? "SIMULATED · no hardware protects what is given to this enclave. For trying out, never for private data."
    : debug(answer) ? "Debug is on · the host can read this enclave's memory, whatever the hardware."
    : accepted && open ? "Confidential hardware, by its maker's signature, with reservations: see below."
    : accepted ? "Confidential hardware, by its maker's signature." : "Nothing is known of the hardware here.");
}

const claimed = (chip) => [
  ["Claimed platform", chip.simulated ? el("strong", { class: "sim" }, "SIMULATED") : "hardware"],
  ["Claimed code", name(chip.measurement)],
  ["Claimed chip", name(chip.enclave_id)],
  ["Claimed root", name(chip.root_fingerprint)],
];

// Where nothing can be checked: what the node says, and that it is no more than that.
function claims(status, why) {
  const text = `Not checked: ${why}. What stands below are the node's claims.`;
  const element = by("verdict");
  if (element.textContent !== text) announce(text);
  element.className = "verdict warn";
  element.dataset.verdict = "claims";
  put(element, text);
  [shown, found] = ["", null];
  by("tree").replaceChildren(el("p", { class: "empty" }, "No check was made here. glacier verify node URL makes them all."));
  describe(by("facts"), status.enclave ? claimed(status.enclave) : []);
  const simulated = status.enclave?.simulated ?? false;
  by("band").className = `band ${simulated ? "simulated" : ""}`;
  put(by("band"), simulated ? "SIMULATED, the node says: no hardware protects what is given to this enclave." : "Nothing is known of the hardware here.");
  compare();
}

function compare() {
  const values = { measurement: found?.measurement, chip: found?.enclave_id, root: found?.root };
  for (const [what, value] of Object.entries(values)) {
    const wanted = by(`expect-${what}`).value.trim().toLowerCase().replace(/^0x/, "");
    const output = by(`found-${what}`);
    const same = value !== undefined && value !== null && wanted === value.toLowerCase().replace(/^0x/, "");
    const [kind, text] =
      wanted === "" ? ["", "nothing to compare"]
      : !found ? ["fail", "✗ nothing here is genuine"]
      : same && found.debug && what === "measurement" ? ["fail", "✗ the same code, but debug is on: the host can change what it does"]
      : same ? ["pass", "✓ the same"]
      : ["fail", "✗ another than this enclave's"];
    output.className = kind;
    put(output, text);
  }
}

for (const what of ["measurement", "chip", "root"]) by(`expect-${what}`).addEventListener("input", compare);
