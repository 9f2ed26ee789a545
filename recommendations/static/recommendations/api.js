// Client of the public API. A call is an object with method, path, query and body, so that the page can also show it as
// code. `send` returns the response's JSON; a failed request throws an Error with the problem's detail and its code.
// Sentences in responses are in the language of the page. Problems are in English in every language.

import { gettext, language } from "../access/text.js";

const token = document.querySelector("meta[name=csrf-token]").content;
const LIKING_KINDS = ["like", "share", "save", "comment", "follow"];

export const send = async (call) => {
  const response = await request(call);
  return response.status === 204 ? {} : response.json();
};

// Returns the bytes of a response that is not JSON.
export const receive = async (call) => (await request(call)).arrayBuffer();

async function request(call) {
  const response = await respond(call);
  if (response.ok) return response;
  throw await readProblem(response);
}

// Returns the response to a call, whatever its status. Throws if there is none.
export async function respond(call) {
  const { method, body } = call;
  const options = { method, headers: { "Accept-Language": language } };
  if (method !== "GET") options.headers["X-CSRFToken"] = token;
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  try {
    return await fetch(formatUrl(call), options);
  } catch {
    throw new Error(gettext("The server cannot be reached. Is it running?"));
  }
}

// Returns the problem of a failed response as an Error.
async function readProblem(response) {
  const content = await response.json().catch(() => ({}));
  const places = (content.errors ?? []).map((error) => [error.pointer ?? error.parameter, error.detail]);
  const details = places.map((words) => words.filter(Boolean).join(" "));
  const message = details.join(" ") || content.detail || gettext("The server responded with {status}.", { status: response.status });
  return Object.assign(new Error(message), { code: content.code });
}

export function formatUrl({ root = "/api/v1/", path, query }) {
  const text = new URLSearchParams(query).toString();
  return `${root}${path}${text ? `?${text}` : ""}`;
}

const encode = encodeURIComponent;
const get = (path, query = []) => ({ method: "GET", path, query: entries(query) });
const write = (method, path, body) => ({ method, path, query: [], body });

// Query parameters as [name, value]; a list is repeated, and an empty value is left out.
const entries = (query) =>
  Object.entries(query).flatMap(([name, value]) =>
    [value].flat().filter((item) => (item ?? "") !== "").map((item) => [name, `${item}`]));

export const graphql = (body) => ({ ...write("POST", "graphql", body), root: "/" });
export const jobs = (limit) => get("jobs", { limit });
export const members = (prefix) => get("members", { prefix, limit: 30 });
export const feed = ({ memberId, feed, cursor, explain, limit }) =>
  get(`members/${encode(memberId)}/feed`, { feed, explain, limit, cursor });
export const candidatePack = (memberId) => get(`members/${encode(memberId)}/candidate-pack`);
export const packKeys = () => get("candidate-pack-keys");
export const preview = ({ memberId, feed, engine, variant, limit }) =>
  get("feed-preview", { member_id: memberId, feed, engine, variant, limit });
export const similar = (postId, viewerId, limit) =>
  get(`posts/${encode(postId)}/similar`, { viewer_id: viewerId, limit });
export const search = (text, viewerId, limit) =>
  get("search", { viewer_id: viewerId, text, space: "content", limit });
export const explain = (requestId, postId, viewerId) =>
  get(`requests/${encode(requestId)}/explain/${encode(postId)}`, { viewer_id: viewerId });
export const likes = (memberId, limit) => get("interactions", { member_id: memberId, kind: LIKING_KINDS, limit });
export const preferences = (memberId) => get(`members/${encode(memberId)}/preferences`);
export const changePreferences = (memberId, changes) =>
  write("PATCH", `members/${encode(memberId)}/preferences`, changes);
export const createMember = (memberId, fields) => write("PUT", `members/${encode(memberId)}`, fields);
export const follow = (memberId, authorId) =>
  write("PUT", `members/${encode(memberId)}/relationships/follow/${encode(authorId)}`);

export const interaction = ({ eventId, memberId, postId, kind, target, requestId }) => {
  const event = { event_id: eventId, member_id: memberId, post_id: postId, kind, request_id: requestId };
  return write("POST", "interactions", { events: [target ? { ...event, target } : event] });
};

export const undo = ({ eventId, memberId, undoesEventId }) => {
  const event = { event_id: eventId, member_id: memberId, undoes_event_id: undoesEventId };
  return write("POST", "interactions", { events: [event] });
};

// Sends a call with one event. Throws if the event was rejected.
export async function sendEvent(call) {
  const { results } = await send(call);
  if (results[0].status === "rejected") throw new Error(results[0].problem.detail);
}

// crypto.randomUUID is missing on a page loaded over plain HTTP from another machine.
export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `${prefix}-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
