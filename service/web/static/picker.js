// How photographs come to the page: chosen, dropped anywhere, or pasted. And what is refused before it is sent.

import { Problem } from "./api.js";
import { number, t } from "./strings.js";

/**
 * Calls `take` with the files that are chosen, dropped or pasted; there is one at least.
 * @param {{inputs: HTMLInputElement[], plate: HTMLElement, take: (files: File[]) => void}} parts
 */
export function listen({ inputs, plate, take }) {
  for (const input of inputs) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      // Emptied, so that choosing the same file a second time is a change too.
      input.value = "";
      if (files.length) take(files);
    });
  }

  // dragenter and dragleave come for each child crossed: the depth tells when the window itself was left.
  let depth = 0;
  const over = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    plate.classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", (event) => carriesFiles(event) && over(+1));
  addEventListener("dragleave", (event) => carriesFiles(event) && over(-1));
  addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    over(0);
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
  });

  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    take(files);
  });
}

/**
 * Refuses a photograph that needs no server to be refused.
 * @param {File} file
 * @param {number} maxMegabytes
 * @param {string} formats that can be opened, as a person reads them
 * @throws {Problem}
 */
export function checkFile(file, maxMegabytes, formats) {
  if (file.size === 0) {
    throw new Problem({
      code: "photo_empty",
      title: t("This file is empty"),
      detail: t("“{name}” has no content. Choose the photograph itself.", { name: file.name }),
    });
  }
  if (file.type && !file.type.startsWith("image/")) {
    throw new Problem({
      code: "photo_unsupported",
      title: t("This is not a photograph"),
      detail: t("“{name}” is a file of another kind ({kind}). Choose a picture: {formats}.", {
        name: file.name,
        kind: file.type,
        formats,
      }),
    });
  }
  if (file.size > maxMegabytes * 2 ** 20) {
    throw new Problem({
      code: "body_too_large",
      title: t("This file is too large"),
      detail: t(
        "It has {size} MB; up to {most} MB can be sent. Save the photograph as JPEG, or make it smaller, and send that.",
        { size: number(file.size / 2 ** 20, 1), most: maxMegabytes },
      ),
    });
  }
}

/**
 * @param {HTMLImageElement} picture
 * @param {number} maxMegapixels
 * @throws {Problem}
 */
export function checkPixels(picture, maxMegapixels) {
  const megapixels = (picture.naturalWidth * picture.naturalHeight) / 1e6;
  if (megapixels <= maxMegapixels) return;
  throw new Problem({
    code: "photo_too_large",
    title: t("This photograph has too many pixels"),
    detail: t("It is {width} × {height}, {megapixels} megapixels; up to {most} can be colored. Make it smaller and send that.", {
      width: picture.naturalWidth,
      height: picture.naturalHeight,
      megapixels: Math.round(megapixels),
      most: maxMegapixels,
    }),
  });
}

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** Whether a file is a ZIP, by what the system or its name says. @param {File} file */
export function isArchive(file) {
  return /^application\/(x-)?zip(-compressed)?$/.test(file.type) || /\.zip$/i.test(file.name);
}
