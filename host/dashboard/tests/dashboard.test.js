// The page of a real node in a real browser: what is sound is shown so, and whatever a dishonest node alters is said in words.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { Copy, Node, Stranger, browse, open, until } from "./rig.js";

const run = promisify(execFile);
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

let [browser, plain, chained] = [];

before(async () => {
  [browser, plain, chained] = await Promise.all([browse(), Node.start("--no-chain"), Node.start()]);
  await until(async () => (await chained.status()).chain?.live_until);
  await Promise.all([plain.infer(), chained.infer()]);
  await until(async () => {
    const { enclave_key: key } = await (await fetch(`${chained.url}/evidence`)).json();
    return (await (await fetch(`${chained.url}/log/${key}/head`)).json()).checkpoint?.checkpoint.size >= 1;
  });
});

after(async () => {
  await browser?.close();
  await Promise.all([plain?.stop(), chained?.stop()]);
});

const text = (page, selector) => page.locator(selector).innerText();
const verdict = (page) => page.locator("#verdict").getAttribute("data-verdict");
const proof = (page) => page.locator("#proof-list > li").first();
const outcomes = (scope) => scope.locator(".check").evaluateAll((checks) =>
  Object.fromEntries(checks.map((check) => [check.dataset.check, check.dataset.outcome])));

function innocent(noted) {
  assert.deepEqual(noted, { elsewhere: [], violations: [], errors: [] });
}

async function accessible(page) {
  // Through the driver, not as a script of the page: its policy stays in force.
  await page.evaluate(`${AXE}; undefined`);
  const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html.slice(0, 120))]), []);
}

// Alters one hexadecimal digit of a string somewhere in an answer.
const flip = (hex, at) => hex.slice(0, at) + (hex[at] === "0" ? "1" : "0") + hex.slice(at + 1);
const altered = (of, change) => (path, body) => {
  if (!path.startsWith(of)) return undefined;
  const page = JSON.parse(body);
  change(page);
  return JSON.stringify(page);
};

