// Why a post is on a page, or is not.

import * as api from "./api.js";
import { element, formatName, formatSigned, shorten, wait } from "./elements.js";
import { scoreBar } from "./scores.js";

const MAX_REASON_LENGTH = 60;
const POLL_MS = 500;
const RECORD_MS = 1500;
const GIVE_UP_MS = 8000;

// Fills `section` with the explanation of a post for a served page. `servedAt` is from `performance.now()`.
export async function showExplanation(section, { page, postId, memberId, servedAt, isComplete = true }) {
  section.replaceChildren(element("p", "empty", "Loading …"));
  try {
    const call = api.explain(page.request_id, postId, memberId);
    section.replaceChildren(...explanationNodes(await readRecorded(call, servedAt), isComplete));
  } catch (error) {
    section.replaceChildren(element("p", "empty error", error.message));
  }
}

// A served page is recorded about a second after its request. Until then the API responds with unknown-request.
async function readRecorded(call, servedAt) {
  await wait(Math.max(0, servedAt + RECORD_MS - performance.now()));
  for (;;) {
    try {
      return await api.send(call);
    } catch (error) {
      if (error.code !== "unknown-request" || performance.now() > servedAt + GIVE_UP_MS) throw error;
      await wait(POLL_MS);
    }
  }
}

// `isComplete`: with the reasons and the score, which a card shows already.
function explanationNodes(explanation, isComplete) {
  const { status, rank, ranked_count: rankedCount, score, sources, filter, reasons, parts } = explanation;
  const facts = [
    ["Status", formatName(status)], ["Rank", rank && `${rank} of ${rankedCount}`],
    ["Score", score?.toFixed(3)], ["Sources", sources.map(formatName).join(", ")], ["Filter", filter],
  ];
  const list = element("dl", "facts");
  for (const [name, value] of facts) if (value) list.append(element("dt", "", name), element("dd", "", `${value}`));
  const nodes = [element("p", "sentence", explanation.sentence), list];
  if (isComplete && reasons.length)
    nodes.push(element("p", "reasons", reasons.map((reason) => reason.sentence).join(" · ")));
  if (isComplete && parts) nodes.push(scoreBar(parts));
  if (explanation.because.length) nodes.push(becauseList(explanation.because));
  return nodes;
}

// The posts whose like or rejection contributed most to each collaborative part, with their weighted contributions.
function becauseList(because) {
  const list = element("dl", "facts because");
  for (const { part, weight, reactions, others } of because) {
    const values = reactions.map((reaction) => [reaction.text.trim() || reaction.post_id, reaction.value]);
    if (others) values.push(["all others", others]);
    const items = values.map(([text, value]) =>
      element("li", "", `${formatSigned(weight * value)} ${shorten(text, MAX_REASON_LENGTH)}`));
    list.append(element("dt", "", `${formatName(part)}, because of`), element("dd", "", element("ul", "", ...items)));
  }
  return list;
}
