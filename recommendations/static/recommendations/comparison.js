// A second feed of the same member beside the first, with how its posts moved.

import { gettext } from "../access/text.js";
import * as api from "./api.js";
import { card } from "./cards.js";
import { byId, element } from "./elements.js";
import { countMovements, describeMovement, findMovements } from "./movements.js";

// What the option "feed:trending", "engine:plain" or "variant:control" replaces in the preview of `feed`.
function previewCall(memberId, feed, choice, limit) {
  const [name, value] = choice.split(":");
  return api.preview({ memberId, feed, limit, [name]: value });
}

const idsOf = (page) => page.picks.map((pick) => pick.post.id);

// Returns a list with the preview that `choice` names, and a sentence that compares it with `page`.
export async function loadComparison({ memberId, page, feed, choice, limit }) {
  const other = await api.send(previewCall(memberId, feed, choice, limit));
  const movements = findMovements(idsOf(page), idsOf(other));
  const cards = other.picks.map((pick, i) =>
    card(pick, i + 1, { movement: describeMovement(movements.get(pick.post.id)) }));
  const title = byId("compare").selectedOptions[0].textContent;
  const engine = other.engine === "none" ? "" : gettext("Engine {engine}.", { engine: other.engine });
  const policy = gettext("Policy of {variant}.", { variant: other.variant });
  const preview = gettext("A preview, not recorded.");
  const facts = element("p", "byline", [preview, engine, policy].filter(Boolean).join(" "));
  if (!cards.length) cards.push(element("p", "empty", gettext("This feed has no posts for the member.")));
  return { nodes: [element("h2", "", title), facts, ...cards], sentence: describe(title, page, other, movements) };
}

function describe(title, page, other, movements) {
  const { up, down, added } = countMovements(movements);
  const common = other.picks.length - added;
  const same = common - up - down;
  return gettext(
    "{title}, beside the feed as served: {common} of {total} posts are on both pages; {up} moved up, {down} moved down, {same} kept the rank, and {added} are new.",
    { title, common, total: page.picks.length, up, down, same, added },
  );
}
