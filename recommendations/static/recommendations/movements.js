// How the order of one list of posts differs from that of another.

import { gettext, ngettext } from "../access/text.js";

// Returns by post id how far the post moved from `before` to `after`: a positive number is up. null: it is new.
export function findMovements(before, after) {
  const ranks = new Map(before.map((id, i) => [id, i]));
  return new Map(after.map((id, i) => [id, ranks.has(id) ? ranks.get(id) - i : null]));
}

// Returns a direction and its text, or null if the post did not move.
export function describeMovement(movement) {
  if (movement === null) return { direction: "new", text: gettext("new") };
  if (!movement) return null;
  if (movement > 0) return { direction: "up", text: gettext("up {n}", { n: movement }) };
  return { direction: "down", text: gettext("down {n}", { n: -movement }) };
}

export function countMovements(movements) {
  const values = [...movements.values()];
  return {
    up: values.filter((value) => value > 0).length,
    down: values.filter((value) => value < 0).length,
    added: values.filter((value) => value === null).length,
  };
}

// A sentence such as "Your like moved 3 posts up and 1 down. 2 posts are new on this page."
export function describeChange(subject, movements) {
  const { up, down, added } = countMovements(movements);
  if (!up && !down && !added) return gettext("{subject} has not changed this page yet.", { subject });
  const sentences = [describeMoves(subject, up, down)];
  if (added) sentences.push(ngettext("{n} post is new on this page.", "{n} posts are new on this page.", added));
  return sentences.join(" ");
}

function describeMoves(subject, up, down) {
  if (up && down) return ngettext("{subject} moved {n} post up and {down} down.", "{subject} moved {n} posts up and {down} down.", up, { subject, down });
  if (up) return ngettext("{subject} moved {n} post up.", "{subject} moved {n} posts up.", up, { subject });
  if (down) return ngettext("{subject} moved {n} post down.", "{subject} moved {n} posts down.", down, { subject });
  return gettext("{subject} moved no post.", { subject });
}
