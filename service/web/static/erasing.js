// "Erase this photograph" on its page, where this browser has its secret.

import { erase } from "./api.js";
import { say } from "./live.js";
import { forget, recall } from "./recent.js";
import { t } from "./strings.js";

/** @param {HTMLDetailsElement | null} box as `photo.html.j2` has it @param {string} id of the photo */
export function offerErasing(box, id) {
  const secret = recall(id)?.secret;
  if (!box || !secret) return; // a form that is there all the same works by its cookie
  box.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = box.querySelector("button");
    button.disabled = true;
    try {
      await erase(id, secret);
      forget(id);
      location.reload();
    } catch (problem) {
      button.disabled = false;
      const message = t("It could not be erased. {reason}", { reason: `${problem.message}. ${problem.detail ?? ""}` });
      box.querySelector("p").textContent = message;
      say(message);
    }
  });
}
