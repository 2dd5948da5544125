// What the host carries: sums, and the last hour.

import { by, describe, el } from "./dom.js";
import { duration, share, short, size, whole } from "./format.js";
import * as node from "./node.js";
import { plot } from "./plot.js";

const MOST = 720;
const inputs = [...document.querySelectorAll("input[name=range]")];
const hour = { next: 0, columns: null, interval: 5 };
let [range, chosen, drawn] = [MOST, false, ""];

export function tiles(status) {
  const part = status.store_max_bytes > 0 ? status.store_bytes / status.store_max_bytes : 0;
  describe(by("tiles"), [
    ["Sessions now", whole(status.relayed_now)],
    ["Sessions in all", whole(status.relayed_connections)],
    ["To the enclave", size(status.bytes_to_enclave)],
    ["To clients", size(status.bytes_to_clients)],
    ["Proofs kept", whole(status.proofs)],
    ["Store", size(status.store_bytes), el("span", { class: "sub" }, `${whole(status.blobs)} assets, ${share(part)} full`)],
    ["Up for", duration(status.uptime_seconds)],
    ["Restarts of the enclave", whole(status.restarts)],
  ]);
}

export async function refresh() {
  const page = await node.samples(hour.next);
  if (page === null) return;
  const { interval_seconds: interval, next, ...columns } = page;
  if (next < hour.next) {
    // A node that was started again counts from the beginning.
    [hour.next, hour.columns] = [0, null];
    return refresh();
  }
  hour.columns = hour.columns === null ? columns : Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, [...hour.columns[name], ...values].slice(-MOST)]));
  [hour.next, hour.interval] = [next, interval];
  if (!chosen) fit(hour.columns.at.length);
  draw();
}

function draw() {
  const key = `${hour.next} ${range}`;
  // A table that somebody reads is not pulled away.
  if (key === drawn || hour.columns === null || by("plots").querySelector("details[open]")) return;
  drawn = key;
  const of = (name, scale = 1) => hour.columns[name].slice(-range).map((value) => (value === null ? null : value * scale));
  const [at, per, span] = [of("at"), 1 / hour.interval, range * hour.interval];
  by("plots").replaceChildren(
    plot({ title: "Sessions", unit: "open now; begun per minute", at, span, text: short,
      series: [{ name: "open", values: of("relayed_now") }, { name: "begun/min", values: of("connections", 60 * per) }] }),
    plot({ title: "Throughput", unit: "bytes per second", at, span, text: size,
      series: [{ name: "to the enclave", values: of("bytes_to_enclave", per) }, { name: "to clients", values: of("bytes_to_clients", per) }] }),
    plot({ title: "Answers of the enclave", unit: "milliseconds", at, span, text: short,
      series: [{ name: "half within", values: of("answer_p50", 1e-3) }, { name: "95 % within", values: of("answer_p95", 1e-3) }] }),
    plot({ title: "The host's own work, 95 % within", unit: "milliseconds", at, span, text: short,
      series: [{ name: "answers", values: of("request_p95", 1e-3) }, { name: "proofs to disk", values: of("publish_p95", 1e-3) }] }),
    plot({ title: "Work Proofs", unit: "per minute", at, span, text: short,
      series: [{ name: "proofs", values: of("proofs", 60 * per) }] }),
  );
}

// Until somebody chooses, the period is the shortest that shows all there is.
function fit(samples) {
  const input = inputs.find(({ value }) => Number(value) >= samples) ?? inputs.at(-1);
  input.checked = true;
  range = Number(input.value);
}

for (const input of inputs) {
  input.addEventListener("change", () => {
    [range, chosen] = [Number(input.value), true];
    draw();
  });
}
