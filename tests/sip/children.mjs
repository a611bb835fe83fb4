// Programs that were started, and go when the run does: by a signal, too.
const children = new Set();

export function goesWithUs(child) {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

process.on('exit', () => {
  for (const child of children) child.kill();
});
