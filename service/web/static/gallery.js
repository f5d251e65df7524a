// The list of the photographs that this browser has sent, on any page: each leads to its own, and can be erased.

import { erase } from "./api.js";
import { say } from "./live.js";
import { forget, list } from "./recent.js";
import { t } from "./strings.js";

/** Problems that say: it is gone already. */
const GONE = new Set(["not_found", "expired", "canceled"]);

/** Fills a section of `recent.html.j2`, and keeps it true. @param {HTMLElement} section @param {string} here id of the photo on this page */
export function showRecent(section, here = "") {
  const fill = () => {
    const items = list().filter(({ id }) => id !== here).map((photo) => item(photo, fill));
    section.querySelector("ul").replaceChildren(...items);
    section.hidden = items.length === 0;
  };
  fill();
  addEventListener("storage", fill); // another tab
  addEventListener("pageshow", (event) => event.persisted && fill());
}

function item({ id, secret, name, thumbnail }, changed) {
  const entry = document.createElement("li");
  const link = document.createElement("a");
  link.href = new URL(`../photos/${id}`, import.meta.url);
  const picture = document.createElement("img");
  picture.alt = "";
  if (thumbnail) picture.src = thumbnail;
  else picture.hidden = true;
  const title = document.createElement("span");
  title.textContent = name || t("A photograph");
  link.append(picture, title);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  relabel(button, false, title.textContent);
  button.addEventListener("blur", () => relabel(button, false, title.textContent));
  button.addEventListener("click", async () => {
    if (button.dataset.sure !== "true") return relabel(button, true, title.textContent);
    button.disabled = true;
    try {
      await erase(id, secret);
    } catch (problem) {
      if (!GONE.has(problem.code)) {
        button.disabled = false;
        return say(t("It could not be erased. {reason}", { reason: `${problem.message}. ${problem.detail ?? ""}` }));
      }
    }
    const next = entry.nextElementSibling ?? entry.previousElementSibling;
    const at = [...entry.parentElement.children].indexOf(next);
    const { parentElement: all } = entry;
    forget(id);
    changed();
    say(t("Erased: {name}", { name: title.textContent }));
    (all.children[Math.max(0, at - 1)]?.querySelector("a") ?? document.getElementById("main")).focus();
  });
  entry.append(link, button);
  return entry;
}

function relabel(button, isSure, name) {
  button.dataset.sure = isSure;
  button.textContent = isSure ? t("Really erase?") : t("Erase");
  button.setAttribute("aria-label", isSure ? t("Really erase {name}?", { name }) : t("Erase {name}", { name }));
}
