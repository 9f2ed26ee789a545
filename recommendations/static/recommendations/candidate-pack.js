// Ranks a candidate pack on the device, by a profile that this module sends nowhere. docs/on-device.md describes the
// pack, the profile and the score; candidate-pack.d.ts has the types.
//
// The order is that of the server for the same pack and profile (services/serving/rank_pack.py), byte for byte. So the
// arithmetic here is float32, like the server's: Math.fround rounds after each operation.

import { loadKernel } from "../wasm/browser/kernel.js";

const MAGIC = "RECPACK1";
const HEADER_START = 12;
const SIGNATURE_BYTES = 64;
const MAX_CLOCK_SKEW_MS = 5 * 60 * 1000;
const MAX_POSTS = 200;
const LEARNED_FLOOR = -0.5;
const AFFINITY_HALF_SUM = 4;
const DIST = new URL("../wasm/dist/", import.meta.url).href;
const BUILDS = { relaxed: `${DIST}kernel-relaxed.wasm`, baseline: `${DIST}kernel.wasm` };

// A pack or a profile that cannot be used. `code` says why.
export class PackError extends Error {
  name = "PackError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Verify a pack and return its content. `keys` are those of /api/v1/candidate-pack-keys.
export async function openPack(file, keys, { memberId, now = Date.now() } = {}) {
  const bytes = new Uint8Array(file);
  const { header, end } = readHeader(bytes);
  await verify(bytes, header.key_id, keys);
  if (header.version !== 1) throw new PackError("unknown-version", `The pack has version ${header.version}; this module reads version 1.`);
  if (memberId !== undefined && header.member_id !== memberId) throw new PackError("different-member", "The pack is for another member.");
  if (Date.parse(header.expires_at) <= now) throw new PackError("expired", "The pack has expired. Request a new one.");
  if (Date.parse(header.created_at) > now + MAX_CLOCK_SKEW_MS) throw new PackError("from-the-future", "The pack is newer than the clock of this device.");
  const count = header.posts.length;
  const columnsEnd = end + 4 * count * header.columns.length;
  const columns = new Float32Array(bytes.slice(end, columnsEnd).buffer);
  const vectors = new Int8Array(bytes.slice(columnsEnd, columnsEnd + count * header.dimension).buffer);
  return { ...header, columnNames: header.columns, columns, vectors, size: bytes.length };
}

function readHeader(bytes) {
  const text = (start, end) => new TextDecoder().decode(bytes.subarray(start, end));
  if (bytes.length < HEADER_START + SIGNATURE_BYTES || text(0, MAGIC.length) !== MAGIC) throw new PackError("no-pack", "The file is not a candidate pack.");
  const end = HEADER_START + new DataView(bytes.buffer).getUint32(MAGIC.length, true);
  try {
    return { header: JSON.parse(text(HEADER_START, end)), end };
  } catch {
    throw new PackError("no-pack", "The header of the pack cannot be read.");
  }
}

async function verify(bytes, keyId, keys) {
  const jwk = keys.find(({ kid }) => kid === keyId);
  if (!jwk) throw new PackError("unknown-key", "No known key signed the pack.");
  if (!globalThis.crypto?.subtle) throw new PackError("insecure-context", "The browser verifies signatures on pages from HTTPS or from this machine only.");
  const { kty, crv, x } = jwk;
  const key = await crypto.subtle.importKey("jwk", { kty, crv, x }, "Ed25519", false, ["verify"]);
  const end = bytes.length - SIGNATURE_BYTES;
  const isValid = await crypto.subtle.verify("Ed25519", key, bytes.subarray(end), bytes.subarray(0, end));
  if (!isValid) throw new PackError("changed", "The pack was changed since it was signed.");
}

// Return a profile without interests, for packs of the same embedding model as this one.
export const emptyProfile = ({ embedding_model }) => ({
  format: "recsys-device-profile",
  version: 1,
  embedding_model,
  likes: [],
  dislikes: [],
  tags: {},
});

// Return the profile with the vector of a post among its likes or dislikes. The oldest of more than 200 are left out.
export function addPost(profile, pack, position, list = "likes") {
  const vector = [...pack.vectors.subarray(position * pack.dimension, (position + 1) * pack.dimension)];
  return { ...profile, [list]: [...profile[list], { vector, weight: 1 }].slice(-MAX_POSTS) };
}

// Return the profile that a profile file of the service contains (docs/profile-file.md).
export function profileFromFile({ interests, preferences = {} }) {
  if (!interests) throw new PackError("no-interests", "The profile file has no interests.");
  const { embedding_model, dimension, positive, positive_mass, negative, negative_mass, affinities = {} } = interests;
  const topics = Object.entries(affinities.topic ?? {}).map(([tag, sum]) => [tag, toAffinity(sum)]);
  const stated = (preferences.interest_tags ?? []).map((tag) => [tag, toAffinity((affinities.topic?.[tag] ?? 0) + AFFINITY_HALF_SUM)]);
  return {
    ...emptyProfile({ embedding_model }),
    likes: readInterests(positive, positive_mass, dimension),
    dislikes: readInterests(negative, negative_mass, dimension),
    tags: Object.fromEntries([...topics, ...stated]),
  };
}

const toAffinity = (sum) => Math.max(sum / (Math.abs(sum) + AFFINITY_HALF_SUM), LEARNED_FLOOR);

function readInterests(vectors, masses, dimension) {
  const numbers = (base64) => new Float32Array(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);
  const rows = numbers(vectors);
  const mass = numbers(masses);
  const heaviest = Math.max(...mass);
  return Array.from(mass, (weight, i) => ({
    vector: [...rows.subarray(i * dimension, (i + 1) * dimension)],
    weight: Math.sqrt(weight / heaviest),
  })).filter(({ weight }) => weight > 0);
}

// Load the kernel and the vectors of a pack. The result ranks the pack's posts as often as the profile changes.
export async function createRanker(pack, { builds = BUILDS } = {}) {
  const space = await loadKernel(pack.dimension, builds);
  const rows = Int32Array.from(pack.posts, (_, row) => row);
  const ids = BigInt64Array.from(pack.posts, (_, row) => BigInt(row));
  space.put(rows, ids, Float32Array.from(pack.vectors));
  const numbers = new Map();
  const groups = BigInt64Array.from(pack.posts, ({ author_id }) => {
    if (!numbers.has(author_id)) numbers.set(author_id, BigInt(numbers.size));
    return numbers.get(author_id);
  });
  return { pack, rank: (profile) => rank({ pack, space, rows, groups }, profile) };
}

function rank({ pack, space, rows, groups }, profile) {
  if (profile.embedding_model !== pack.embedding_model)
    throw new PackError("different-embedding-model", `The profile is for ${profile.embedding_model}, the pack for ${pack.embedding_model}.`);
  const likes = readVectors(profile.likes, pack.dimension);
  const dislikes = readVectors(profile.dislikes, pack.dimension);
  const weights = Float32Array.from(Object.values(pack.weights));
  weights[1] = -weights[1]; // the dislike lowers the score
  const columns = buildColumns(pack, scoreDislikes(space, rows, dislikes), scoreTags(pack, profile.tags));
  const { totals: scores, parts } = space.scoreCandidates(rows, likes.vectors, likes.weights, columns, weights);
  const order = diversify({ pack, space, rows, groups }, scores);
  return { order, scores, parts, partNames: Object.keys(pack.weights) };
}

function readVectors(interests, dimension) {
  if (interests.some(({ vector }) => vector.length !== dimension))
    throw new PackError("different-dimension", `A vector of the profile does not have ${dimension} numbers.`);
  const vectors = new Float32Array(interests.length * dimension);
  interests.forEach(({ vector }, i) => vectors.set(vector, i * dimension));
  return { vectors, weights: Float32Array.from(interests, ({ weight }) => weight) };
}

// The largest weighted cosine of each post with the disliked vectors, at least 0.
function scoreDislikes(space, rows, { vectors, weights }) {
  const cosines = space.rescore(rows, vectors);
  const count = weights.length;
  return Float32Array.from(rows, (row) => {
    const weighted = weights.map((weight, i) => weight * cosines[row * count + i]);
    return weighted.reduce((highest, value) => Math.max(highest, value), 0);
  });
}

// The highest positive weight of a post's tags plus the lowest negative one.
function scoreTags({ posts }, tags) {
  return Float32Array.from(posts, (post) => {
    const weights = post.tags.map((tag) => Math.fround(Object.hasOwn(tags, tag) ? tags[tag] : 0));
    return Math.max(0, ...weights) + Math.max(Math.min(0, ...weights), LEARNED_FLOOR);
  });
}

// One row for each post: dislike, topic, and the pack's own columns.
function buildColumns(pack, dislikes, topics) {
  const own = pack.columnNames.length;
  const width = own + 2;
  const columns = new Float32Array(pack.posts.length * width);
  for (let row = 0; row < pack.posts.length; row++) {
    columns.set([dislikes[row], topics[row]], row * width);
    columns.set(pack.columns.subarray(row * own, (row + 1) * own), row * width + 2);
  }
  return columns;
}

// The positions of the posts by score, varied by maximal marginal relevance with a cap for each author.
function diversify({ pack, space, rows, groups }, scores) {
  if (!rows.length) return rows;
  const byScore = rows.slice().sort((a, b) => scores[b] - scores[a] || a - b);
  const lowest = scores[byScore.at(-1)];
  const spread = Math.fround(scores[byScore[0]] - lowest);
  const relevance = Float32Array.from(byScore, (row) => (spread > 0 ? Math.fround(scores[row] - lowest) / spread : 0));
  const byScoreGroups = BigInt64Array.from(byScore, (row) => groups[row]);
  const ids = BigInt64Array.from(byScore, BigInt);
  const picks = space.diversify(byScore, relevance, byScoreGroups, rows.length, pack.diversity, pack.author_cap, ids);
  const picked = new Set(picks);
  const others = byScore.map((_, position) => position).filter((position) => !picked.has(position));
  return Int32Array.from([...picks, ...others], (position) => byScore[position]);
}
