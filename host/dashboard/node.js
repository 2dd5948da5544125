// What is asked of the node. Documents that are to be verified stay text: to read and write them here would
// round large numbers.

const PATIENCE = 15000;

async function get(path) {
  const response = await fetch(path, { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE) });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`the node answered ${path} with status ${response.status}`);
  return response;
}

async function text(path) {
  const response = await get(path);
  return response === null ? null : response.text();
}

async function json(path) {
  const response = await get(path);
  return response === null ? null : response.json();
}

export const status = () => json("/status");
export const samples = (from) => json(`/samples?from=${from}`);
export const proofs = (from) => json(`/proofs?from=${from}`);
export const evidence = (key) => text(key ? `/evidence?key=${encodeURIComponent(key)}` : "/evidence");
export const head = (key) => text(`/log/${encodeURIComponent(key)}/head`);
export const inclusion = (key, sequence, size) =>
  text(`/log/${encodeURIComponent(key)}/inclusion?sequence=${sequence}&size=${size}`);
export const consistency = (key, from, to) => text(`/log/${encodeURIComponent(key)}/consistency?from=${from}&to=${to}`);
