// Talks to the API as any client does. A failure is an Error that says what the problem said.

const token = document.querySelector("meta[name=csrf-token]").content;

async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(`/api/v1/${address}`, options);
  } catch {
    throw new Error("The server cannot be reached. Is it running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok)
    throw Object.assign(new Error(answer.detail ?? `The server answered ${response.status}.`), { code: answer.code });
  return answer;
}

const id = encodeURIComponent;

export const members = (prefix) => ask(`members?${new URLSearchParams({ prefix, limit: 30 })}`);

export function feed({ member, feed, cursor, explain, limit }) {
  const query = new URLSearchParams({ feed, explain, limit });
  if (cursor) query.set("cursor", cursor);
  return ask(`members/${id(member)}/feed?${query}`);
}

export const similar = (post, viewer) =>
  ask(`posts/${id(post)}/similar?${new URLSearchParams({ viewer, limit: 10 })}`);

export const search = (text, viewer) => ask(`search?${new URLSearchParams({ viewer, text, space: "content", limit: 20 })}`);

export const explain = (request, post, viewer) =>
  ask(`requests/${id(request)}/explain/${id(post)}?${new URLSearchParams({ viewer })}`);

// Returns the id of the event, by which the act can be taken back.
export const act = ({ member, post, kind, reason, request }) =>
  send({ event_id: eventId(), member_id: member, post_id: post, kind, reason, request_id: request });

export const undo = (member, event) => send({ event_id: eventId(), member_id: member, undoes_event_id: event });

async function send(event) {
  const answer = await ask("interactions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": token },
    body: JSON.stringify({ events: [event] }),
  });
  const [result] = answer.results;
  if (result.status === "rejected") throw new Error(result.problem.detail);
  return event.event_id;
}

// crypto.randomUUID is missing where the page came over plain HTTP from another machine.
function eventId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `explorer-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
