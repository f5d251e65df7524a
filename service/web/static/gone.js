// The page of a photo that is not there, or could not be colored.

import { revise } from "./api.js";
import { offerErasing } from "./erasing.js";
import { showRecent } from "./gallery.js";
import { say } from "./live.js";
import { forget, recall, remember } from "./recent.js";

const id = location.pathname.split("/").at(-1);
const box = document.getElementById("erase");
const isGone = document.querySelector(".trouble[data-is=gone]") !== null;
if (isGone) forget(id);
offerErasing(box, id);
showRecent(document.getElementById("recent"), id);

/** Of a file that is cut off, what is there: a photograph with a page of its own. */
document.getElementById("part")?.addEventListener("click", async ({ target }) => {
  target.disabled = true;
  const own = recall(id);
  try {
    const made = await revise(own, { partial: true, priority: "interactive" }, new AbortController().signal);
    remember({ ...own, id: made.id, secret: made.secret, revises: id, expires: made.expires_at });
    location.assign(made.id);
  } catch ({ message, detail }) {
    target.hidden = true;
    document.querySelector(".trouble p").textContent = `${message}. ${detail ?? ""}`;
    say(`${message}. ${detail ?? ""}`);
  }
});
