// A real node, a browser, and a stranger between the two.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

const run = promisify(execFile);
const PROGRAMS = process.env.GLACIER_PROGRAMS;
const ROOT = path.resolve(import.meta.dirname, "../../..");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const SOON = 120_000;

export const glacier = path.join(PROGRAMS ?? "", "glacier");

export class Node {
  // Starts `glacier node run` and waits until it says where it listens.
  static async start(...args) {
    const node = new Node();
    node.home = await mkdtemp(path.join(tmpdir(), "gd-"));
    node.policy = path.join(node.home, "policy.toml");
    await run(glacier, ["--home", node.home, "key", "new", "default"]);
    const program = [`--home`, node.home, "--json", "node", "run", "--listen", "127.0.0.1:0", "--write-policy", node.policy, ...args];
    node.process = spawn(glacier, program, { stdio: ["ignore", "pipe", "inherit"] });
    node.said = await saidBy(node.process);
    node.url = node.said.address;
    return node;
  }

  async status() {
    return (await fetch(`${this.url}/status`)).json();
  }

  // One inference over the bundled model and data; its Work Proof arrives at the host.
  async infer() {
    const model = path.join(ROOT, "models/breast-cancer/model.onnx");
    const data = path.join(ROOT, "models/breast-cancer/data.csv");
    const before = (await this.status()).proofs;
    const output = path.join(this.home, `labels-${before}.csv`);
    await run(glacier, ["--home", this.home, "infer", "--node", this.url, "--policy", this.policy, "--model", model, "--input", data, "--output", output]);
    await until(async () => (await this.status()).proofs > before);
  }

  async stop() {
    this.process.kill("SIGTERM");
    await once(this.process, "exit");
    await rm(this.home, { recursive: true, force: true });
  }
}

// `glacier dashboard`: the page of this machine's program, for a node elsewhere.
export class Copy {
  static async of(node) {
    const copy = new Copy();
    copy.process = spawn(glacier, ["--json", "dashboard", "--node", node.url, "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
    copy.url = (await saidBy(copy.process)).page.replace(/\/$/, "");
    return copy;
  }

  async stop() {
    this.process.kill("SIGTERM");
    await once(this.process, "exit");
  }
}

// The JSON object that a program writes first.
async function saidBy(program) {
  let text = "";
  for await (const line of createInterface({ input: program.stdout })) {
    text += line;
    try {
      const said = JSON.parse(text);
      program.stdout.resume();
      return said;
    } catch {
      // The object goes on over several lines.
    }
  }
  throw new Error("the program ended before it said anything");
}

// Passes requests on to a node and lets `tamper(path, text)` alter each answer that is text, or name a status to answer with.
export class Stranger {
  static async before(node, tamper) {
    const stranger = new Stranger();
    stranger.tamper = tamper;
    stranger.server = http.createServer(async (request, response) => {
      const answer = await fetch(node.url + request.url, { method: request.method });
      const bytes = Buffer.from(await answer.arrayBuffer());
      const headers = Object.fromEntries([...answer.headers].filter(([name]) => !["transfer-encoding", "connection", "content-length"].includes(name)));
      const known = /json/.test(headers["content-type"] ?? "");
      const body = known ? stranger.tamper(request.url, bytes.toString()) ?? bytes : bytes;
      if (typeof body === "number") return response.writeHead(body, headers).end();
      response.writeHead(answer.status, headers).end(body);
    });
    stranger.server.listen(0, "127.0.0.1");
    await once(stranger.server, "listening");
    stranger.url = `http://127.0.0.1:${stranger.server.address().port}`;
    return stranger;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}

export const browse = () => chromium.launch({ executablePath: CHROMIUM, args: FLAGS, headless: true });

// Opens a page and notes what it should not do: ask elsewhere, break its own policy, fail, shift.
export async function open(browser, url, { script, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light", ...options });
  const page = await context.newPage();
  const noted = { elsewhere: [], violations: [], errors: [] };
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) noted.elsewhere.push(request.url());
  });
  page.on("console", (message) => {
    if (message.type() !== "error") return;
    const list = /Content Security Policy/.test(message.text()) ? noted.violations : noted.errors;
    // 404 is an answer of the node's API.
    if (!/status of 404/.test(message.text())) list.push(message.text());
  });
  page.on("pageerror", (error) => noted.errors.push(error.message));
  await page.addInitScript(() => {
    window.shifted = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
      if (!entry.hadRecentInput) window.shifted += entry.value;
    })).observe({ type: "layout-shift", buffered: true });
  });
  if (script) await page.addInitScript(script);
  await page.goto(url);
  await page.waitForSelector("html[data-ready=yes]", { timeout: SOON });
  return { page, noted, close: () => context.close() };
}

export async function until(holds, patience = SOON) {
  const end = Date.now() + patience;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error("did not come about in time");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
