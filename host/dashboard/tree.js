// Lists of checks as a tree that opens.

import { el } from "./dom.js";
import { moment } from "./format.js";

export const MARKS = { pass: "✓", fail: "✗", skip: "–" };
const WORDS = { pass: "holds", fail: "fails", skip: "not checked" };

const LABELS = {
  "format": "Evidence is of a known kind",
  "structure": "Evidence is well-formed",
  "trust-anchor": "All chains end in one trusted root",
  "root-crl": "Root's revocation list is signed by the root",
  "pck-crl": "Chip authority's revocation list is sound",
  "tcb-info": "Firmware levels are signed by the maker",
  "qe-identity": "Quoting enclave's identity is signed by the maker",
  "collateral-current": "All signed parts are current",
  "pck-chain": "Chip's certificate comes from that root",
  "pck-revocation": "Chip is not revoked",
  "qe-report": "Quoting enclave's report is signed by the chip",
  "attestation-key": "Attestation key is vouched for",
  "quoting-enclave": "Quoting enclave is the maker's",
  "quote-signature": "Quote is signed by the attestation key",
  "platform-model": "Firmware levels are for this model",
  "td-module": "TDX module is the maker's",
  "tcb-level": "Firmware level fits and is not withdrawn",
  "vek-chain": "Report key comes from AMD's authority",
  "vek-revocation": "That authority is not revoked",
  "vek-binding": "Report key is this chip's",
  "device-chain": "Device key comes from the boot ROM's, and that from NVIDIA",
  "device-revocation": "Device is not revoked",
  "firmware-id": "Key is certified for this firmware",
  "report-signature": "Report is signed by the chip",
  "report-fields": "Report's fields are understood",
  "driver-rim": "Reference manifest of the driver",
  "vbios-rim": "Reference manifest of the VBIOS",
  "rim-revocation": "Manifests are not revoked",
  "measurements": "Measurements are those of the manifests",
  "device-binding": "Quote commits to these devices",
  "device-nonce": "Device answered this enclave",
  "evidence-purpose": "Made to announce the enclave's keys",
  "report-data": "Quote commits to the keys shown with it",
  "proof-signature": "Signed by the key it names",
  "proof-sequence": "Number and predecessor fit together",
  "proof-chain": "Continues the proof before it",
  "evidence-key": "Evidence commits to that key",
  "evidence": "Evidence of that enclave is genuine",
  "enclave-id": "Names the chip of the evidence",
  "measurement": "Names the code of the evidence",
  "platform": "Says simulated if, and only if, it is",
  "manifest-signatures": "All parties signed the manifest",
  "manifest-binding": "Is about that manifest",
  "checkpoint-signature": "Head of the log is signed by that key",
  "log-inclusion": "Stands in the log at its number",
  "log-key": "Head is of this key's log",
  "log-consistency": "Continues the log that this browser saw before",
};

export const label = (id) => LABELS[id] ?? id;

function reason(check) {
  if (check.reason === "holds") return null;
  const said = check.moment === undefined ? null : String(check.moment);
  const at = said === null ? -1 : check.reason.indexOf(said);
  const parts = at < 0 ? [check.reason] : [check.reason.slice(0, at), moment(check.moment), check.reason.slice(at + said.length)];
  return el("span", { class: "reason" }, ...parts);
}

function mark(outcome) {
  return [
    el("span", { class: `mark ${outcome}`, "aria-hidden": "true" }, MARKS[outcome]),
    el("span", { class: "unseen" }, `${WORDS[outcome]}: `),
  ];
}

export function line(check) {
  const device = check.device === undefined ? "" : `Device ${check.device}: `;
  return el("li", { class: "check", "data-check": check.id, "data-outcome": check.outcome },
    mark(check.outcome), el("span", { class: "what" }, device + label(check.id)),
    el("code", { class: "id" }, check.id), reason(check));
}

export const lines = (checks) => el("ul", { class: "checks" }, checks.map(line));

// The worst of all: a branch is as good as its weakest leaf.
export function worst(checks) {
  for (const outcome of ["fail", "skip"]) if (checks.some((check) => check.outcome === outcome)) return outcome;
  return "pass";
}

export function branch(title, checks, open) {
  const outcome = worst(checks);
  const held = checks.filter((check) => check.outcome === "pass").length;
  return el("details", { class: "branch", open: open || outcome === "fail" },
    el("summary", {}, mark(outcome), title, el("span", { class: "count" }, `${held} of ${checks.length} hold`)), lines(checks));
}
