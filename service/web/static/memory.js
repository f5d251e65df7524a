// The job on the page, for as long as its tab is open: a page that is loaded anew finds it again.

const KEY = "autochrome.job";

/** @param {{id: string, secret: string}} job @param {string} name of the photograph's file */
export function remember({ id, secret }, name) {
  attempt(() => sessionStorage.setItem(KEY, JSON.stringify({ id, secret, name })));
}

export function forget() {
  attempt(() => sessionStorage.removeItem(KEY));
}

/** @returns {{id: string, secret: string, name: string} | null} */
export function recall() {
  return attempt(() => JSON.parse(sessionStorage.getItem(KEY)));
}

/** Where a browser keeps nothing (it may forbid that), the page works without. */
function attempt(action) {
  try {
    return action() ?? null;
  } catch {
    return null;
  }
}
