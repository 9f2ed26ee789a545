// How the order of one list of posts differs from that of another.

import { count } from "./elements.js";

// Returns by post id how far the post moved from `before` to `after`: a positive number is up. null: it is new.
export function findMovements(before, after) {
  const ranks = new Map(before.map((id, i) => [id, i]));
  return new Map(after.map((id, i) => [id, ranks.has(id) ? ranks.get(id) - i : null]));
}

export function describeMovement(movement) {
  if (movement === null) return "new";
  if (!movement) return "";
  return movement > 0 ? `up ${movement}` : `down ${-movement}`;
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
  if (!up && !down && !added) return `${subject} has not changed this page yet.`;
  const moves = [up && `${count(up, "post")} up`, down && `${up ? down : count(down, "post")} down`].filter(Boolean);
  const news = added ? `${count(added, "post")} ${added === 1 ? "is" : "are"} new on this page.` : "";
  return `${subject} moved ${moves.join(" and ") || "no post"}. ${news}`.trim();
}
