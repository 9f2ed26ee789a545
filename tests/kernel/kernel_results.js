/** Run every operation on the inputs of test_determinism.py and return the bytes of the results in one array. */

import { loadKernel } from "./kernel.js";

export async function runOperations(builds, inputs) {
  const { dimension, count, k } = inputs;
  const space = await loadKernel(dimension, builds);
  const ids = new BigInt64Array(inputs.ids);
  const vectors = new Float32Array(inputs.vectors);
  const queries = new Float32Array(inputs.queries);
  const candidates = new Int32Array(inputs.candidates);
  space.put(Int32Array.from({ length: count }, (_, row) => row), ids, vectors);
  space.drop(Int32Array.of(5));
  const withSieve = space.scanTopk(queries, k, new Uint8Array(inputs.eligible));
  const withoutSieve = space.scanTopk(queries, k, undefined, { sieve: false });
  const exact = space.rescore(candidates, queries);
  const scored = space.scoreCandidates(
    candidates,
    queries,
    new Float32Array(inputs.interestWeights),
    new Float32Array(inputs.columns),
    new Float32Array(inputs.weights),
  );
  const withRejected = space.scoreCandidates(
    candidates,
    queries,
    new Float32Array(inputs.interestWeights),
    new Float32Array(inputs.columns),
    new Float32Array(inputs.rejectedWeights),
    2,
  );
  const candidateIds = new BigInt64Array(inputs.candidateIds);
  const groups = new BigInt64Array(inputs.groups);
  const picks = space.diversify(candidates, scored.totals, groups, 20, 0.3, 3, candidateIds);
  const results = [
    withSieve.rows,
    withSieve.scores,
    withoutSieve.rows,
    withoutSieve.scores,
    exact,
    scored.totals,
    scored.parts,
    withRejected.totals,
    withRejected.parts,
    picks,
  ];
  return concatenate(results.map((array) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)));
}

function concatenate(arrays) {
  const bytes = new Uint8Array(arrays.reduce((total, array) => total + array.length, 0));
  let offset = 0;
  for (const array of arrays) {
    bytes.set(array, offset);
    offset += array.length;
  }
  return bytes;
}
