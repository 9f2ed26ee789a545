// The dialog with a member's settings. It changes those of a member, or creates a member with them.

import { gettext } from "../access/text.js";
import * as api from "./api.js";
import { byId } from "./elements.js";

const LISTS = ["languages", "interest_tags", "muted_tags", "muted_words"];
const dialog = byId("member-dialog");
const form = byId("member-form");
let save;

const splitWords = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);

function open(title, hasFollows, fields, onSave) {
  byId("member-title").textContent = title;
  byId("follows-field").hidden = !hasFollows;
  byId("member-error").textContent = "";
  form.reset();
  for (const name of LISTS) form.elements[name].value = (fields[name] ?? []).join(", ");
  for (const name of ["is_personalized", "is_private"]) form.elements[name].checked = fields[name];
  form.elements.sensitivity.value = fields.sensitivity;
  save = onSave;
  dialog.showModal();
}

function readFields() {
  const fields = Object.fromEntries(LISTS.map((name) => [name, splitWords(form.elements[name].value)]));
  for (const name of ["is_personalized", "is_private"]) fields[name] = form.elements[name].checked;
  return { ...fields, sensitivity: form.elements.sensitivity.value };
}

// Opens the dialog with the member's settings. `onSaved` is called after a change.
export async function editMember(memberId, onSaved) {
  const before = await api.send(api.preferences(memberId));
  open(gettext("Settings of {member}", { member: memberId }), false, before, async (fields) => {
    const isChanged = ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]);
    const changes = Object.fromEntries(Object.entries(fields).filter(isChanged));
    if (Object.keys(changes).length) await api.send(api.changePreferences(memberId, changes));
    return () => onSaved(Object.keys(changes));
  });
}

// Opens the dialog for a new member. `onCreated` is called with the id. It is generated, so that no member is changed.
export function createMember(onCreated) {
  const fields = { is_personalized: true, is_private: true, sensitivity: "safe" };
  const memberId = api.newId("explorer").slice(0, 17); // of every attempt to save, so that none leaves a member behind
  open(gettext("New member"), true, fields, async (chosen) => {
    await api.send(api.createMember(memberId, chosen));
    for (const authorId of splitWords(form.elements.follows.value)) await api.send(api.follow(memberId, authorId));
    return () => onCreated(memberId);
  });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("member-error").textContent = "";
  byId("member-save").disabled = true;
  try {
    const finish = await save(readFields());
    dialog.close();
    finish();
  } catch (error) {
    byId("member-error").textContent = error.message;
  } finally {
    byId("member-save").disabled = false;
  }
});
byId("member-cancel").addEventListener("click", () => dialog.close());