describe("a node as it is", () => {
  test("its evidence is checked in the browser, and SIMULATED is in plain sight", async () => {
    const { page, noted, close } = await open(browser, plain.url);
    assert.equal(await verdict(page), "accepted");
    assert.match(await text(page, "#verdict"), /SIMULATED/);
    assert.match(await text(page, "#band"), /^SIMULATED · no hardware protects/);
    const found = await outcomes(page.locator("#tree"));
    assert.ok(Object.keys(found).length >= 18, JSON.stringify(found));
    assert.ok(Object.values(found).every((outcome) => outcome === "pass"), JSON.stringify(found));
    const facts = await text(page, "#facts");
    for (const value of [plain.said.measurement, plain.said.enclave_id, plain.said.root_fingerprint]) assert.ok(facts.includes(value));
    assert.match(facts, /Root of trust \(simulated, admitted by this page\)/);
    innocent(noted);
    await close();
  });

  test("its proof is verified; without a ledger no head is signed, and that is said", async () => {
    const { page, close } = await open(browser, plain.url);
    assert.equal(await proof(page).getAttribute("data-verdict"), "accepted");
    const found = await outcomes(proof(page));
    assert.equal(found["proof-signature"], "pass");
    assert.equal(found.evidence, "pass");
    assert.equal(found["log-inclusion"], "skip");
    assert.equal(found["manifest-signatures"], "skip");
    assert.match(await text(page, "#log"), /1 verified in this browser, 0 under a signed head/);
    assert.match(await text(page, "#chain"), /nowhere/);
    await close();
  });

  test("on a chain the proof stands in the signed log, and the registration counts down", async () => {
    const { page, noted, close } = await open(browser, chained.url);
    const found = await outcomes(proof(page));
    assert.equal(found["checkpoint-signature"], "pass");
    assert.equal(found["log-inclusion"], "pass");
    assert.match(await text(page, "#log"), /1 under a signed head/);
    const countdown = await text(page, "#countdown");
    assert.match(countdown, /^\d+ (d|h|min|s)/);
    assert.match(await text(page, "#chain-facts"), /sGLC \(SIMULATED\)/);
    // On the second visit the log is held against what this browser saw.
    await page.reload();
    await page.waitForSelector("html[data-ready=yes]");
    assert.equal((await outcomes(proof(page)))["log-consistency"], "pass");
    innocent(noted);
    await close();
  });

  test("a reader's own copy of the page verifies the same", async () => {
    const copy = await Copy.of(chained);
    const { page, noted, close } = await open(browser, copy.url);
    assert.equal(await verdict(page), "accepted");
    assert.equal(await proof(page).getAttribute("data-verdict"), "accepted");
    assert.equal((await fetch(`${copy.url}/blobs/${"ab".repeat(32)}`)).status, 404);
    innocent(noted);
    await close();
    await copy.stop();
  });

  test("values from elsewhere are compared with what was verified", async () => {
    const { page, close } = await open(browser, plain.url);
    await page.locator("#compare > summary").click();
    await page.fill("#expect-measurement", `0x${plain.said.measurement.replace(/^0x/, "").toUpperCase()}`);
    await page.fill("#expect-chip", "ab".repeat(32));
    assert.match(await text(page, "#found-measurement"), /the same/);
    assert.match(await text(page, "#found-chip"), /another than this enclave's/);
    await close();
  });

  test("a former enclave's proofs are still checked after the enclave was started again", async () => {
    const { enclave } = await plain.status();
    process.kill(enclave.pid, "SIGKILL");
    await until(async () => (await plain.status()).enclave?.pid > 0 && (await plain.status()).restarts > 0);
    await until(async () => (await fetch(`${plain.url}/evidence`)).ok);
    await plain.infer();
    const { page, close } = await open(browser, plain.url);
    const verdicts = await page.locator("#proof-list > li").evaluateAll((items) => items.map((item) => item.dataset.verdict));
    assert.deepEqual(verdicts, ["accepted", "accepted"]);
    assert.match(await text(page, "#tiles"), /Restarts of the enclave\s*1/);
    await close();
  });
});

describe("a dishonest node", () => {
  const before = async (node, tamper, look, options) => {
    const stranger = await Stranger.before(node, tamper);
    const opened = await open(browser, stranger.url, options);
    try {
      await look(opened.page, stranger);
    } finally {
      await opened.close();
      await stranger.stop();
    }
  };

  test("altered evidence is rejected, with the check that fails", async () => {
    // Byte 112 of a quote is the first of MRENCLAVE: the report is no longer what was signed.
    const tamper = altered("/evidence", (page) => (page.evidence.quote = flip(page.evidence.quote, 2 * 112)));
    await before(plain, tamper, async (page) => {
      assert.equal(await verdict(page), "rejected");
      assert.match(await text(page, "#verdict"), /^Rejected: .*signature.*Do not send anything private/);
      assert.equal((await outcomes(page.locator("#tree")))["quote-signature"], "fail");
      assert.match(await text(page, "#facts"), /Key that signs proofs/);
      assert.ok(!(await text(page, "#facts")).includes("Code (measurement)"));
    });
  });

  test("genuine evidence beside other keys is rejected", async () => {
    const other = (await (await fetch(`${chained.url}/evidence`)).json()).evidence.claims;
    await before(plain, altered("/evidence", (page) => (page.evidence.claims = other)), async (page) => {
      assert.equal(await verdict(page), "rejected");
      assert.match(await text(page, "#verdict"), /other keys than those shown with it/);
    });
  });

  test("what is no evidence is rejected, and never taken for a yes", async () => {
    await before(plain, (path) => (path.startsWith("/evidence") ? '{"evidence":7}' : undefined), async (page) => {
      assert.equal(await verdict(page), "rejected");
      assert.match(await text(page, "#verdict"), /evidence cannot be read/);
    });
  });

  test("an altered proof is rejected", async () => {
    const tamper = altered("/proofs", (page) => page.proofs.forEach((stored) => (stored.proof = flip(stored.proof, stored.proof.length - 20))));
    await before(chained, tamper, async (page) => {
      assert.equal(await proof(page).getAttribute("data-verdict"), "rejected");
      assert.match(await text(page, "#log"), /REJECTED/);
    });
  });

  test("an altered head of the log is rejected", async () => {
    const tamper = altered("/log/", (page) => {
      if (page.checkpoint) page.checkpoint.checkpoint.root = flip(page.checkpoint.checkpoint.root, 20);
    });
    await before(chained, tamper, async (page) => {
      assert.equal(await proof(page).getAttribute("data-verdict"), "rejected");
      assert.equal((await outcomes(proof(page)))["checkpoint-signature"], "fail");
    });
  });

  test("a place in the log that is not shown, or another, is rejected", async () => {
    const tamper = altered("/log/", (page) => {
      if (page.path) page.path = ["ab".repeat(32)];
    });
    await before(chained, tamper, async (page) => {
      assert.equal((await outcomes(proof(page)))["log-inclusion"], "fail");
      assert.match(await text(page, "#log"), /REJECTED/);
    });
  });

  test("a log that forgets what this browser saw is rejected", async () => {
    await before(chained, () => undefined, async (page, stranger) => {
      assert.equal(await proof(page).getAttribute("data-verdict"), "accepted");
      stranger.tamper = altered("/log/", (body) => {
        if ("checkpoint" in body) body.checkpoint = null;
      });
      await page.reload();
      await page.waitForSelector("html[data-ready=yes]");
      assert.equal(await proof(page).getAttribute("data-verdict"), "rejected");
      assert.match(await proof(page).innerText(), /signed head that this browser saw before is gone/);
    });
  });
});

// What the verifier would answer of other hardware than there is here: `change` is a function's text, put to each answer.
const answering = (change) => `{
  const parse = JSON.parse;
  JSON.parse = (text, ...rest) => {
    const answer = parse(text, ...rest);
    if (answer?.said) (${change})(answer);
    return answer;
  };
}`;

describe("genuine hardware that lets somebody in", () => {
  const shown = async (change, look) => {
    const { page, noted, close } = await open(browser, plain.url, { script: { content: answering(change) } });
    await look(page);
    innocent(noted);
    await close();
  };
  const same = async (page) => {
    await page.locator("#compare > summary").click();
    await page.fill("#expect-measurement", plain.said.measurement);
    return text(page, "#found-measurement");
  };

  test("closed and up to date, it is called genuine", async () => {
    await shown("(answer) => (answer.simulated_root = null)", async (page) => {
      assert.match(await page.locator("#verdict").getAttribute("class"), /pass/);
      assert.match(await page.locator("#band").getAttribute("class"), /hardware/);
      assert.match(await same(page), /the same$/);
    });
  });

  test("with debug on, it is red, whatever vouches for it", async () => {
    for (const root of ["null", "answer.simulated_root"]) {
      const change = `(answer) => { answer.simulated_root = ${root}; answer.said.debug = true; answer.said.exposures = ["debug is on: the host can read this memory"]; }`;
      await shown(change, async (page) => {
        assert.match(await page.locator("#verdict").getAttribute("class"), /fail/);
        assert.match(await text(page, "#verdict"), /host can read this memory. Do not send anything private/);
        assert.doesNotMatch(await page.locator("#band").getAttribute("class"), /hardware/);
        assert.match(await same(page), /debug is on/);
      });
    }
  });

  test("another opening, or firmware that is not up to date, is a reservation", async () => {
    for (const [change, said] of [
      ['answer.said.exposures = ["the domain may be migrated by a service domain"]', /may be migrated/],
      ['answer.said.tcb_status = "OutOfDate"', /not up to date: OutOfDate/],
    ]) {
      await shown(`(answer) => { answer.simulated_root = null; ${change}; }`, async (page) => {
        assert.match(await page.locator("#verdict").getAttribute("class"), /warn/);
        assert.match(await text(page, "#verdict"), said);
        assert.match(await page.locator("#band").getAttribute("class"), /open/);
      });
    }
  });
});

describe("evidence that is old", () => {
  test("is rejected of an enclave that runs; its proofs are undetermined, and nobody is accused", async () => {
    const script = { content: "{ const now = Date.now; Date.now = () => now() + 40 * 86400e3; }" };
    const { page, noted, close } = await open(browser, plain.url, { script });
    assert.equal(await verdict(page), "rejected");
    assert.equal(await proof(page).getAttribute("data-verdict"), "undetermined");
    assert.equal((await outcomes(proof(page))).evidence, "skip");
    assert.match(await proof(page).textContent(), /genuine until .*expired since/);
    assert.doesNotMatch(await text(page, "#log"), /REJECTED/);
    assert.match(await text(page, "#log"), /undetermined/);
    innocent(noted);
    await close();
  });
});

describe("a node that stops answering", () => {
  const refresh = (page) => page.evaluate(() => document.dispatchEvent(new Event("glacier-refresh")));

  test("keeps no verdict of before", async () => {
    for (const silent of ["/evidence", "/status"]) {
      const stranger = await Stranger.before(plain, () => undefined);
      const { page, close } = await open(browser, stranger.url);
      assert.equal(await verdict(page), "accepted");
      stranger.tamper = (path) => (path.startsWith(silent) ? 500 : undefined);
      await refresh(page);
      await page.waitForSelector("#verdict[data-verdict=none]");
      assert.match(await text(page, "#verdict"), /^Not checked now/);
      assert.match(await text(page, "#band"), /Nothing is known/);
      assert.equal(await page.locator("#tree .check").count(), 0);
      stranger.tamper = () => undefined;
      await refresh(page);
      await page.waitForSelector("#verdict[data-verdict=accepted]");
      await close();
      await stranger.stop();
    }
  });

  test("is judged by its evidence where its own words cannot be read", async () => {
    const stranger = await Stranger.before(chained, altered("/status", (status) => (status.chain.balance = "much")));
    const { page, noted, close } = await open(browser, stranger.url);
    assert.equal(await verdict(page), "accepted");
    assert.equal(await proof(page).getAttribute("data-verdict"), "accepted");
    assert.match(await text(page, "#chain-facts"), /no amount that can be read/);
    innocent(noted);
    await close();
    await stranger.stop();
  });
});

describe("every reader", () => {
  test("without WebAssembly the node's claims are shown, marked as claims", async () => {
    const { page, noted, close } = await open(browser, plain.url, { script: () => delete window.WebAssembly });
    assert.equal(await verdict(page), "claims");
    assert.match(await text(page, "#verdict"), /Not checked: .*the node's claims/);
    assert.match(await text(page, "#facts"), /Claimed code/);
    assert.match(await text(page, "#log"), /none checked/);
    assert.equal(await proof(page).getAttribute("data-verdict"), "unchecked");
    innocent(noted);
    await close();
  });

  test("a phone of 360 px scrolls one way only, in both schemes, and passes axe", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await open(browser, chained.url, { viewport: { width: 360, height: 740 }, colorScheme, isMobile: true, hasTouch: true });
      await page.locator("details").evaluateAll((all) => all.forEach((one) => (one.open = true)));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${colorScheme}: ${wide}`);
      await accessible(page);
      await close();
    }
  });

  test("dark mode is dark, light is light, and both pass axe", async () => {
    const shades = {};
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await open(browser, chained.url, { colorScheme });
      shades[colorScheme] = await page.evaluate(() => Number(getComputedStyle(document.documentElement).backgroundColor.match(/\d+/)[0]));
      await accessible(page);
      await close();
    }
    assert.ok(shades.light > 200 && shades.dark < 60, JSON.stringify(shades));
  });

  test("the keyboard reaches everything, in order, with a focus that is seen", async () => {
    const { page, close } = await open(browser, chained.url);
    const seen = [];
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const element = document.activeElement;
        if (element === document.body) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return { name: element.id || element.className || element.parentElement.className || element.tagName, top: element.getBoundingClientRect().top + scrollY, ring: outlineStyle !== "none" && outlineWidth !== "0px" };
      });
      if (at === null) break;
      seen.push(at);
    }
    assert.ok(seen.every(({ ring }) => ring), JSON.stringify(seen.filter(({ ring }) => !ring)));
    for (const name of ["jump", "branch", "aside", "proof", "figures"]) assert.ok(seen.some((at) => at.name.includes(name)), name);
    const branch = page.locator("#tree .branch").nth(1);
    const isOpen = () => branch.evaluate((details) => details.open);
    assert.equal(await isOpen(), false);
    await branch.locator("summary").focus();
    await page.keyboard.press("Enter");
    assert.equal(await isOpen(), true);
    await close();
  });

  test("the page stays where it is while it fills", async () => {
    const { page, close } = await open(browser, chained.url);
    assert.ok((await page.evaluate(() => window.shifted)) < 0.05, String(await page.evaluate(() => window.shifted)));
    await close();
  });

  test("plots have axes, units, and their figures as a table", async () => {
    await until(async () => (await (await fetch(`${plain.url}/samples`)).json()).at.length > 1);
    const { page, close } = await open(browser, plain.url);
    assert.equal(await page.locator("#plots svg[role=img]").count(), 5);
    assert.match(await page.locator("#plots svg").first().getAttribute("aria-label"), /^Sessions in .*Axis up to/);
    await page.locator("#plots .figures summary").first().click();
    assert.ok((await page.locator("#plots .figures table").first().locator("tbody tr").count()) > 0);
    await close();
  });
});

describe("what the node serves", () => {
  test("every answer carries the strict policy", async () => {
    for (const path of ["/", "/dashboard/app.js", "/dashboard/verifier.wasm", "/status", "/metrics", "/evidence", "/dashboard/none"]) {
      const { headers } = await fetch(plain.url + path);
      assert.equal(headers.get("content-security-policy"), POLICY, path);
      assert.equal(headers.get("x-content-type-options"), "nosniff", path);
    }
    const first = await fetch(`${plain.url}/dashboard/app.js`);
    const again = await fetch(`${plain.url}/dashboard/app.js`, { headers: { "if-none-match": first.headers.get("etag") } });
    assert.equal(again.status, 304);
  });

  test("an independent parser reads the metrics, and they name no party", async (context) => {
    const script = "import sys, json\nfrom prometheus_client.parser import text_string_to_metric_families as read\n" +
      "print(json.dumps([[f.name, f.type, [[s.name, s.labels, s.value] for s in f.samples]] for f in read(sys.stdin.read())]))";
    const body = await (await fetch(`${chained.url}/metrics`)).text();
    const parsing = run("python3", ["-c", script], { env: { ...process.env, PYTHONPATH: process.env.PROMETHEUS_CLIENT ?? "" } });
    parsing.child.stdin.end(body);
    const parsed = await parsing.catch((error) => error);
    if (/No module named/.test(parsed.stderr ?? "")) return context.skip("skipped: no prometheus-client for Python");
    const families = JSON.parse(parsed.stdout);
    const of = (name) => families.find(([found]) => found === name);
    assert.equal(of("glacier_enclave_simulated")[2][0][2], 1);
    assert.ok(of("glacier_proofs")[2][0][2] >= 1);
    assert.equal(of("glacier_answer_seconds")[1], "histogram");
    assert.ok(of("glacier_chain_registration_expires_seconds")[2][0][2] > Date.now() / 1000);
    const labels = new Set(families.flatMap(([, , samples]) => samples.flatMap(([, names]) => Object.keys(names))));
    assert.deepEqual([...labels].sort(), ["direction", "le", "status", "version"]);
  });
});
