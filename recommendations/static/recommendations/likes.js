// What the member liked, newest first, beside the feed.

import { gettext, ngettext } from "../access/text.js";
import * as api from "./api.js";
import { titleOf } from "./cards.js";
import { button, byId, element, formatInteraction, timeElement } from "./elements.js";

const LIMIT = 50;
let requestNumber = 0;

// Shows the posts that the member liked, saved, shared, commented on or followed the author of. `openSimilar` is called
// with a post. Returns how many of these posts have each tag; nothing if they could not be read.
export async function showLikes(memberId, openSimilar) {
  const number = ++requestNumber;
  byId("likes-title").textContent = gettext("What {member} liked", { member: memberId });
  if (!byId("likes-list")) return undefined; // the page is without it for people who may not read interactions
  try {
    const { interactions, next_cursor: nextCursor } = await api.send(api.likes(memberId, LIMIT));
    if (number !== requestNumber) return undefined;
    const kindsByPost = new Map();
    for (const row of interactions) {
      const known = kindsByPost.get(row.post.id);
      if (known) known.kinds.add(row.kind);
      else kindsByPost.set(row.post.id, { ...row, kinds: new Set([row.kind]) });
    }
    const rows = [...kindsByPost.values()];
    byId("likes-count").textContent = nextCursor
      ? ngettext("newest {n} post", "newest {n} posts", rows.length)
      : ngettext("{n} post", "{n} posts", rows.length);
    byId("likes-list").replaceChildren(...rows.map((row) => likeItem(row, openSimilar)));
    if (!rows.length)
      byId("likes-list").append(element("li", "empty", gettext("Nothing yet. Like a post in the feed, or choose interests.")));
    return countTags(rows);
  } catch (error) {
    if (number !== requestNumber) return undefined;
    byId("likes-count").textContent = "";
    byId("likes-list").replaceChildren(element("li", "empty error", error.message));
    return undefined;
  }
}

function countTags(rows) {
  const totals = new Map();
  for (const tag of rows.flatMap(({ post }) => post.tags)) totals.set(tag, (totals.get(tag) ?? 0) + 1);
  return totals;
}

function likeItem({ post, kinds, occurred_at: occurredAt }, openSimilar) {
  const title = button(titleOf(post), gettext("Posts similar to {id}", { id: titleOf(post) }), () => openSimilar(post), "link like-title");
  title.dir = "auto";
  const facts = [post.author_id, ...post.tags.slice(0, 3)].join(" · ");
  const action = [...kinds].map(formatInteraction).join(", ");
  return element("li", "", title, element("span", "like-facts", `${facts} · ${action} `, timeElement(occurredAt)));
}
