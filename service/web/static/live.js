// What is read out by screen readers: one polite region for the whole page, which is never flooded.

/** Milliseconds between two messages. Of what is said meanwhile only the last is read out. */
const PAUSE = 1000;

const region = document.getElementById("status");
let waiting = null;
let freeAt = 0;

/** @param {string} sentence */
export function say(sentence) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    freeAt = performance.now() + PAUSE;
    region.textContent = sentence;
  }, Math.max(0, freeAt - performance.now()));
}
