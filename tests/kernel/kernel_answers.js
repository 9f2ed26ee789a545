/** Runs every operation on the inputs of test_determinism.py and returns the answers' bytes in one array. */

import { loadKernel } from "./kernel.js";

export async function answers(builds, inputs) {
  const { dimension, count, k } = inputs;
  const space = await loadKernel(dimension, builds);
  const ids = new BigInt64Array(inputs.ids);
  const vectors = new Float32Array(inputs.vectors);
  const queries = new Float32Array(inputs.queries);
  const candidates = new Int32Array(inputs.candidates);
  space.put(Int32Array.from({ length: count }, (_, row) => row), ids, vectors);
  space.drop(Int32Array.of(5));
  const sieved = space.scanTopk(queries, k, new Uint8Array(inputs.eligible));
  const whole = space.scanTopk(queries, k, undefined, { sieve: false });
  const exact = space.rescore(candidates, queries);
  const scored = space.scoreCandidates(
    candidates,
    queries,
    new Float32Array(inputs.interestWeights),
    new Float32Array(inputs.columns),
    new Float32Array(inputs.weights),
  );
  const candidateIds = new BigInt64Array(inputs.candidateIds);
  const groups = new BigInt64Array(inputs.groups);
  const picks = space.diversify(candidates, scored.totals, groups, 20, 0.3, 3, candidateIds);
  const parts = [sieved.rows, sieved.scores, whole.rows, whole.scores, exact, scored.totals, scored.parts, picks];
  return joined(parts.map((part) => new Uint8Array(part.buffer, part.byteOffset, part.byteLength)));
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
