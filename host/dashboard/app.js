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
  let checked = false;
  try {
    const looked = await node.status();
    if (looked === null) throw new Error("what answers here is no Glacier node");
    status = looked;
    const up = status.state === "up";
    state(up ? "up" : "down", up ? "enclave is up" : "enclave is being started again");
    // First, and by itself: the verdict is of now, whatever else cannot be drawn.
    const failed = [];
    await identity.check(status, verifier).then(() => (checked = true), (error) => failed.push(error));
    const parts = await Promise.allSettled([figures(), traffic.refresh(), proofs.refresh(status, verifier)]);
    failed.push(...parts.filter((part) => part.status === "rejected").map((part) => part.reason));
    if (failed.length) throw failed[0];
  } catch (error) {
    if (!checked) identity.forget(error.message);
    state("away", `no answer: ${error.message}`);
  } finally {
    running = false;
  }
}

async function figures() {
  put(by("version"), status.version);
  traffic.tiles(status);
  chain.draw(status);
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
