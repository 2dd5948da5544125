// How the operator stands on the chain, as the host was told.

import { by, describe, el } from "./dom.js";
import { ago, duration, moment, name, tokens, whole } from "./format.js";

// Called every second: the countdown moves by itself.
export function draw(status) {
  const { settles, chain } = status;
  if (!settles) return describe(by("chain-facts"), [["Settles", "nowhere: this node registers and is paid on no chain"]]);
  const rows = [];
  if (chain) {
    const left = (chain.live_until ?? 0) - Date.now() / 1000;
    const expires = chain.live_until === null ? "not registered"
      : left > 0 ? [el("strong", { id: "countdown" }, duration(left)), " left · ", moment(chain.live_until)]
      : [el("strong", { class: "bad", id: "countdown" }, "expired"), " · ", moment(chain.live_until)];
    rows.push(["Registration", expires].flat());
    rows.push(["Earns", chain.earns ? "yes: the work of this key is settled" : "no, not now"]);
    rows.push(["Settled", `${whole(chain.settled)} proofs, ${whole(chain.units)} multiply-accumulates`]);
    rows.push(["Balance", tokens(chain.balance, chain.simulated)], ["Bond", tokens(chain.bond, chain.simulated)]);
    rows.push(["Under way", `${whole(chain.under_way)} transactions${chain.waits ? ", and something waits for the operator" : ""}`]);
    rows.push(["Owner", name(chain.owner)]);
  }
  rows.push(["Chain", String(settles.chain_id)], ["Ledger", name(settles.ledger)]);
  if (chain) rows.push(["Asked", ago(chain.asked_at)]);
  describe(by("chain-facts"), rows);
}
