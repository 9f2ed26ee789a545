// Why a post is on a page, or is not.

import { gettext } from "../access/text.js";
import * as api from "./api.js";
import { element, formatName, formatScore, formatSigned, shorten, wait } from "./elements.js";
import { scoreBar } from "./scores.js";

const MAX_REASON_LENGTH = 60;
const POLL_MS = 500;
const RECORD_MS = 1500;
const GIVE_UP_MS = 8000;
const STATUSES = {
  served: gettext("served"), ranked: gettext("ranked"), outranked: gettext("outranked"), filtered: gettext("filtered"),
  not_in_slate: gettext("not in slate"), not_a_candidate: gettext("not a candidate"),
};

// Fills `section` with the explanation of a post for a served page. `servedAt` is from `performance.now()`.
export async function showExplanation(section, { page, postId, memberId, servedAt, isComplete = true }) {
  section.replaceChildren(element("p", "empty", gettext("Loading …")));
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
    [gettext("Status"), STATUSES[status]],
    [gettext("Rank"), rank && gettext("{rank} of {count}", { rank, count: rankedCount })],
    [gettext("Score"), score === null ? "" : formatScore(score)],
    [gettext("Sources"), sources.map(formatName).join(", ")],
    [gettext("Filter"), filter],
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
    if (others) values.push([gettext("all others"), others]);
    const items = values.map(([text, value]) =>
      element("li", "", `${formatSigned(weight * value)} ${shorten(text, MAX_REASON_LENGTH)}`));
    list.append(element("dt", "", gettext("{part}, because of", { part: formatName(part) })), element("dd", "", element("ul", "", ...items)));
  }
  return list;
}
