/**
 * The vector kernel in a browser or in Node: the face of `wasm.Space` over the same `.wasm` files, with the same bytes.
 *
 *   import { loadKernel } from "./kernel.js";
 *   const space = await loadKernel(128, { relaxed: "/static/wasm/dist/kernel-relaxed.wasm", baseline: "/static/wasm/dist/kernel.wasm" });
 *   space.put(Int32Array.of(0), BigInt64Array.of(42n), vectors);
 *   const { rows, scores } = space.scanTopk(query, 10);
 *
 * Matrices are flat, row by row. Results are copies. The one danger is a view over linear memory, which dies when
 * the memory grows: views are made in `Space.#lay` after growth, and used within one call.
 */

const SEGMENT_ROWS = 1024;
const PAGE_BYTES = 65536;
const ALIGNMENT = 64;

/** An input cannot be used. The message names it. */
export class VectorError extends Error {
  name = "VectorError";
}

/**
 * Compile the fastest build that this host accepts and open a space of *dimension* (8 to 4,096).
 *
 * @param {number} dimension
 * @param {{relaxed?: string | BufferSource, baseline: string | BufferSource}} builds addresses or bytes
 */
export async function loadKernel(dimension, builds) {
  if (!Number.isInteger(dimension) || dimension < 8 || dimension > 4096)
    throw new VectorError(`dimension is ${dimension}; use 8 to 4096`);
  const relaxed = builds.relaxed && (await bytesOf(builds.relaxed));
  const code = relaxed && WebAssembly.validate(relaxed) ? relaxed : await bytesOf(builds.baseline);
  const { instance } = await WebAssembly.instantiate(code, {});
  return new Space(dimension, instance.exports);
}

async function bytesOf(source) {
  if (typeof source !== "string") return source;
  const response = await fetch(source);
  if (!response.ok) throw new Error(`${source} answered ${response.status}; serve the kernel's dist folder there`);
  return response.arrayBuffer();
}

function checked(name, value, Type, length) {
  if (!(value instanceof Type)) throw new VectorError(`${name} is not a ${Type.name}; convert it`);
  if (length !== undefined && value.length !== length)
    throw new VectorError(`${name} has ${value.length} entries; it needs ${length}`);
  if (Type === Float32Array && !value.every(Number.isFinite))
    throw new VectorError(`${name} holds NaN or infinity; drop or repair such values first`);
  return value;
}

function positive(name, value) {
  if (!Number.isInteger(value) || value < 1) throw new VectorError(`${name} is ${value}; use 1 or more`);
  return value;
}

