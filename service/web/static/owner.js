// Before anything is drawn: whether this browser sent the photograph of this page (recent.js), so that nothing jumps once that is known.
try {
  const id = location.pathname.split("/").at(-1);
  const photos = JSON.parse(localStorage.getItem("autochrome.photos") ?? "[]");
  if (photos.some((photo) => photo.id === id && photo.secret)) document.documentElement.classList.add("owner");
} catch {
  // A browser may forbid that anything is kept.
}
