// The page that starts an album: what is chosen or dropped is sent with the preset; then its own page opens. And a list of earlier ones.

import { tellBoldness, tellStrength } from "./amounts.js";
import * as albums from "./albums.js";
import { MUSEUM, startAlbum } from "./album_start.js";
import { Problem } from "./api.js";
import { filesOf } from "./folders.js";
import { say } from "./live.js";
import { language, number, plural, t } from "./strings.js";

const element = (id) => document.getElementById(id);
const { maxMegabytes, maxPhotographs } = document.body.dataset;
const views = ["empty", "work", "trouble"].map(element);

/** What was chosen last, and the album that it becomes: so that it can be gone on with. */
let chosen = [];
let begun = null;
let turn = new AbortController();

async function send(files, album = null) {
  if (files.length === 0) return;
  turn.abort();
  turn = new AbortController();
  const { signal } = turn;
  [chosen, begun] = [files, album];
  show("work");
  tell({ share: 0, sent: 0, of: files.length, lost: false });
  say(t("Sending the album"));
  const limits = { megabytes: Number(maxMegabytes), photographs: Number(maxPhotographs) };
  try {
    await startAlbum(files, { fields: fields(), album, ...limits, onProgress: tell, signal });
  } catch (error) {
    if (!signal.aborted) explain(error);
  }
}

/** @returns {Record<string, string>} options of the API */
function fields() {
  const chosen = { vividness: element("strength").value, boldness: element("boldness").value };
  const preset = element("for-museum").checked ? MUSEUM : {};
  return { ...preset, ...chosen, ...(element("keep").checked && { if_color: "keep" }) };
}

function tellColors() {
  tellStrength(element("strength"), Number(element("strength").value));
  tellBoldness(element("boldness"), Number(element("boldness").value));
}

function tell({ share, sent, of, lost }) {
  element("progress").value = 100 * share;
  element("sent").textContent = lost ? t("The connection is lost; trying again") : t("{sent} of {of} sent", { sent: number(sent), of: number(of) });
  if (lost) say(t("The connection is lost; trying again"));
}

function explain(error) {
  if (!(error instanceof Problem)) {
    console.error(error);
    error = new Problem({ code: "page_failed", title: t("Something went wrong on this page"), detail: t("Reload it and choose the photographs again.") });
  }
  begun = error.retry ? (albums.list()[0] ?? null) : null;
  element("trouble-title").textContent = error.message;
  element("trouble-detail").textContent = error.detail;
  element("trouble-code").textContent = error.code;
  element("retry").hidden = !begun;
  show("trouble");
  element("trouble-title").focus();
  say(`${error.message}. ${error.detail}`);
}

function show(name) {
  for (const view of views) view.hidden = view.id !== name;
}

/** Albums of before, newest first; what has not been sent to its end is said. */
function list() {
  const mine = albums.list();
  element("mine").hidden = mine.length === 0;
  element("mine").querySelector("ul").replaceChildren(
    ...mine.map(({ id, name, photographs, complete, expires, created }) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = `albums/${id}`;
      link.textContent = name;
      const details = document.createElement("span");
      const when = (moment) => new Date(moment).toLocaleString(language, { day: "numeric", month: "long", hour: "numeric", minute: "2-digit" });
      const parts = [plural(photographs, "one file", "{count} files"), when(created)];
      if (!complete) parts.push(t("not all was sent"));
      if (expires) parts.push(t("erased on {time}", { time: when(expires) }));
      details.textContent = parts.join(" · ");
      item.append(link, details);
      return item;
    }),
  );
}

for (const id of ["strength", "boldness"]) element(id).addEventListener("input", tellColors);
tellColors();
for (const id of ["photos", "folder"]) {
  element(id).addEventListener("change", ({ target }) => {
    const files = [...target.files];
    target.value = ""; // so that choosing the same a second time is a change too
    send(files);
  });
}
addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  element("plate").classList.add("over");
});
addEventListener("dragleave", ({ relatedTarget }) => relatedTarget ?? element("plate").classList.remove("over"));
addEventListener("drop", async (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  element("plate").classList.remove("over");
  send(await filesOf(event.dataTransfer));
});
element("stop").addEventListener("click", () => {
  turn.abort();
  show("empty");
  list();
  element("photos").focus();
});
element("retry").addEventListener("click", () => send(chosen, begun));
element("choose").addEventListener("click", () => {
  show("empty");
  list();
  element("photos").focus();
});
addEventListener("pageshow", list); // also where a browser brings the page back as it was
