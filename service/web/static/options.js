// The options' sliders. One that was not touched is not sent: the server's own default holds.

import { number } from "./strings.js";

export class Options {
  /** @param {HTMLFormElement} form with range inputs, each with an <output for> and a `data-unset` */
  constructor(form) {
    this.sliders = [...form.querySelectorAll("input[type=range]")];
    this.touched = new Set();
    for (const slider of this.sliders) {
      slider.addEventListener("input", () => {
        this.touched.add(slider);
        this.#tell(slider);
      });
      this.#tell(slider);
    }
    form.addEventListener("reset", () => {
      this.touched.clear();
      for (const slider of this.sliders) this.#tell(slider);
    });
  }

  /** @returns {Record<string, string>} form fields to send */
  fields() {
    return Object.fromEntries([...this.touched].map((slider) => [slider.name, slider.value]));
  }

  #tell(slider) {
    const text = this.touched.has(slider) ? number(Number(slider.value), 2) : slider.dataset.unset;
    slider.form.querySelector(`output[for="${slider.id}"]`).textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }
}
