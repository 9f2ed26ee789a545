// Client of the public API. A failed request throws an Error with the problem's detail as message and its code.

const token = document.querySelector("meta[name=csrf-token]").content;

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1/${path}`, options);
  } catch {
    throw new Error("The server cannot be reached. Is it running?");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok)
    throw Object.assign(new Error(body.detail ?? `The server responded with ${response.status}.`), { code: body.code });
  return body;
}

const encode = encodeURIComponent;

export const members = (prefix) => request(`members?${new URLSearchParams({ prefix, limit: 30 })}`);

export function feed({ memberId, feed, cursor, explain, limit }) {
  const query = new URLSearchParams({ feed, explain, limit });
  if (cursor) query.set("cursor", cursor);
  return request(`members/${encode(memberId)}/feed?${query}`);
}

export const similar = (postId, viewerId) =>
  request(`posts/${encode(postId)}/similar?${new URLSearchParams({ viewer_id: viewerId, limit: 10 })}`);

export const search = (text, viewerId) =>
  request(`search?${new URLSearchParams({ viewer_id: viewerId, text, space: "content", limit: 20 })}`);

export const explain = (requestId, postId, viewerId) =>
  request(`requests/${encode(requestId)}/explain/${encode(postId)}?${new URLSearchParams({ viewer_id: viewerId })}`);

// Returns the event id, which `sendUndo` takes.
export const sendInteraction = ({ memberId, postId, kind, target, requestId }) =>
  send({ event_id: newEventId(), member_id: memberId, post_id: postId, kind, target, request_id: requestId });

export const sendUndo = (memberId, eventId) =>
  send({ event_id: newEventId(), member_id: memberId, undoes_event_id: eventId });

async function send(event) {
  const body = await request("interactions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify({ events: [event] }),
  });
  const [result] = body.results;
  if (result.status === "rejected") throw new Error(result.problem.detail);
  return event.event_id;
}

// crypto.randomUUID is missing on a page loaded over plain HTTP from another machine.
function newEventId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `explorer-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
