/**
 * The vector kernel in a browser or in Node: the interface of `wasm.Space` on the same `.wasm` files. Results are
 * the same, byte for byte.
 *
 *   import { loadKernel } from "./kernel.js";
 *   const builds = { relaxed: "/static/wasm/dist/kernel-relaxed.wasm", baseline: "/static/wasm/dist/kernel.wasm" };
 *   const space = await loadKernel(128, builds);
 *   space.put(Int32Array.of(0), BigInt64Array.of(42n), vectors);
 *   const { rows, scores } = space.scanTopk(query, 10);
 *
 * Matrices are flat, row by row. Results are copies. Danger: a view over linear memory becomes invalid when the memory
 * grows. `Space.#copyToScratch` therefore creates views after it has grown the memory, and no view outlives a call.
 */

const SEGMENT_ROWS = 1024;
const PAGE_BYTES = 65536;
const ALIGNMENT = 64;

/** An input is invalid. The message names the argument and the fix. */
export class VectorError extends Error {
  name = "VectorError";
}

/**
 * Compile the fastest build that this host accepts and open a space of *dimension* (8 to 4,096).
 *
 * @param {number} dimension
 * @param {{relaxed?: string | BufferSource, baseline: string | BufferSource}} builds URLs or bytes
 */
export async function loadKernel(dimension, builds) {
  if (!Number.isInteger(dimension) || dimension < 8 || dimension > 4096)
    throw new VectorError(`dimension is ${dimension}; use 8 to 4096`);
  const relaxed = builds.relaxed && (await loadBytes(builds.relaxed));
  const code = relaxed && WebAssembly.validate(relaxed) ? relaxed : await loadBytes(builds.baseline);
  const { instance } = await WebAssembly.instantiate(code, {});
  return new Space(dimension, instance.exports);
}

async function loadBytes(source) {
  if (typeof source !== "string") return source;
  const response = await fetch(source);
  if (!response.ok)
    throw new Error(`${source} returned HTTP ${response.status}; serve the files of wasm/dist at this URL`);
  return response.arrayBuffer();
}

function checkArray(name, value, Type, length) {
  if (!(value instanceof Type)) throw new VectorError(`${name} is not a ${Type.name}; convert it`);
  if (length !== undefined && value.length !== length)
    throw new VectorError(`${name} has ${value.length} entries; it needs ${length}`);
  if (Type === Float32Array && !value.every(Number.isFinite))
    throw new VectorError(`${name} contains NaN or infinity; remove or replace such values first`);
  return value;
}

function checkPositive(name, value) {
  if (!Number.isInteger(value) || value < 1) throw new VectorError(`${name} is ${value}; use 1 or more`);
  return value;
}

/** The resident rows of one vector space. Create one with `loadKernel`. */
export class Space {
  #kernel;
  #segments = 0;

  constructor(dimension, kernel) {
    this.dimension = dimension;
    this.width = Math.ceil(dimension / 16) * 16;
    this.rowCount = 0;
    this.#kernel = kernel;
    kernel.open_space(this.width);
  }

  /** Store *vectors* (m × d) as *rows* (m) with their *ids* (m). An existing row is replaced. */
  put(rows, ids, vectors) {
    this.#checkRows("rows", rows, 0, 2 ** 30);
    checkArray("ids", ids, BigInt64Array, rows.length);
    checkArray("vectors", vectors, Float32Array, rows.length * this.dimension);
    if (rows.length === 0) return;
    this.#extend(rows.reduce((highest, row) => Math.max(highest, row), 0) + 1);
    const [row, id, vector] = this.#copyToScratch(rows, ids, this.#pad(vectors));
    this.#runOperation("put_rows", row, id, vector, rows.length);
  }

  /** Drop *rows* (m): a scan returns none of them until it is put again. */
  drop(rows) {
    this.#checkRows("rows", rows, 0, this.rowCount);
    const [row] = this.#copyToScratch(rows);
    this.#runOperation("drop_rows", row, rows.length);
  }

