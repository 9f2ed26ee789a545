// The list of members, with a search by the first characters of the id.

import { gettext, ngettext } from "../access/text.js";
import * as api from "./api.js";
import { byId, element } from "./elements.js";

const TYPING_MS = 150;
let searchNumber = 0;
let typingTimer;
let selectedId = null;
let select;

// Lists the members, now and at each change of the search. `onSelect` is called with the id that the reader selects,
// and with the first id of the list while none is selected.
export function listMembers(memberId, onSelect) {
  selectedId = memberId;
  select = onSelect;
  return showMembers();
}

export function markMember(memberId) {
  selectedId = memberId;
  for (const node of document.querySelectorAll(".member"))
    node.setAttribute("aria-current", node.dataset.member === memberId);
}

export async function showMembers() {
  const number = ++searchNumber;
  try {
    const { members } = await api.send(api.members(byId("member-search").value.trim()));
    if (number !== searchNumber) return;
    byId("members").replaceChildren(...members.map(memberItem));
    if (!members.length) byId("members").append(element("li", "empty", emptyText()));
    if (selectedId === null && members.length) select(members[0].id);
  } catch (error) {
    if (number === searchNumber) byId("members").replaceChildren(element("li", "empty error", error.message));
  }
}

function emptyText() {
  if (byId("member-search").value.trim()) return gettext("No member has an id that starts with this text.");
  return gettext("There is no member yet. Import your data, or create a member.");
}

function memberItem(member) {
  const interactions = ngettext("{n} interaction", "{n} interactions", member.interaction_count);
  const facts = [interactions, member.languages.join(" "), member.is_active ? "" : gettext("inactive")].filter(Boolean);
  const node = element("button", "member", element("b", "", member.id), element("small", "", facts.join(" · ")));
  node.type = "button";
  node.dataset.member = member.id;
  node.setAttribute("aria-current", member.id === selectedId);
  node.addEventListener("click", () => select(member.id));
  return element("li", "", node);
}

byId("member-search").addEventListener("input", () => {
  clearTimeout(typingTimer);
  typingTimer = setTimeout(showMembers, TYPING_MS);
});
byId("member-search").addEventListener("keydown", (event) => {
  const firstMember = byId("members").querySelector("button");
  const memberId = byId("member-search").value.trim();
  if (event.key === "Enter" && memberId) select(memberId);
  if (event.key === "ArrowDown" && firstMember) { event.preventDefault(); firstMember.focus(); }
});
byId("members").addEventListener("keydown", (event) => {
  const sibling = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (!sibling) return;
  event.preventDefault();
  (event.target.closest("li")[sibling]?.querySelector("button") ?? byId("member-search")).focus();
});
