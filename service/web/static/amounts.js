// How strong and how bold colors are, as a slider says it in words.

import { t } from "./strings.js";

/** @param {HTMLInputElement} slider in an `.option` with a `.value` @param {number} strength 1: as guessed */
export function tellStrength(slider, strength) {
  const percent = Math.round(100 * strength);
  tell(slider, percent === 0 ? t("none") : t("{percent}%", { percent }));
}

/** @param {number} boldness -1, the safest, to 1 */
export function tellBoldness(slider, boldness) {
  const share = Math.round(100 * Math.abs(boldness));
  tell(slider, share === 0 ? t("as guessed") : boldness > 0 ? t("{share}% bolder", { share }) : t("{share}% safer", { share }));
}

function tell(slider, text) {
  slider.closest(".option").querySelector(".value").textContent = text;
  slider.setAttribute("aria-valuetext", text);
}
