// Folders that are dropped on a page: all files in them, under names with their folders.

/**
 * @param {DataTransfer} dropped in its event: it is empty afterward
 * @returns {Promise<{name: string, file: File}[]>} in the order of their names
 */
export async function filesOf(dropped) {
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...dropped.files].map((file) => ({ name: file.name, file }));
  const found = (await Promise.all(entries.map(walk))).flat();
  return found.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
}

async function walk(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ name: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = entry.createReader();
  const below = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (some.length === 0) break;
    below.push(...some);
  }
  return (await Promise.all(below.map(walk))).flat();
}
