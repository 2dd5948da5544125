// The verifier: core/attest and core/proof as WebAssembly. It imports nothing, so it can do nothing but answer.

let instance = null;
let module = null;

// Whether there is a verifier; where WebAssembly cannot be had there is none.
export async function load() {
  if (typeof WebAssembly === "undefined") return false;
  try {
    const response = await fetch("/dashboard/verifier.wasm");
    if (!response.ok) return false;
    module = await WebAssembly.compile(await response.arrayBuffer());
    instance = await WebAssembly.instantiate(module, {});
    return true;
  } catch {
    return false;
  }
}

// Asks one question. What it cannot read it refuses: that throws, and is never taken for a yes.
export async function ask(question) {
  const bytes = new TextEncoder().encode(JSON.stringify(question));
  let answer;
  try {
    const { question: room, answer: decide, answer_at: where, memory } = instance.exports;
    const at = room(bytes.length);
    if (at === 0) throw new Error("the question is longer than is read");
    new Uint8Array(memory.buffer, at, bytes.length).set(bytes);
    const length = decide();
    answer = JSON.parse(new TextDecoder().decode(new Uint8Array(memory.buffer, where(), length)));
  } catch (error) {
    // Whatever state it was left in: the next question is put to a new one.
    instance = await WebAssembly.instantiate(module, {});
    throw error;
  }
  if (answer.error) throw new Error(answer.error);
  return answer;
}

export const now = () => Math.floor(Date.now() / 1000);