/** Resident rows of one vector space. `loadKernel` makes it. */
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

  /** Keep *vectors* (m × d) as *rows* (m), with their *ids* (m); a row put before is replaced. */
  put(rows, ids, vectors) {
    this.#checkRows("rows", rows, 0, 2 ** 30);
    checked("ids", ids, BigInt64Array, rows.length);
    checked("vectors", vectors, Float32Array, rows.length * this.dimension);
    if (rows.length === 0) return;
    this.#extend(rows.reduce((highest, row) => Math.max(highest, row), 0) + 1);
    const [row, id, vector] = this.#lay(rows, ids, this.#padded(vectors));
    this.#operate("put_rows", row, id, vector, rows.length);
  }

  /** Forget *rows* (m): none is returned by a scan until it is put again. */
  drop(rows) {
    this.#checkRows("rows", rows, 0, this.rowCount);
    const [row] = this.#lay(rows);
    this.#operate("drop_rows", row, rows.length);
  }

  /** The *k* best eligible rows for each of *queries* (q × d): rows, ids and scores (q × k), best first. */
  scanTopk(queries, k, eligible = undefined, { sieve = true } = {}) {
    const count = this.#count("queries", queries);
    positive("k", k);
    const mask = new Uint8Array(eligible ? Math.ceil(eligible.length / 4) * 4 : 0);
    if (eligible) mask.set(checked("eligible", eligible, Uint8Array));
    const rows = new Int32Array(count * k);
    const ids = new BigInt64Array(count * k);
    const scores = new Float32Array(count * k);
    const sieved = sieve && this.dimension >= 96 ? 1 : 0;
    const workspace = new Uint8Array(this.#kernel.scan_workspace(count, k, sieved) >>> 0);
    const at = this.#lay(this.#padded(queries), mask, rows, ids, scores, workspace);
    this.#operate("scan_topk", at[0], count, k, eligible ? at[1] : 0, mask.length / 4, sieved, ...at.slice(2));
    return { rows: this.#read(at[2], rows), ids: this.#read(at[3], ids), scores: this.#read(at[4], scores) };
  }

  /** The cosine (n × q) of each of *rows* (n) with each of *queries* (q × d); 0 for -1. */
  rescore(rows, queries) {
    this.#checkRows("rows", rows, -1, this.rowCount);
    const count = this.#count("queries", queries);
    const out = new Float32Array(rows.length * count);
    const [row, query, address] = this.#lay(rows, this.#padded(queries), out);
    this.#operate("rescore", row, rows.length, query, count, address);
    return this.#read(address, out);
  }

  /** Totals (n) and additive parts (n × (1 + c)) of *rows* (n) for *interests* (i × d) and *columns* (n × c). */
  scoreCandidates(rows, interests, interestWeights, columns, weights) {
    this.#checkRows("rows", rows, -1, this.rowCount);
    const count = this.#count("interests", interests);
    checked("interestWeights", interestWeights, Float32Array, count);
    const width = checked("weights", weights, Float32Array).length - 1;
    checked("columns", columns, Float32Array, rows.length * width);
    const parts = new Float32Array(rows.length * (1 + width));
    const totals = new Float32Array(rows.length);
    const at = this.#lay(rows, this.#padded(interests), interestWeights, columns, weights, parts, totals);
    const taste = [at[0], rows.length, at[1], at[2], count];
    this.#operate("score_candidates", ...taste, at[3], width, at[4], at[5], at[6]);
    return { totals: this.#read(at[6], totals), parts: this.#read(at[5], parts) };
  }

  /** Positions (at most *k*) into *rows* (n) by maximal marginal relevance, at most *cap* for each of *groups*. */
  diversify(rows, scores, groups, k, tradeOff, cap, ids) {
    this.#checkRows("rows", rows, -1, this.rowCount);
    checked("scores", scores, Float32Array, rows.length);
    checked("groups", groups, BigInt64Array, rows.length);
    checked("ids", ids, BigInt64Array, rows.length);
    if (!(tradeOff >= 0 && tradeOff <= 1)) throw new VectorError(`tradeOff is ${tradeOff}; use 0 to 1`);
    const most = Math.min(positive("k", k), rows.length);
    const positions = new Int32Array(most);
    const workspace = new Uint8Array(this.#kernel.diversify_workspace(rows.length, most));
    const at = this.#lay(rows, scores, groups, ids, positions, workspace);
    const inputs = [at[0], 0, at[1], at[2], at[3], rows.length, most, Float32Array.of(tradeOff)];
    const picked = this.#operate("diversify", ...inputs, positive("cap", cap), at[4], at[5]);
    return this.#read(at[4], positions).slice(0, picked);
  }

  #checkRows(name, rows, lowest, limit) {
    checked(name, rows, Int32Array);
    for (const row of rows)
      if (row < lowest || row >= limit)
        throw new VectorError(`${name} holds ${row}; rows go from ${lowest} to ${limit - 1}`);
  }

  #count(name, matrix) {
    const count = checked(name, matrix, Float32Array).length / this.dimension;
    if (!Number.isInteger(count))
      throw new VectorError(`${name} has ${matrix.length} entries; it needs a multiple of ${this.dimension}`);
    return count;
  }

  #padded(matrix) {
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
      this.#ensure((this.#kernel.scratch_base(segments) >>> 0) + PAGE_BYTES);
      this.#kernel.extend_space(segments);
      this.#segments = segments;
    }
    this.rowCount = Math.max(this.rowCount, rowCount);
  }

  #ensure(bytes) {
    const missing = bytes - this.#kernel.memory.buffer.byteLength;
    if (missing > 0) this.#kernel.memory.grow(Math.ceil(missing / PAGE_BYTES));
  }

  /** Copy arrays into the scratch and return their addresses. */
  #lay(...arrays) {
    let end = this.#kernel.scratch_base(this.#segments) >>> 0;
    const addresses = arrays.map((array) => {
      const start = end;
      end += Math.ceil(array.byteLength / ALIGNMENT) * ALIGNMENT;
      return start;
    });
    this.#ensure(end);
    arrays.forEach((array, i) =>
      new array.constructor(this.#kernel.memory.buffer, addresses[i], array.length).set(array),
    );
    return addresses;
  }

  #read(address, like) {
    return new like.constructor(this.#kernel.memory.buffer, address, like.length).slice();
  }

  /** Arguments are written as in `src/abi.h`: a number as uint32, a Float32Array of one as float32. */
  #operate(operation, ...values) {
    const block = this.#kernel.argument_block();
    const view = new DataView(this.#kernel.memory.buffer, block);
    values.forEach((value, i) =>
      value instanceof Float32Array ? view.setFloat32(4 * i, value[0], true) : view.setUint32(4 * i, value, true),
    );
    return this.#kernel[operation](block);
  }
}
