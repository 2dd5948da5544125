// The page's clock: what is asked of the node when, and which part draws it.

import * as chain from "./chain.js";
import { announce, by, put } from "./dom.js";
import * as identity from "./identity.js";
import * as node from "./node.js";
import * as proofs from "./proofs.js";
import * as traffic from "./traffic.js";
import { load } from "./verifier.js";

const PAUSE = 5000;

let status = null;
let verifier = false;
let running = false;

async function refresh() {
  if (running) return;
  running = true;
  try {
    status = await node.status();
    if (status === null) throw new Error("what answers here is no Glacier node");
    state(status.state === "up" ? "up" : "down", status.state === "up" ? "enclave is up" : "enclave is being started again");
    put(by("version"), status.version);
    traffic.tiles(status);
    chain.draw(status);
    const parts = await Promise.allSettled([identity.check(status, verifier), traffic.refresh(), proofs.refresh(status, verifier)]);
    const failed = parts.find((part) => part.status === "rejected");
    if (failed) throw failed.reason;
  } catch (error) {
    state("away", `no answer: ${error.message}`);
  } finally {
    running = false;
  }
}

function state(kind, text) {
  const element = by("state");
  if (by("state-text").textContent !== text && element.dataset.state) announce(text);
  element.dataset.state = kind;
  put(by("state-text"), text);
}

verifier = await load();
await refresh();
document.documentElement.dataset.ready = "yes";
setInterval(() => {
  // Nobody looks: nothing is asked.
  if (document.visibilityState === "visible") refresh();
}, PAUSE);
setInterval(() => {
  if (status !== null && document.visibilityState === "visible") chain.draw(status);
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") refresh();
});
document.addEventListener("glacier-refresh", refresh);
