// "Erase this photograph" on its page, where this browser has its secret.

import { erase } from "./api.js";
import { say } from "./live.js";
import { forget, recall } from "./recent.js";
import { t } from "./strings.js";

/** @param {HTMLDetailsElement | null} box as `photo.html.j2` has it @param {string} id of the photo */
export function offerErasing(box, id) {
  const own = recall(id);
  if (!box || !own?.secret) return; // a form that is there all the same works by its cookie
  // A photograph that was colored anew goes with the one that it was made from, where this browser may erase that.
  const original = own.revises && recall(own.revises);
  const whole = original?.secret ? original : own;
  const text = box.querySelector("p");
  if (whole === original) text.textContent = t("The photograph and its picture go from the server at once and for good, with all other colors that were tried on it.");
  box.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = box.querySelector("button");
    button.disabled = true;
    try {
      await erase(whole.id, whole.secret);
      forget(whole.id);
      location.reload();
    } catch (problem) {
      button.disabled = false;
      const message = t("It could not be erased. {reason}", { reason: `${problem.message}. ${problem.detail ?? ""}` });
      text.textContent = message;
      say(message);
    }
  });
}