  /** Return the *k* best eligible rows for each of *queries* (q × d): rows, ids and scores (q × k), best first. */
  scanTopk(queries, k, eligible = undefined, { sieve = true } = {}) {
    const count = this.#countRows("queries", queries);
    checkPositive("k", k);
    const mask = new Uint8Array(eligible ? Math.ceil(eligible.length / 4) * 4 : 0);
    if (eligible) mask.set(checkArray("eligible", eligible, Uint8Array));
    const rows = new Int32Array(count * k);
    const ids = new BigInt64Array(count * k);
    const scores = new Float32Array(count * k);
    const sieved = sieve && this.dimension >= 96 ? 1 : 0;
    const workspace = new Uint8Array(this.#kernel.scan_workspace(count, k, sieved) >>> 0);
    const arrays = [this.#pad(queries), mask, rows, ids, scores, workspace];
    const [query, bits, row, id, score, work] = this.#copyToScratch(...arrays);
    const inputs = [query, count, k, eligible ? bits : 0, mask.length / 4, sieved];
    this.#runOperation("scan_topk", ...inputs, row, id, score, work);
    return { rows: this.#read(row, rows), ids: this.#read(id, ids), scores: this.#read(score, scores) };
  }

  /** Return the cosine (n × q) of each of *rows* (n) with each of *queries* (q × d); 0 for row -1. */
  rescore(rows, queries) {
    this.#checkRows("rows", rows, -1, this.rowCount);
    const count = this.#countRows("queries", queries);
    const out = new Float32Array(rows.length * count);
    const [row, query, result] = this.#copyToScratch(rows, this.#pad(queries), out);
    this.#runOperation("rescore", row, rows.length, query, count, result);
    return this.#read(result, out);
  }

  /**
   * Return totals (n) and parts (n × p) of *rows* (n) for *interests* (i × d), *columns* (n × c) and *weights* (p): the
   * taste, the dislike if the last *rejectedCount* interests are rejected, and the columns.
   */
  scoreCandidates(rows, interests, interestWeights, columns, weights, rejectedCount = 0) {
    this.#checkRows("rows", rows, -1, this.rowCount);
    const count = this.#countRows("interests", interests);
    checkArray("interestWeights", interestWeights, Float32Array, count);
    if (!(rejectedCount >= 0 && rejectedCount <= count))
      throw new VectorError(`rejectedCount is ${rejectedCount}; use 0 to ${count}`);
    const width = checkArray("weights", weights, Float32Array).length - (rejectedCount > 0 ? 2 : 1);
    checkArray("columns", columns, Float32Array, rows.length * width);
    const parts = new Float32Array(rows.length * weights.length);
    const totals = new Float32Array(rows.length);
    const arrays = [rows, this.#pad(interests), interestWeights, columns, weights, parts, totals];
    const [row, interest, interestWeight, column, weight, part, total] = this.#copyToScratch(...arrays);
    const taste = [row, rows.length, interest, interestWeight, count - rejectedCount, rejectedCount];
    this.#runOperation("score_candidates", ...taste, column, width, weight, part, total);
    return { totals: this.#read(total, totals), parts: this.#read(part, parts) };
  }

  /** Return positions (at most *k*) in *rows* (n) by maximal marginal relevance, at most *cap* per group. */
  diversify(rows, scores, groups, k, tradeOff, cap, ids) {
    this.#checkRows("rows", rows, -1, this.rowCount);
    checkArray("scores", scores, Float32Array, rows.length);
    checkArray("groups", groups, BigInt64Array, rows.length);
    checkArray("ids", ids, BigInt64Array, rows.length);
    if (!(tradeOff >= 0 && tradeOff <= 1)) throw new VectorError(`tradeOff is ${tradeOff}; use 0 to 1`);
    const limit = Math.min(checkPositive("k", k), rows.length);
    const positions = new Int32Array(limit);
    const workspace = new Uint8Array(this.#kernel.diversify_workspace(rows.length, limit));
    const arrays = [rows, scores, groups, ids, positions, workspace];
    const [row, score, group, id, position, work] = this.#copyToScratch(...arrays);
    const inputs = [row, 0, score, group, id, rows.length, limit, Float32Array.of(tradeOff)];
    const picked = this.#runOperation("diversify", ...inputs, checkPositive("cap", cap), position, work);
    return this.#read(position, positions).slice(0, picked);
  }

  #checkRows(name, rows, lowest, limit) {
    checkArray(name, rows, Int32Array);
    for (const row of rows)
      if (row < lowest || row >= limit)
        throw new VectorError(`${name} contains ${row}; valid rows are ${lowest} to ${limit - 1}`);
  }

  #countRows(name, matrix) {
    const count = checkArray(name, matrix, Float32Array).length / this.dimension;
    if (!Number.isInteger(count))
      throw new VectorError(`${name} has ${matrix.length} entries; it needs a multiple of ${this.dimension}`);
    return count;
  }

  #pad(matrix) {
    if (this.width === this.dimension) return matrix;
    const count = matrix.length / this.dimension;
    const padded = new Float32Array(count * this.width);
    for (let i = 0; i < count; i++)
      padded.set(matrix.subarray(i * this.dimension, (i + 1) * this.dimension), i * this.width);
    return padded;
  }

  #extend(rowCount) {
    const segments = Math.ceil(rowCount / SEGMENT_ROWS);
    if (segments > this.#segments) {
      this.#growTo((this.#kernel.scratch_base(segments) >>> 0) + PAGE_BYTES);
      this.#kernel.extend_space(segments);
      this.#segments = segments;
    }
    this.rowCount = Math.max(this.rowCount, rowCount);
  }

  #growTo(bytes) {
    const missing = bytes - this.#kernel.memory.buffer.byteLength;
    if (missing > 0) this.#kernel.memory.grow(Math.ceil(missing / PAGE_BYTES));
  }

  /** Copy arrays into the scratch and return their addresses. */
  #copyToScratch(...arrays) {
    let end = this.#kernel.scratch_base(this.#segments) >>> 0;
    const addresses = arrays.map((array) => {
      const start = end;
      end += Math.ceil(array.byteLength / ALIGNMENT) * ALIGNMENT;
      return start;
    });
    this.#growTo(end);
    arrays.forEach((array, i) =>
      new array.constructor(this.#kernel.memory.buffer, addresses[i], array.length).set(array),
    );
    return addresses;
  }

  #read(address, target) {
    return new target.constructor(this.#kernel.memory.buffer, address, target.length).slice();
  }

  /** Run an operation of `src/abi.h`. A number is written as uint32, a Float32Array of length 1 as float32. */
  #runOperation(operation, ...values) {
    const block = this.#kernel.argument_block();
    const view = new DataView(this.#kernel.memory.buffer, block);
    values.forEach((value, i) =>
      value instanceof Float32Array ? view.setFloat32(4 * i, value[0], true) : view.setUint32(4 * i, value, true),
    );
    return this.#kernel[operation](block);
  }
}
