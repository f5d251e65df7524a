// Before and after in one frame, with a slider as wide as the picture.

import { t } from "./strings.js";

export class Compare {
  /** @param {HTMLElement} frame with two images, `#before` and `#after`, and a range input */
  constructor(frame) {
    this.frame = frame;
    this.before = frame.querySelector("#before");
    this.after = frame.querySelector("#after");
    this.slider = frame.querySelector("input");
    this.slider.addEventListener("input", () => {
      this.frame.classList.remove("settling");
      this.#split(this.slider.value);
    });
  }

  /**
   * Shows the two pictures; only the second one if the browser can't show the first, or shows it in another shape
   * (a TIFF, or a rotation that it does not honour): better no comparison than a skewed one.
   * @param {string | null} beforeUrl
   * @param {string} afterUrl
   * @throws {Error} if the second cannot be shown either
   */
  async show(beforeUrl, afterUrl) {
    if (!(await loads(this.after, afterUrl))) throw new Error("the result is not a picture this browser can show");
    const comparable = beforeUrl !== null && (await loads(this.before, beforeUrl)) && sameShape(this.before, this.after);
    if (!comparable) this.before.removeAttribute("src");
    this.frame.classList.toggle("alone", !comparable);
    shape(this.frame, this.after);
    this.slider.value = 50;
    this.#split(100);
  }

  /** The colors come in from the right, once the frame is on the page. */
  reveal() {
    this.frame.classList.add("settling");
    this.frame.getBoundingClientRect();
    this.#split(this.slider.value);
  }

  clear() {
    this.before.removeAttribute("src");
    this.after.removeAttribute("src");
    this.frame.classList.remove("settling");
  }

  #split(percent) {
    this.frame.style.setProperty("--split", `${percent}%`);
    this.slider.setAttribute("aria-valuetext", t("{before}% before, {after}% after", { before: percent, after: 100 - percent }));
  }
}

/** Gives the frame the picture's shape. */
export function shape(frame, { naturalWidth, naturalHeight }) {
  frame.style.setProperty("--wide", naturalWidth / naturalHeight);
}

/** Shows the picture and tells whether this browser can. */
export function loads(image, url) {
  return new Promise((resolve) => {
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = url;
  });
}

function sameShape(one, other) {
  return one.naturalWidth === other.naturalWidth && one.naturalHeight === other.naturalHeight;
}
