// The form for a new policy: shows how its values would change the feeds of a few members, after each change.

const PAUSE_MS = 400;
const section = document.querySelector(".policy-preview");
const form = document.querySelector("#rankingpolicy_form");

if (section && form) {
  const members = section.querySelector("#preview-members");
  const result = section.querySelector(".result");
  let timer = 0;
  let latest = 0;

  const preview = async () => {
    const number = ++latest;
    const body = new FormData(form);
    body.set("preview_members", members.value);
    result.setAttribute("aria-busy", "true");
    let html = `<p class="problem">${section.dataset.failed}</p>`;
    try {
      const response = await fetch(section.dataset.url, { method: "POST", body });
      if (response.ok) html = await response.text();
    } catch {
      // The message above says so.
    }
    if (number !== latest) return; // a later change has its own answer
    result.innerHTML = html; // the server has escaped every text in it
    result.removeAttribute("aria-busy");
  };
  const schedule = () => {
    clearTimeout(timer);
    timer = setTimeout(preview, PAUSE_MS);
  };
  form.addEventListener("input", schedule);
  members.addEventListener("input", schedule);
  preview();
}
